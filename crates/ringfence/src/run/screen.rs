//! What a person sees while a VM runs: the guest's console, and one live line per device.
//!
//! Live lines are for terminals; elsewhere a line is said when a device changes its state or
//! something is refused. Nothing the guest prints can steer the terminal.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ringfence_jail::Report;

use crate::config::{ConsoleChoice, Vm};
use crate::signals::StopHandle;
use crate::size::Bytes;
use crate::status::FenceStatus;
use crate::talk::{self, printable};

/// Where everything that is shown goes through.
pub(super) struct Screen {
    live: Option<Live>,
    /// The VMM owns the terminal we talk to.
    terminal_is_lent: bool,
    devices: Vec<String>,
    /// What was last said about each device.
    said: Mutex<Vec<Said>>,
    guest_output: GuestOutput,
    output_closed: AtomicBool,
    stop: StopHandle,
}

/// What was last said about a device.
#[derive(Default)]
struct Said {
    state: String,
    /// How often which peer had been refused what.
    refused: BTreeMap<(String, String), u64>,
}

struct Live {
    all: MultiProgress,
    lines: Vec<ProgressBar>,
}

/// Where the guest's console goes.
#[derive(Clone, Copy)]
enum GuestOutput {
    /// To standard output, byte for byte.
    Data,
    /// To standard output, which is a terminal.
    Terminal,
    /// To standard error, because standard output is for the report.
    Talk,
}

impl Screen {
    pub(super) fn new(vm: &Vm, json: bool, stop: StopHandle) -> Self {
        let guest_output = if json {
            GuestOutput::Talk
        } else if std::io::stdout().is_terminal() {
            GuestOutput::Terminal
        } else {
            GuestOutput::Data
        };
        let to_terminal = std::io::stderr().is_terminal();
        let terminal_is_lent = to_terminal && vm.console == ConsoleChoice::Stdio;
        // Where the VMM owns the terminal, a live line would be written into what it shows.
        let live = (to_terminal && !terminal_is_lent).then(|| Live::new(vm.devices.len()));
        let devices: Vec<_> = vm.devices.iter().map(|device| device.name.clone()).collect();
        let said = Mutex::new(devices.iter().map(|_| Said::default()).collect());
        let output_closed = AtomicBool::new(false);
        Self { live, terminal_is_lent, devices, said, guest_output, output_closed, stop }
    }

    /// Says a line.
    pub(super) fn say(&self, line: &str) {
        if self.terminal_is_lent {
            // It may be in a mode in which a new line does not begin at the left.
            talk::say(format_args!("\r{line}\r"));
        } else {
            self.undisturbed(|| talk::say(line));
        }
    }

    /// Passes on a line of the guest's console.
    pub(super) fn guest_line(&self, line: &[u8]) {
        let write = |bytes: &[u8]| {
            let mut output = std::io::stdout().lock();
            output.write_all(bytes).and_then(|()| output.write_all(b"\n"))?;
            output.flush()
        };
        let outcome = match self.guest_output {
            GuestOutput::Data => write(line),
            GuestOutput::Terminal => {
                let line = printable(&String::from_utf8_lossy(line));
                self.undisturbed(|| write(line.as_bytes()))
            }
            GuestOutput::Talk => {
                self.say(&printable(&String::from_utf8_lossy(line)));
                Ok(())
            }
        };
        if outcome.is_err() && !self.output_closed.swap(true, Ordering::Relaxed) {
            self.stop.ask();
        }
    }

    /// Whether we were asked to stop because nobody reads the guest's console any more.
    pub(super) fn output_is_closed(&self) -> bool {
        self.output_closed.load(Ordering::Relaxed)
    }

    /// Says what holds a process, and what the host could not give.
    pub(super) fn show_jail(&self, who: &str, jail: Option<&Report>) {
        match jail {
            Some(report) => self.say(&format!("{who}: {report}")),
            None => self.say(&format!("{who}: not jailed, as configured")),
        }
    }

    /// Shows how a device is.
    pub(super) fn show(&self, index: usize, status: &FenceStatus) {
        let name = &self.devices[index];
        if let Some(live) = &self.live {
            live.lines[index].set_message(line(name, status));
        }
        let mut all = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let said = &mut all[index];
        // The end of a backend is said as such.
        for offence in status.offences.iter().filter(|offence| !offence.is_an_end()) {
            let before = said.refused.entry((offence.peer.clone(), offence.code.clone()));
            let before = before.or_default();
            // Again when there are twice as many, so that what a peer repeats fills no log.
            if offence.count >= before.saturating_mul(2).max(1) {
                self.say(&format!("{name}: {}", printable(&offence.sentence())));
                *before = offence.count;
            }
        }
        if said.state != status.state {
            said.state.clone_from(&status.state);
            if self.live.is_none() && !self.terminal_is_lent {
                self.say(&line(name, status));
            }
        }
    }

    /// Takes the live lines away, for the report to say the last of them.
    pub(super) fn settle(&self) {
        if let Some(live) = &self.live {
            live.lines.iter().for_each(ProgressBar::finish_and_clear);
        }
    }

    /// Does something with the live lines out of the way.
    fn undisturbed<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.live {
            Some(live) => live.all.suspend(write),
            None => write(),
        }
    }
}

impl Live {
    fn new(devices: usize) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let lines = (0..devices)
            .map(|_| {
                let line = all.add(ProgressBar::new_spinner());
                // A template of one field is always well formed.
                if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                    line.set_style(style);
                }
                line
            })
            .collect();
        Self { all, lines }
    }
}

/// A device on one line, what matters least last: a narrow terminal cuts it off.
fn line(name: &str, status: &FenceStatus) -> String {
    format!(
        "{name}: window {} of {}, {} out, {} in, {} requests, {} refused ({})",
        Bytes(status.window_used_bytes),
        Bytes(status.window_bytes),
        Bytes(status.bytes_to_device),
        Bytes(status.bytes_to_guest),
        status.requests,
        status.refused_count(),
        printable(&status.state),
    )
}
