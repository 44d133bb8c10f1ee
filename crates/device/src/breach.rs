//! What is not as it was claimed: a foreign driver, a newcomer, an override or a function that is gone.
//!
//! Overrides keep other drivers away from the functions there are. They do not keep a card from
//! being plugged in beside them, nor an operator from binding what he likes.

use std::fmt;

use ringfence_addr::PciAddress;
use ringfence_refusal::Fault;

use crate::accepted::is_accepted;
use crate::examine::kernel_groups;
use crate::member::{Member, identity_of};
use crate::plan::ClaimPlan;
use crate::root::{Root, entries, whole_address};

/// Something about a claimed group that is not as it was claimed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breach {
    /// A function has another driver than it was claimed with.
    Driver {
        /// The function.
        function: PciAddress,
        /// The driver it has.
        driver: Option<String>,
        /// The driver it was claimed with.
        expected: Option<String>,
    },
    /// The override that keeps other drivers from a function is gone or says something else.
    Override {
        /// The function.
        function: PciAddress,
        /// What it says.
        says: Option<String>,
    },
    /// A function that is in no claim of ours has come into the group.
    Newcomer {
        /// The function.
        function: PciAddress,
        /// The driver it has.
        driver: Option<String>,
    },
    /// A function is gone, or another is in its place.
    Gone {
        /// Where it was.
        function: PciAddress,
    },
}

impl Breach {
    /// The function it is about.
    pub fn function(&self) -> PciAddress {
        match self {
            Self::Driver { function, .. }
            | Self::Override { function, .. }
            | Self::Newcomer { function, .. }
            | Self::Gone { function } => *function,
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |driver: &Option<String>| driver.clone().unwrap_or("no driver".to_string());
        match self {
            Self::Driver { function, driver, expected } => {
                let (driver, expected) = (name(driver), name(expected));
                write!(formatter, "{function} is bound to {driver}; it was claimed for {expected}")
            }
            Self::Override { function, says } => {
                let says = says.as_deref().unwrap_or("nothing");
                write!(formatter, "the override of {function} says {says}: any driver may take it")
            }
            Self::Newcomer { function, driver } => {
                write!(formatter, "{function} ({}) has come into the group", name(driver))?;
                if driver.as_deref().is_some_and(|driver| !is_accepted(driver)) {
                    write!(formatter, ": the kernel gives the group to nobody until it is out")?;
                }
                Ok(())
            }
            Self::Gone { function } => write!(formatter, "{function} is gone, or is another now"),
        }
    }
}

/// What is not as it was claimed, read now.
pub fn breaches(root: &Root, plan: &ClaimPlan) -> Result<Vec<Breach>, Fault> {
    breaches_beside(root, plan, &without_group(root)?)
}

/// As [`breaches`], with the functions that the kernel has put in no group: the same for all claims.
pub(crate) fn breaches_beside(
    root: &Root,
    plan: &ClaimPlan,
    without_group: &[PciAddress],
) -> Result<Vec<Breach>, Fault> {
    let mut breaches = Vec::new();
    for member in &plan.members {
        let function = member.address;
        if identity_of(root, function)? != Some(member.identity) {
            breaches.push(Breach::Gone { function });
            continue;
        }
        let driver = root.driver_of(function)?;
        let expected = plan.driver_after(member);
        if driver.as_deref() != expected {
            let expected = expected.map(str::to_string);
            breaches.push(Breach::Driver { function, driver, expected });
        }
        let says = root.override_of(function)?;
        if says.as_deref() != plan.override_after(member) {
            breaches.push(Breach::Override { function, says });
        }
    }
    for function in newcomers(root, &plan.members, without_group)? {
        let driver = root.driver_of(function)?;
        breaches.push(Breach::Newcomer { function, driver });
    }
    breaches.sort();
    Ok(breaches)
}

/// The functions that the kernel has put in no group, or in none yet.
pub(crate) fn without_group(root: &Root) -> Result<Vec<PciAddress>, Fault> {
    let mut without = Vec::new();
    for name in entries(&root.join("sys/bus/pci/devices"))? {
        let Some(address) = whole_address(&name) else { continue };
        if root.kernel_group_of(address)?.is_none() {
            without.push(address);
        }
    }
    Ok(without)
}

/// Functions that are in the members' groups by the kernel's reckoning and not among them; and those
/// in their slots or right below their bridges that the kernel has put in no group (yet). One that
/// it has put in another group was kept out of the claim, too.
fn newcomers(
    root: &Root,
    members: &[Member],
    without_group: &[PciAddress],
) -> Result<Vec<PciAddress>, Fault> {
    let mut newcomers = Vec::new();
    for group in kernel_groups(members).into_keys() {
        newcomers.extend(root.functions_of(group)?);
    }
    for address in without_group {
        let slot = |address: PciAddress| (address.domain(), address.bus(), address.device());
        let is_beside = members.iter().any(|member| slot(member.address) == slot(*address));
        if is_beside || is_below(root, *address, members)? {
            newcomers.push(*address);
        }
    }
    newcomers.retain(|function| !members.iter().any(|member| member.address == *function));
    newcomers.sort_unstable();
    newcomers.dedup();
    Ok(newcomers)
}

/// Whether the function is below one of the members.
fn is_below(root: &Root, address: PciAddress, members: &[Member]) -> Result<bool, Fault> {
    let above = root.functions_above(&root.function(address))?;
    Ok(above
        .iter()
        .any(|above| *above != address && members.iter().any(|member| member.address == *above)))
}
