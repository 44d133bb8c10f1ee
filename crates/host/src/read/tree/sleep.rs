//! Whether reading a function's registers would wake something.

use ringfence_addr::PciAddress;

use crate::fact::Fact;

use super::functions::FUNCTIONS;
use super::{Directory, Keep, Tree};

/// Whether reading `config` of the function in `directory` would wake it or the bridge above it.
///
/// The kernel resumes the device above for the time of a read, and the function itself when its
/// power is off (`pci_config_pm_runtime_get`, drivers/pci/pci.c). A function that is suspended with
/// its power on, below a bridge that is awake, is read as it lies.
pub(super) fn would_wake(
    tree: &impl Tree,
    directory: &impl Directory,
    path: &Fact<Vec<PciAddress>>,
) -> bool {
    if !is_suspended(directory) {
        return false;
    }
    let has_power = directory
        .text("power_state", Keep::Whole)
        .is_ok_and(|state| matches!(&*state, "D0" | "D1" | "D2" | "D3hot"));
    let Some(path) = path.known().filter(|_| has_power) else { return true };
    path.last().is_some_and(|above| is_suspended(&tree.directory(&format!("{FUNCTIONS}/{above}"))))
}

fn is_suspended(directory: &impl Directory) -> bool {
    let status = directory.text("power/runtime_status", Keep::Whole);
    status.is_ok_and(|status| matches!(&*status, "suspended" | "suspending"))
}
