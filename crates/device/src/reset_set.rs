//! Which functions are reset together, which is another set than those isolated together.
//!
//! A function that cannot be reset alone takes its bus with it: all functions below the same bridge,
//! further buses included. vfio-pci does that only for whoever has all of them. On a root bus there
//! is no bridge to reset.

use std::collections::BTreeSet;

use ringfence_addr::PciAddress;
use ringfence_host::{Fact, Host, Topology};

/// How a function is reset, and with whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetSet {
    /// Ways to reset the function alone that the kernel names, best first: `flr`, `pm`…
    pub alone_by: Fact<Vec<String>>,
    /// All functions below the same bridge, itself among them; itself only on a root bus.
    pub together: Vec<PciAddress>,
}

/// The reset set of the function at `address`; `None` if the host has none there.
pub fn reset_set(host: &Host, topology: &Topology<'_>, address: PciAddress) -> Option<ResetSet> {
    let function = host.function(address)?;
    let is_alone = |way: &String| way != "bus" && way != "slot";
    let alone_by = function.reset_methods.clone();
    let alone_by = alone_by.map(|ways| ways.into_iter().filter(is_alone).collect());
    let mut together = BTreeSet::new();
    let mut bridges: Vec<_> = topology.bridge_above(address).into_iter().collect();
    while let Some(bridge) = bridges.pop() {
        for below in topology.below(bridge) {
            // Each once, whatever the host says of itself.
            if together.insert(below) {
                bridges.push(below);
            }
        }
    }
    together.insert(address);
    Some(ResetSet { alone_by, together: together.into_iter().collect() })
}
