//! Whether a function can be taken as things are, and who is in the way.
//!
//! The kernel says "not viable" of a group and leaves it at that. Here each function in the way is
//! named, with its driver.

use std::fmt;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Fault};

use crate::accepted::{is_accepted, serves_vfio};
use crate::examine::direct_regions_of;
use crate::member::Member;
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
    pub group: Option<u32>,
    /// Its driver, if it is one that serves it through VFIO.
    pub served_by: Option<String>,
    /// Functions of the group with drivers of the host's, itself among them.
    pub blockers: Vec<Blocker>,
    /// Regions of memory that firmware wants mapped, as the kernel prints them.
    pub direct_regions: Vec<String>,
}

impl Viability {
    /// Whether a VM could have it now.
    pub fn is_viable(&self) -> bool {
        self.group.is_some()
            && self.served_by.is_some()
            && self.blockers.is_empty()
            && self.direct_regions.is_empty()
    }
}

/// What stands between the function at `address` and a VM.
pub fn viability(root: &Root, address: PciAddress) -> Result<Viability, Failure> {
    let member = Member::read(root, address)?;
    let group = member.kernel_group;
    let (blockers, direct_regions) = match group {
        Some(group) => (blockers(root, group)?, direct_regions_of(root, group)?),
        None => (Vec::new(), Vec::new()),
    };
    let served_by = member.driver.filter(|driver| serves_vfio(driver));
    Ok(Viability { function: address, group, served_by, blockers, direct_regions })
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
