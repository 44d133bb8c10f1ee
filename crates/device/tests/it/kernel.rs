//! A model of what the kernel does with a write to `driver_override`, `bind`, `unbind` and
//! `drivers_probe`, which can fail at any of them, be slow, or be in the middle of one when the
//! process is killed.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::Duration;

use ringfence_addr::PciAddress;
use ringfence_device::{WriteError, Writer};
use rustix::io::Errno;

use crate::fake::{Host, at};

/// What goes wrong with a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The kernel says no.
    Error,
    /// The kernel says yes and does nothing, as `drivers_probe` does when a probe fails.
    Nothing,
    /// The kernel does not answer, and never does it.
    Blocked,
    /// The process is killed before the kernel does it.
    KilledBefore,
    /// The process is killed after the kernel did it.
    KilledAfter,
}

pub(crate) const TROUBLES: &[Trouble] = &[
    Trouble::Error,
    Trouble::Nothing,
    Trouble::Blocked,
    Trouble::KilledBefore,
    Trouble::KilledAfter,
];

/// What a killed process unwinds with.
pub(crate) struct Killed;

/// Ends the process, as far as a test goes: nothing of it runs any more but drops, as the kernel
/// closes files.
pub(crate) fn kill() -> ! {
    std::panic::resume_unwind(Box::new(Killed))
}

/// The kernel of a host.
pub(crate) struct Kernel<'a> {
    host: &'a Host,
    writes: Cell<usize>,
    trouble: Option<(usize, Trouble)>,
    /// A driver that never comes back once it was unbound.
    pub(crate) gone: Option<&'a str>,
}

impl<'a> Kernel<'a> {
    pub(crate) fn of(host: &'a Host) -> Self {
        Self { host, writes: Cell::new(0), trouble: None, gone: None }
    }

    /// The same, with trouble at the write of this number, from 0.
    pub(crate) fn troubled(host: &'a Host, at: usize, trouble: Trouble) -> Self {
        Self { trouble: Some((at, trouble)), ..Self::of(host) }
    }

    pub(crate) fn writes(&self) -> usize {
        self.writes.get()
    }

    fn obey(&self, path: &Path, text: &str) -> io::Result<()> {
        let path = path.strip_prefix(self.host.path()).expect("a path of the host's");
        let parts: Vec<_> = path.iter().map(|part| part.to_str().expect("text")).collect();
        match parts[..] {
            ["sys", "bus", "pci", "devices", function, "driver_override"] => {
                let name = text.strip_suffix('\n').expect("a line");
                let name = if name.is_empty() { "(null)" } else { name };
                let file = format!("sys/bus/pci/devices/{function}/driver_override");
                self.host.write(&file, &format!("{name}\n"));
                Ok(())
            }
            ["sys", "bus", "pci", "drivers", driver, "unbind"] => self.unbind(driver, at(text)),
            ["sys", "bus", "pci", "drivers", driver, "bind"] => self.bind(driver, at(text)),
            ["sys", "bus", "pci", "drivers_probe"] => {
                let function = at(text);
                if let Some(driver) = self.matching(function) {
                    // What a probe comes to is not told.
                    let _ = self.bind(&driver, function);
                }
                Ok(())
            }
            _ => panic!("a write to {path:?}, which claims have no business with"),
        }
    }

    fn driver(&self, function: PciAddress) -> Option<String> {
        self.host.root().driver_of(function).expect("a link or none")
    }

    /// The one driver that would take the function.
    fn matching(&self, function: PciAddress) -> Option<String> {
        let only = self.host.root().override_of(function).expect("a file of ours");
        let native = self.host.join(&format!("sys/bus/pci/devices/{function}/native"));
        let native = fs::read_to_string(native).expect("a file of ours");
        only.or(Some(native)).filter(|driver| !driver.is_empty() && self.exists(driver))
    }

    fn exists(&self, driver: &str) -> bool {
        self.host.join(&format!("sys/bus/pci/drivers/{driver}")).exists()
            && self.gone != Some(driver)
    }

    fn unbind(&self, driver: &str, function: PciAddress) -> io::Result<()> {
        if self.driver(function).as_deref() != Some(driver) {
            return Err(Errno::NODEV.into());
        }
        self.host.set_driver(&function.to_string(), None);
        Ok(())
    }

    fn bind(&self, driver: &str, function: PciAddress) -> io::Result<()> {
        if self.driver(function).is_some() {
            return Err(Errno::BUSY.into());
        }
        if self.matching(function).as_deref() != Some(driver) {
            return Err(Errno::NODEV.into());
        }
        self.host.set_driver(&function.to_string(), Some(driver));
        Ok(())
    }
}

impl Writer for Kernel<'_> {
    fn write(&self, path: &Path, text: &str, _lock: &File) -> Result<(), WriteError> {
        let number = self.writes.replace(self.writes.get() + 1);
        let trouble = self.trouble.filter(|(at, _)| *at == number).map(|(_, trouble)| trouble);
        match trouble {
            None => Ok(self.obey(path, text)?),
            Some(Trouble::Error) => Err(io::Error::from(Errno::IO).into()),
            Some(Trouble::Nothing) => Ok(()),
            Some(Trouble::Blocked) => Err(WriteError::Blocked(Duration::from_secs(1))),
            Some(Trouble::KilledBefore) => kill(),
            Some(Trouble::KilledAfter) => {
                let _ = self.obey(path, text);
                kill()
            }
        }
    }
}
