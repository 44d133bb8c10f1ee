//! What a run came to: how it ended, and who could see what.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::death::Death;
use super::life::Life;
use crate::config::Vm;
use crate::exit::Exit;
use crate::size::Bytes;
use crate::status::FenceStatus;
use crate::talk::{self, printable};

/// How a run ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The guest switched its machine off.
    GuestEnded,
    /// Somebody asked for it.
    Stopped,
    /// Nobody reads the guest's console any more.
    OutputClosed,
    /// A process died that should not have.
    Died(Death),
}

impl Ending {
    fn word(&self) -> &'static str {
        match self {
            Self::GuestEnded => "guest-ended",
            Self::Stopped => "stopped",
            Self::OutputClosed => "output-closed",
            Self::Died(_) => "died",
        }
    }

    fn sentence(&self) -> String {
        match self {
            Self::GuestEnded => "the guest switched off".to_owned(),
            Self::Stopped => "stopped on request".to_owned(),
            Self::OutputClosed => "stopped, as nobody reads its console any more".to_owned(),
            Self::Died(death) => death.sentence(),
        }
    }
}

/// What a run came to.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    vm: String,
    ending: &'static str,
    message: String,
    seconds: f64,
    exit_code: u8,
    guest_memory_bytes: u64,
    devices: Vec<DeviceReport>,
    #[serde(skip)]
    how: Ending,
}

/// What one backend could see, and what it did.
#[derive(Debug, Serialize)]
struct DeviceReport {
    name: String,
    backend: String,
    visible_window_bytes: u64,
    visible_guest_memory_bytes: u64,
    /// None if its fence never said how it was.
    fence: Option<FenceStatus>,
    /// What held the backend; none if it was not jailed, or was never started by us.
    backend_jail: Option<ringfence_jail::Report>,
    /// How often the backend died and was started again.
    restarts: u64,
    /// Requests that were in flight when a backend died, and were given to its successor.
    given_again: u64,
}

impl Report {
    pub(super) fn new(vm: &Vm, lives: Vec<Life>, how: Ending, took: Duration) -> Self {
        let refused =
            lives.iter().filter_map(|life| life.status.as_ref()).any(FenceStatus::has_refused);
        let exit = match &how {
            Ending::Died(_) => Exit::Environment,
            // The guest went on, but somebody reached for what was not theirs.
            _ if refused => Exit::No,
            _ => Exit::Ok,
        };
        let devices = vm.devices.iter().zip(lives).map(|(device, life)| DeviceReport {
            name: device.name.clone(),
            backend: device.backend.label(),
            visible_window_bytes: device.window_bytes,
            // The window is memory of the fence's own; no page of the guest's is ever in it.
            visible_guest_memory_bytes: 0,
            backend_jail: life.jail,
            restarts: life.started_again,
            given_again: life.status.as_ref().map_or(0, |status| status.replayed),
            fence: life.status,
        });
        Self {
            schema: "ringfence.run/1",
            vm: vm.name.clone(),
            ending: how.word(),
            message: how.sentence(),
            seconds: took.as_secs_f64(),
            exit_code: exit as u8,
            guest_memory_bytes: vm.memory_bytes,
            devices: devices.collect(),
            how,
        }
    }

    pub(super) fn ending(&self) -> &Ending {
        &self.how
    }

    pub(super) fn exit(&self) -> Exit {
        match self.exit_code {
            0 => Exit::Ok,
            1 => Exit::No,
            _ => Exit::Environment,
        }
    }

    /// Shows it: as a table to people, or as JSON to programs.
    pub(super) fn show(&self, json: bool) -> anyhow::Result<()> {
        if json {
            return talk::json(self);
        }
        talk::say(format_args!("{}: {} after {:.1} s", self.vm, self.message, self.seconds));
        if !self.devices.is_empty() {
            talk::data(&format!("{}\n{}", self.table(), self.events()))?;
        }
        Ok(())
    }

    /// What happened to devices, if anything did: a line each.
    fn events(&self) -> String {
        let mut text = String::new();
        for device in &self.devices {
            let mut line = |words: &str| {
                text.push_str(&printable(&format!(" {}: {words}", device.name)));
                text.push('\n');
            };
            match (device.restarts, device.given_again) {
                (0, 0) => {}
                (restarts, again) => line(&format!(
                    "{} was started again {}; {} given again",
                    device.backend,
                    talk::times(restarts),
                    match again {
                        1 => "1 request was".to_owned(),
                        again => format!("{again} requests were"),
                    },
                )),
            }
            for offence in device.fence.iter().flat_map(FenceStatus::refused) {
                line(&offence.sentence());
            }
        }
        text
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "DEVICE",
            "BACKEND",
            "COULD SEE",
            "REQUESTS",
            "TO DEVICE",
            "TO GUEST",
            "REFUSED",
        ]);
        for device in &self.devices {
            let fence = device.fence.as_ref();
            let number = |value: Option<String>| {
                Cell::new(value.unwrap_or_else(|| "-".to_owned()))
                    .set_alignment(CellAlignment::Right)
            };
            table.add_row([
                Cell::new(&device.name),
                Cell::new(&device.backend),
                Cell::new(format!(
                    "{} window; {} of {} guest memory",
                    Bytes(device.visible_window_bytes),
                    device.visible_guest_memory_bytes,
                    Bytes(self.guest_memory_bytes),
                )),
                number(fence.map(|fence| fence.requests.to_string())),
                number(fence.map(|fence| Bytes(fence.bytes_to_device).to_string())),
                number(fence.map(|fence| Bytes(fence.bytes_to_guest).to_string())),
                number(fence.map(|fence| fence.refused_count().to_string())),
            ]);
        }
        table
    }
}
