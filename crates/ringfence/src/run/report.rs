//! What a run came to: how it ended, and who could see what.

use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

use super::crew::Death;
use crate::config::Vm;
use crate::exit::Exit;
use crate::size::Bytes;
use crate::status::FenceStatus;
use crate::talk;

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
}

impl Report {
    pub(super) fn new(
        vm: &Vm,
        watched: Vec<Option<FenceStatus>>,
        jails: Vec<Option<ringfence_jail::Report>>,
        how: Ending,
        took: Duration,
    ) -> Self {
        let refused = watched.iter().flatten().any(|fence| fence.refusals > 0);
        let exit = match &how {
            Ending::Died(_) => Exit::Environment,
            // The guest went on, but somebody reached for what was not theirs.
            _ if refused => Exit::No,
            _ => Exit::Ok,
        };
        // A run that ended early may not have come to all of them.
        let jails = jails.into_iter().chain(std::iter::repeat(None));
        let devices = vm.devices.iter().zip(watched).zip(jails);
        let devices = devices.map(|((device, fence), backend_jail)| DeviceReport {
            name: device.name.clone(),
            backend: device.backend.label(),
            visible_window_bytes: device.window_bytes,
            // The window is memory of the fence's own; no page of the guest's is ever in it.
            visible_guest_memory_bytes: 0,
            fence,
            backend_jail,
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
            talk::data(&format!("{}\n", self.table()))?;
        }
        Ok(())
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
                number(fence.map(|fence| fence.refusals.to_string())),
            ]);
        }
        table
    }
}
