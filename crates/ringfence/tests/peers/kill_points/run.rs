//! `ringfence run` over and over with one name in one folder, with a guest as a point wants it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ringfence_lab::{Initramfs, Kernel, LabRoot, Scratch};
use ringfence_vmm::child::{Child, Spec};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::firmware_guest;
use super::point::{Guest, Victim};
use super::processes::{Process, of_run};
use crate::disks::Devices;

/// How long anything may take that is not to hang, on a machine that is busy with other things.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

const LOOK: Duration = Duration::from_millis(2);

/// Where the runs are.
pub(super) struct Place {
    lab: LabRoot,
    kernel: Kernel,
    scratch: Scratch,
}

/// How long the guest works: about so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Little,
    Some,
    Endless,
}

impl Place {
    pub(super) fn new(lab: LabRoot) -> Result<Self> {
        let scratch = Scratch::new()?;
        let kernel = lab.kernel("6.12")?;
        let initrd = Initramfs::new()
            .module("virtio_blk")
            .binary(Devices::guest_program()?)
            .script(
                "echo @b
                 (sleep $seconds; echo end) | guest verify /dev/vda && echo @d || echo @f",
            )
            .build(&lab, &kernel)?;
        fs::write(scratch.join("initrd.img"), initrd)?;
        File::create(scratch.join("linux.img"))?.set_len(32 << 20)?;
        Ok(Self { lab, kernel, scratch })
    }

    /// What is in the arguments of all that is started here.
    pub(super) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// Where the runs have their own folders.
    pub(super) fn runs(&self) -> PathBuf {
        self.scratch.join("ringfence")
    }

    fn configure(&self, guest: Guest, work: Work) -> Result<()> {
        let (machine, image) = match guest {
            Guest::Firmware => {
                let rounds = match work {
                    Work::Little => 64,
                    Work::Some => 400,
                    Work::Endless => u16::MAX,
                };
                firmware_guest::write(&self.scratch.join("firmware.img"), rounds)?;
                ("memory = \"64M\"".to_owned(), "firmware.img")
            }
            Guest::Linux => {
                let seconds = match work {
                    Work::Little => 1,
                    Work::Some => 3,
                    Work::Endless => 1000,
                };
                let machine = format!(
                    "memory = \"256M\"\nkernel = \"{}\"\ninitrd = \"initrd.img\"\n\
                     cmdline = \"console=ttyS0 quiet panic=-1 seconds={seconds}\"",
                    self.kernel.image.display()
                );
                (machine, "linux.img")
            }
        };
        let text = format!(
            "[vm]\nname = \"killed\"\nvmm = \"{vmm}\"\naccel = \"tcg\"\n{machine}\n\n\
             [[device]]\nkind = \"vhost-user\"\nname = \"disk\"\ndevice = \"blk\"\nwindow = \"4M\"\n\
             readable = [\"{root}\"]\nbackend = [\"{daemon}\", \"--blockdev\",\n  \
             \"driver=file,node-name=disk,filename={{here}}/{image}\", \"--export\",\n  \
             \"type=vhost-user-blk,id=disk,node-name=disk,addr.type=unix,addr.path={{socket}},\
             writable=on\"]\n",
            vmm = self.lab.program("qemu-system-x86_64")?.display(),
            root = self.lab.folder().join("root").display(),
            daemon = self.lab.program("qemu-storage-daemon")?.display(),
        );
        fs::write(self.scratch.join("vm.toml"), text)?;
        Ok(())
    }

    pub(super) fn start(&self, guest: Guest, work: Work) -> Result<Run> {
        self.configure(guest, work)?;
        let (talk, report) = (self.scratch.join("talk"), self.scratch.join("report"));
        let mut spec = Spec::new("ringfence run", env!("CARGO_BIN_EXE_ringfence"));
        spec = spec.args(["run", "--json"]);
        spec.args.push(self.scratch.join("vm.toml").into());
        spec.env.push(("XDG_RUNTIME_DIR".into(), self.folder().into()));
        spec.stdout = Stdio::from(File::create(&report)?);
        spec.stderr = Stdio::from(File::create(&talk)?);
        // So that waiting for it does not end what it should have ended.
        spec.new_process_group = false;
        let child = Child::spawn(spec).map_err(anyhow::Error::new)?;
        Ok(Run { child, folder: self.folder().to_owned(), talk, report })
    }
}

/// A run under way, or over.
pub(super) struct Run {
    child: Child,
    folder: PathBuf,
    talk: PathBuf,
    report: PathBuf,
}

impl Run {
    /// What it and the guest said.
    pub(super) fn talk(&self) -> String {
        let bytes = fs::read(&self.talk).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Whether the guest said this.
    pub(super) fn has_said(&self, line: &str) -> bool {
        self.talk().lines().any(|said| said.trim() == line)
    }

    /// The report it ended with, if it came to that.
    pub(super) fn report(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(&self.report).ok()?).ok()
    }

    pub(super) fn processes(&self) -> Result<Vec<Process>> {
        of_run(&self.folder, Some(self.child.pid().as_raw_pid()))
    }

    /// Those among `processes` that are the victim.
    pub(super) fn who<'a>(&self, processes: &'a [Process], victim: Victim) -> Vec<&'a Process> {
        let own = self.child.pid().as_raw_pid();
        let is_victim = |process: &&Process| {
            let has = |words: &str| process.words.contains(words);
            match victim {
                Victim::Run => process.pid == own,
                _ if process.pid == own || has("--ringfence-sweep") => false,
                Victim::Backend => has("--blockdev"),
                Victim::Fence => has(" fence vhost-user "),
                Victim::Vmm => has("-no-user-config"),
            }
        };
        processes.iter().filter(is_victim).collect()
    }

    /// Waits until `is_there`; an error if the run ends before that.
    pub(super) fn wait_until(
        &mut self,
        what: &str,
        mut is_there: impl FnMut(&Self) -> Result<bool>,
    ) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.child.try_wait()?;
            if is_there(self)? {
                return Ok(());
            }
            if let Some(status) = status {
                bail!("it ended ({status}) before {what}; it said:\n{}", self.talk());
            }
            ensure!(Instant::now() < deadline, "no {what}; it said:\n{}", self.talk());
            std::thread::sleep(LOOK);
        }
    }

    /// Asks it to stop.
    pub(super) fn ask_to_stop(&self) -> Result<()> {
        Ok(self.child.signal(Signal::TERM)?)
    }

    /// How it ended, if it does.
    pub(super) fn ending(&mut self) -> Result<ExitStatus> {
        let ended = self.child.wait_until(Instant::now() + PATIENCE)?;
        ended.with_context(|| {
            let left = self.processes().unwrap_or_default();
            format!("it hangs; there are {left:#?}; it said:\n{}", self.talk())
        })
    }
}

/// Kills a process as a crash would; false if it was gone.
pub(super) fn kill(process: &Process) -> Result<bool> {
    let pid = Pid::from_raw(process.pid).context("a process has a number")?;
    match kill_process(pid, Signal::KILL) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(error).context("cannot kill"),
    }
}
