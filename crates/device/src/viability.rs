//! Whether a function could be given to a VM as things are, and who is in the way.
//!
//! The kernel says "not viable" of a group and leaves it at that. Here each function in the way is
//! named, with its driver and what to do about it.

use std::fmt;

use ringfence_addr::PciAddress;
use ringfence_host::{Fact, Host};
use ringfence_refusal::Fault;

use crate::accepted::{is_accepted, serves_vfio};
use crate::examine::direct;
use crate::root::Root;

/// A function that keeps its group from being taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// The function.
    pub function: PciAddress,
    /// The driver of the host's that it is bound to.
    pub driver: String,
}

impl fmt::Display for Blocker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is bound to {}", self.function, self.driver)
    }
}

/// What stands between a function and a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viability {
    /// The function.
    pub function: PciAddress,
    /// The kernel's group it is in, if any.
    pub group: Fact<Option<u32>>,
    /// Its driver, if it is one that serves it through VFIO.
    pub served_by: Fact<Option<String>>,
    /// Functions of the group with drivers of the host's, itself among them.
    pub blockers: Vec<Blocker>,
    /// Functions of the group whose drivers are not known.
    pub unknown: Vec<PciAddress>,
    /// Regions of memory that firmware wants mapped, as the kernel prints them.
    pub direct_regions: Vec<String>,
}

impl Viability {
    /// Whether a VM could have it now; `None` if what would decide it was not read.
    pub fn is_viable(&self) -> Option<bool> {
        let (group, served_by) = (self.group.known(), self.served_by.known());
        let is_out = group == Some(&None)
            || served_by == Some(&None)
            || !self.blockers.is_empty()
            || !self.direct_regions.is_empty();
        let is_known = group.is_some() && served_by.is_some() && self.unknown.is_empty();
        if is_out { Some(false) } else { is_known.then_some(true) }
    }

    /// What to do so that a VM can have it, a sentence each; none if it can or nothing is known.
    pub fn remedies(&self) -> Vec<String> {
        let mut remedies = Vec::new();
        if self.group.known() == Some(&None) {
            remedies.push("Turn the IOMMU on: ringfence explain RF0705.".to_owned());
        } else if !self.blockers.is_empty() || self.served_by.known() == Some(&None) {
            remedies.push(format!("Take the whole group: ringfence claim {}.", self.function));
        }
        if !self.direct_regions.is_empty() {
            let remedy = "Turn off the firmware feature that uses it: ringfence explain RF0706.";
            remedies.push(remedy.to_owned());
        }
        remedies
    }
}

/// What stands between the function at `address` and a VM; `None` if the host has none there.
pub fn viability(host: &Host, address: PciAddress) -> Option<Viability> {
    let function = host.function(address)?;
    let group = function.kernel_group;
    let (mut blockers, mut unknown, mut direct_regions) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(Some(number)) = group.known() {
        for other in host.functions.values() {
            if other.kernel_group.known() != Some(&Some(*number)) {
                continue;
            }
            match other.driver.known() {
                None => unknown.push(other.address),
                Some(Some(driver)) if !is_accepted(driver) => {
                    blockers.push(Blocker { function: other.address, driver: driver.clone() });
                }
                Some(_) => {}
            }
        }
        let regions = host.reserved_regions.get(number).into_iter().flatten();
        direct_regions = regions.filter_map(|line| direct(line)).collect();
    }
    let served_by = function.driver.clone().map(|driver| driver.filter(|one| serves_vfio(one)));
    Some(Viability { function: address, group, served_by, blockers, unknown, direct_regions })
}

/// The functions of a group of the kernel's that keep it from being taken.
pub(crate) fn blockers(root: &Root, group: u32) -> Result<Vec<Blocker>, Fault> {
    let mut blockers = Vec::new();
    for function in root.functions_of(group)? {
        if let Some(driver) = root.driver_of(function)?.filter(|driver| !is_accepted(driver)) {
            blockers.push(Blocker { function, driver });
        }
    }
    Ok(blockers)
}
