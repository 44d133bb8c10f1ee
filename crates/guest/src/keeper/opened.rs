//! A claimed function, open: its registers, the container its group is in, and its bus master bit.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard};

use ringfence_device::{Access, Held, HostWriter, Manager, Opened, RUN_FOLDER, Root, Store};
use ringfence_iommu::Switch;
use ringfence_refusal::{Failure, Fault};

use crate::told::{failed, faulted};

/// The command register, and its bits for memory and for being bus master.
const COMMAND: u16 = 0x04;
const MEMORY: u16 = 1 << 1;
const MASTER: u16 = 1 << 2;

/// A function that is held for as long as this program lives.
#[derive(Clone)]
pub(crate) struct Function {
    opened: Arc<Mutex<Opened<'static>>>,
    container: Arc<File>,
}

impl Function {
    /// Opens it, and lets it start transactions.
    pub(crate) fn open(address: &str) -> Result<Self, String> {
        let address = address.parse().map_err(|error| format!("{address}: {error}"))?;
        let (writer, root) = (HostWriter::default(), Root::default());
        let manager = Manager::new(root.clone(), &writer, Store::new(RUN_FOLDER));
        // It ends with the program.
        let hold = &*Box::leak(Box::new(manager.hold(address).map_err(failed)?));
        let opened = hold.open_function(&root, address).map_err(failed)?;
        let container = hold.held().iter().find_map(|held| match held {
            Held::Group { container, .. } => Some(container.try_clone()),
            Held::Device { .. } => None,
        });
        let container = container.ok_or("it is held by no container")?;
        let container = Arc::new(container.map_err(|error| error.to_string())?);
        let function = Self { opened: Arc::new(Mutex::new(opened)), container };
        function.set_master(true).map_err(|fault| faulted(&fault))?;
        Ok(function)
    }

    /// The container of its group.
    pub(crate) fn container(&self) -> &File {
        &self.container
    }

    /// The same, for whoever is to have one of his own.
    pub(crate) fn container_again(&self) -> Result<File, String> {
        self.container.try_clone().map_err(|error| error.to_string())
    }

    pub(crate) fn opened(&self) -> MutexGuard<'_, Opened<'static>> {
        self.opened.lock().expect("nobody panics with it")
    }

    pub(crate) fn is_master(&self) -> Result<bool, String> {
        let mut bytes = [0; 2];
        self.opened().read_config(COMMAND, &mut bytes).map_err(|fault| faulted(&fault))?;
        Ok(u16::from_le_bytes(bytes) & MASTER != 0)
    }

    fn set_master(&self, on: bool) -> Result<(), Fault> {
        let command = if on { MEMORY | MASTER } else { MEMORY };
        self.opened().write_config(COMMAND, &command.to_le_bytes())
    }
}

/// Its bus master bit: without it a function starts no transaction (PCI Local Bus 3.0, section 6.2.2).
impl Switch for Function {
    fn off(&mut self) -> Result<(), Failure> {
        Ok(self.set_master(false)?)
    }

    fn on(&mut self) -> Result<(), Failure> {
        Ok(self.set_master(true)?)
    }
}
