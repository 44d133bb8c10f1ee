//! Which functions are reset together, which is another set than those isolated together.
//!
//! A function that cannot be reset alone takes its bus with it: all functions below the same bridge,
//! further buses included. vfio-pci does that only for whoever has all of them. On a root bus there
//! is no bridge to reset.

use std::collections::BTreeSet;
use std::path::Path;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Fault, Refusal};

use crate::refusals;
use crate::root::{Root, entries, read, real, whole_address};

/// Buses are not nested deeper: there are 256 in a domain.
const DEPTH_MAX: usize = 256;

/// How a function is reset, and with whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetSet {
    /// Ways to reset the function alone that the kernel names, best first: `flr`, `pm`…
    pub alone_by: Vec<String>,
    /// All functions below the same bridge, itself among them; itself only on a root bus.
    pub together: Vec<PciAddress>,
}

/// The reset set of the function at `address`.
pub fn reset_set(root: &Root, address: PciAddress) -> Result<ResetSet, Failure> {
    let folder = root.function(address);
    let unknown = || Refusal::new(&refusals::NO_FUNCTION, address.to_string());
    let path = real(&folder)?.ok_or_else(unknown)?;
    let methods = read(&folder.join("reset_method"))?.unwrap_or_default();
    let alone = methods.split_whitespace().filter(|method| *method != "bus" && *method != "slot");
    let bridge = path.parent().filter(|parent| {
        parent
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| whole_address(name).is_some())
    });
    let mut together = BTreeSet::from([address]);
    if let Some(bridge) = bridge {
        below(bridge, DEPTH_MAX, &mut together)?;
    }
    Ok(ResetSet {
        alone_by: alone.map(str::to_string).collect(),
        together: together.into_iter().collect(),
    })
}

fn below(bridge: &Path, depth: usize, functions: &mut BTreeSet<PciAddress>) -> Result<(), Fault> {
    if depth == 0 {
        return Ok(());
    }
    for name in entries(bridge)? {
        if let Some(function) = whole_address(&name) {
            functions.insert(function);
            below(&bridge.join(name), depth - 1, functions)?;
        }
    }
    Ok(())
}
