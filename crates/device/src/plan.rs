//! What a claim will do, step by step, and what undoes it: values, made of what was seen.

use std::collections::BTreeMap;
use std::fmt;

use ringfence_addr::PciAddress;
use serde::{Deserialize, Serialize};

use crate::accepted::{NO_DRIVER, VFIO_PCI, is_accepted};
use crate::address_text;
use crate::member::Member;

/// One change to the host. It says what is to be so, not what to do: carried out twice, or begun
/// twice, it comes to the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "lowercase")]
pub enum Step {
    /// `driver_override` says `to`.
    Override {
        /// The function.
        #[serde(with = "address_text")]
        function: PciAddress,
        /// The only driver that may take it; `None` for any that matches.
        to: Option<String>,
    },
    /// The driver is bound to it no more.
    Unbind {
        /// The function.
        #[serde(with = "address_text")]
        function: PciAddress,
        /// The driver that lets go.
        driver: String,
    },
    /// The kernel looked for a driver and found this one, which the override names.
    Probe {
        /// The function.
        #[serde(with = "address_text")]
        function: PciAddress,
        /// The driver it is to find.
        driver: String,
    },
    /// This driver, and no other that may match, is bound to it.
    Bind {
        /// The function.
        #[serde(with = "address_text")]
        function: PciAddress,
        /// The driver.
        driver: String,
    },
}

impl Step {
    /// The function it changes.
    pub fn function(&self) -> PciAddress {
        match self {
            Self::Override { function, .. }
            | Self::Unbind { function, .. }
            | Self::Probe { function, .. }
            | Self::Bind { function, .. } => *function,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Override { function, to: Some(driver) } => {
                write!(formatter, "let {function} be taken by {driver} only")
            }
            Self::Override { function, to: None } => {
                write!(formatter, "let {function} be taken by any driver that matches")
            }
            Self::Unbind { function, driver } => {
                write!(formatter, "unbind {function} from {driver}")
            }
            Self::Probe { function, driver } | Self::Bind { function, driver } => {
                write!(formatter, "bind {function} to {driver}")
            }
        }
    }
}

/// A claim: who is in the group, as it was, and the steps that take it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimPlan {
    /// The functions of the group in order, as they were before.
    pub members: Vec<Member>,
    /// What to do, in this order.
    pub steps: Vec<Step>,
}

impl ClaimPlan {
    /// The steps that take these functions.
    ///
    /// All overrides come first: from then on no other driver takes any of them. Then all drivers
    /// let go, and only when no driver of the host's is in the group does VFIO come in.
    pub fn new(members: Vec<Member>) -> Self {
        Self::with_hooked(members, &BTreeMap::new())
    }

    /// As [`ClaimPlan::new`], of members some of which were kept from their drivers at boot: those
    /// with what they would have been otherwise, and the driver they are to have.
    pub(crate) fn with_hooked(
        mut members: Vec<Member>,
        hooked: &BTreeMap<PciAddress, (Member, String)>,
    ) -> Self {
        let mut overrides = Vec::new();
        let mut unbinds = Vec::new();
        let mut probes = Vec::new();
        for member in &mut members {
            let function = member.address;
            let target = match hooked.get(&function) {
                Some((_, driver)) => Some(driver.clone()),
                None => target(member).map(str::to_string),
            };
            let Some(target) = target else { continue };
            if let Some(driver) = member.driver.clone().filter(|driver| *driver != target) {
                unbinds.push(Step::Unbind { function, driver });
            }
            if let Some((before, _)) = hooked.get(&function) {
                *member = before.clone();
            }
            if member.driver_override.as_ref() != Some(&target) {
                overrides.push(Step::Override { function, to: Some(target.clone()) });
            }
            if target != NO_DRIVER {
                probes.push(Step::Probe { function, driver: target });
            }
        }
        let steps = overrides.into_iter().chain(unbinds).chain(probes).collect();
        Self { members, steps }
    }

    /// Whether any step changes the function.
    pub fn changes(&self, function: PciAddress) -> bool {
        self.steps.iter().any(|step| step.function() == function)
    }

    /// The member at this address.
    pub fn member(&self, function: PciAddress) -> Option<&Member> {
        self.members.iter().find(|member| member.address == function)
    }

    /// The driver a member has when the claim stands.
    pub fn driver_after<'a>(&'a self, member: &'a Member) -> Option<&'a str> {
        let steps = self.steps.iter().filter(|step| step.function() == member.address);
        steps.fold(member.driver.as_deref(), |driver, step| match step {
            Step::Override { .. } => driver,
            Step::Unbind { .. } => None,
            Step::Probe { driver, .. } | Step::Bind { driver, .. } => Some(driver),
        })
    }

    /// What a member's override says when the claim stands.
    pub fn override_after<'a>(&'a self, member: &'a Member) -> Option<&'a str> {
        let steps = self.steps.iter().filter(|step| step.function() == member.address);
        steps.fold(member.driver_override.as_deref(), |before, step| match step {
            Step::Override { to, .. } => to.as_deref(),
            _ => before,
        })
    }

    /// What undoes the first `done` steps, whether the last of them was carried out or only begun.
    ///
    /// Last taken, first given back; each function by itself, so that one that cannot be given
    /// back leaves the others theirs.
    pub fn undo(&self, done: usize) -> Vec<Step> {
        let done = &self.steps[..done.min(self.steps.len())];
        let mut undo = Vec::new();
        for member in self.members.iter().rev() {
            let function = member.address;
            for step in done.iter().filter(|step| step.function() == function) {
                if let Step::Probe { driver, .. } | Step::Bind { driver, .. } = step {
                    undo.push(Step::Unbind { function, driver: driver.clone() });
                }
            }
            let mut of_it = done.iter().filter(|step| step.function() == function).peekable();
            if of_it.peek().is_none() {
                continue;
            }
            if of_it.any(|step| matches!(step, Step::Override { .. })) {
                undo.push(Step::Override { function, to: member.driver_override.clone() });
            }
            // Nothing to do if it has not let go, or was not kept away.
            if let Some(driver) = member.driver.clone() {
                undo.push(Step::Bind { function, driver });
            }
        }
        undo
    }
}

/// The driver a function is to have when it is claimed, `None` if it stays as it is.
fn target(member: &Member) -> Option<&'static str> {
    match &member.driver {
        Some(driver) if is_accepted(driver) => None,
        // VFIO has no driver for a bridge: one whose driver is in the way goes without.
        Some(_) if member.identity.is_bridge() => Some(NO_DRIVER),
        Some(_) => Some(VFIO_PCI),
        None if member.identity.is_chipset() => None,
        None => Some(VFIO_PCI),
    }
}

#[cfg(test)]
mod tests;
