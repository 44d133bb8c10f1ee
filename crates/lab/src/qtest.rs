//! QEMU without a processor: its memory and registers read and written over the qtest protocol.
//!
//! Nothing runs in such a machine but its devices. What is asked of it is collected in a [`Batch`] and
//! sent as one, because a round trip takes longer than the work.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result, bail};
use ringfence_addr::Gpa;
use ringfence_vmm::child::{Child, Spec, describe_exit};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::root::LabRoot;
use crate::scratch::Scratch;

/// So many commands are sent before their answers are read: both fit a pipe.
const AT_ONCE: usize = 256;
/// How long QEMU may take to answer as many.
const PATIENCE: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Where PCI configuration space is reached through ports.
const CONFIG_ADDRESS: u16 = 0xcf8;
const CONFIG_DATA: u16 = 0xcfc;

/// What to ask of a machine, in order.
#[derive(Debug, Default)]
pub struct Batch {
    commands: Vec<String>,
}

impl Batch {
    /// Nothing to ask.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Writes four bytes, as a processor would.
    pub fn write_u32(&mut self, at: Gpa, value: u32) {
        self.commands.push(format!("writel {at} {value:#x}\n"));
    }

    /// Writes eight bytes, as a processor would.
    pub fn write_u64(&mut self, at: Gpa, value: u64) {
        self.commands.push(format!("writeq {at} {value:#x}\n"));
    }

    /// Writes bytes to memory.
    pub fn write(&mut self, at: Gpa, bytes: &[u8]) {
        let mut command = format!("write {at} {:#x} 0x", bytes.len());
        for byte in bytes {
            let _ = write!(command, "{byte:02x}");
        }
        command.push('\n');
        self.commands.push(command);
    }

    /// Reads four bytes; the answer has its place among those of [`Qtest::run`].
    pub fn read_u32(&mut self, at: Gpa) {
        self.commands.push(format!("readl {at}\n"));
    }

    /// Reads eight bytes; the answer has its place among those of [`Qtest::run`].
    pub fn read_u64(&mut self, at: Gpa) {
        self.commands.push(format!("readq {at}\n"));
    }

    /// Writes to the configuration space of a function on the first bus.
    pub fn write_config(&mut self, device: u8, register: u8, value: u32) {
        let select = 0x8000_0000 | u32::from(device) << 11 | u32::from(register);
        self.commands.push(format!("outl {CONFIG_ADDRESS:#x} {select:#x}\n"));
        self.commands.push(format!("outl {CONFIG_DATA:#x} {value:#x}\n"));
    }

    /// Lets so much of the machine's time pass.
    pub fn pass_milliseconds(&mut self, milliseconds: u64) {
        self.commands.push(format!("clock_step {}\n", milliseconds.saturating_mul(1_000_000)));
    }
}

/// A machine without a processor. Dropping it ends it.
#[derive(Debug)]
pub struct Qtest {
    // First, so that the process is gone before its folder goes.
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    scratch: Scratch,
}

impl Qtest {
    /// Starts QEMU with these arguments and nothing else in the machine.
    pub fn start<S: Into<OsString>>(
        lab: &LabRoot,
        arguments: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let scratch = Scratch::new()?;
        let fixed =
            "-nodefaults -no-user-config -display none -accel qtest -qtest stdio -qtest-log none";
        let mut spec = Spec::new("qemu", lab.program("qemu-system-x86_64")?)
            .args(fixed.split(' '))
            .args(arguments);
        spec.stdin = Stdio::piped();
        spec.stdout = Stdio::piped();
        spec.stderr = Stdio::from(File::create(scratch.join("complaints"))?);
        let mut child = Child::spawn(spec).context("cannot start QEMU")?;
        let input = child.take_stdin().context("its input was to be a pipe")?;
        let output = child.take_stdout().context("its output was to be a pipe")?;
        Ok(Self { child, input, output: BufReader::new(output), scratch })
    }

    /// Does what is in `batch`, which is empty afterwards; returns what was read, in order.
    pub fn run(&mut self, batch: &mut Batch) -> Result<Vec<u64>> {
        let mut answers = Vec::new();
        let commands = std::mem::take(&mut batch.commands);
        for some in commands.chunks(AT_ONCE) {
            let sent = self.input.write_all(some.concat().as_bytes());
            sent.and_then(|()| self.input.flush()).map_err(|error| self.failed(&error))?;
            for command in some {
                answers.extend(self.answer(command)?);
            }
        }
        Ok(answers)
    }

    fn answer(&mut self, command: &str) -> Result<Option<u64>> {
        let mut line = String::new();
        if self.output.buffer().is_empty() {
            let mut descriptors = [PollFd::new(self.output.get_ref(), PollFlags::IN)];
            if poll(&mut descriptors, Some(&PATIENCE))? == 0 {
                bail!("QEMU did not answer `{}`", command.trim_end());
            }
        }
        self.output.read_line(&mut line).map_err(|error| self.failed(&error))?;
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("OK"), None) => Ok(None),
            // What time it is then.
            (Some("OK"), Some(_)) if command.starts_with("clock_step") => Ok(None),
            (Some("OK"), Some(value)) => {
                let number = u64::from_str_radix(value.trim_start_matches("0x"), 16);
                number.map(Some).with_context(|| format!("QEMU answered `{line}`"))
            }
            _ => Err(self.failed(&format!("`{}`: `{}`", command.trim_end(), line.trim_end()))),
        }
    }

    /// What went wrong, and what QEMU says of it.
    fn failed(&mut self, what: &dyn std::fmt::Display) -> anyhow::Error {
        let ended = match self.child.try_wait() {
            Ok(Some(status)) => format!(" ({})", describe_exit(status)),
            _ => String::new(),
        };
        let said = std::fs::read_to_string(self.scratch.join("complaints")).unwrap_or_default();
        anyhow::anyhow!("QEMU{ended}: {what}: {}", said.trim())
    }
}
