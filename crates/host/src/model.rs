//! Models by name: each makes groups of a host, with reasons.
//!
//! A model reads nothing. It is a projection of what is underneath: whose requester ids the IOMMU
//! can tell apart (`alias`), and who can reach whom without passing the IOMMU (`reach`).

use std::fmt;
use std::str::FromStr;

use crate::host::Host;
use crate::isolation::{Belief, Verdict, verdicts};
use crate::partition::Partition;
use crate::topology::Topology;

mod bridge;
mod grouping;
mod linux;
mod linux_2025;
mod observed;
mod policy;
mod step;
mod strict;
mod without;

pub(crate) use grouping::Grouping;
pub use policy::{ParsePolicyError, Policy};
pub(crate) use step::Step;

/// A way to reckon groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Model {
    /// What Linux 6.12 makes of the registers, its order of discovery included.
    Linux612,
    /// The same for Linux 7.3: two device quirks more, and functions without a driver have
    /// groups on every platform.
    Linux73,
    /// The series "Fix incorrect iommu_groups with PCIe ACS", version 3 of September 2025, which
    /// Linux has not taken.
    Linux2025,
    /// What registers prove, and nothing that is only asserted.
    Strict(Policy),
    /// Root ports and bridges to conventional PCI isolate, and nothing finer does, as with
    /// Power's partitionable endpoints.
    Bridge,
    /// What the kernel that ran says.
    Observed,
}

/// The topology and the verdicts a model works on.
pub(crate) struct Ground<'a> {
    pub(crate) topology: Topology<'a>,
    pub(crate) verdicts: Vec<Verdict>,
}

impl Model {
    /// All models, `strict` with its default policy.
    pub const ALL: [Self; 6] = [
        Self::Linux612,
        Self::Linux73,
        Self::Linux2025,
        Self::Strict(Policy::NOTHING_MORE),
        Self::Bridge,
        Self::Observed,
    ];

    /// The stable name, without policy: `linux-6.12`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linux612 => "linux-6.12",
            Self::Linux73 => "linux-7.3",
            Self::Linux2025 => "linux-2025-v3",
            Self::Strict(_) => "strict",
            Self::Bridge => "bridge",
            Self::Observed => "observed",
        }
    }

    /// What it is, in a sentence.
    pub fn about(self) -> &'static str {
        match self {
            Self::Linux612 => "what Linux 6.12 makes of the registers",
            Self::Linux73 => "what Linux 7.3 makes of the registers",
            Self::Linux2025 => {
                "the unmerged 2025 series \"Fix incorrect iommu_groups with PCIe ACS\", version 3"
            }
            Self::Strict(_) => "what registers prove, nothing that is only asserted",
            Self::Bridge => "root ports and bridges to conventional PCI isolate, nothing finer",
            Self::Observed => "what the kernel that ran says",
        }
    }

    /// The groups of `host`.
    pub fn partition(self, host: &Host) -> Partition {
        let ground = self.ground(host);
        self.group(&ground).partition(self, &ground)
    }

    pub(crate) fn ground(self, host: &Host) -> Ground<'_> {
        let topology = Topology::of(host);
        let verdicts = verdicts(&topology, self.belief());
        Ground { topology, verdicts }
    }

    pub(crate) fn group(self, ground: &Ground<'_>) -> Grouping {
        match self {
            Self::Linux612 | Self::Linux73 => linux::group(ground, self),
            Self::Linux2025 => linux_2025::group(ground),
            Self::Strict(policy) => strict::group(ground, policy),
            Self::Bridge => bridge::group(ground),
            Self::Observed => observed::group(ground),
        }
    }

    pub(crate) fn belief(self) -> Belief {
        match self {
            Self::Strict(_) => Belief::REGISTERS,
            Self::Linux73 => Belief { without_source_validation: true, ..Belief::LINUX },
            _ => Belief::LINUX,
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())?;
        if let Self::Strict(policy) = self {
            for name in policy.names() {
                write!(formatter, "+{name}")?;
            }
        }
        Ok(())
    }
}

/// A name that no model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseModelError {
    text: String,
}

impl FromStr for Model {
    type Err = ParseModelError;

    /// Reads `linux-6.12`, or `strict+bus-wide-errors` with what the policy adds.
    fn from_str(text: &str) -> Result<Self, ParseModelError> {
        let error = || ParseModelError { text: text.chars().take(64).collect() };
        let (name, rest) = text.split_once('+').map_or((text, None), |(a, b)| (a, Some(b)));
        let model = Self::ALL.into_iter().find(|model| model.name() == name).ok_or_else(error)?;
        match (model, rest) {
            (model, None) => Ok(model),
            (Self::Strict(_), Some(rest)) => rest.parse().map(Self::Strict).map_err(|_| error()),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for ParseModelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Model::ALL.iter().map(|model| model.name()).collect();
        write!(
            formatter,
            "{:?} is not a model: take one of {}; strict may add {}",
            self.text,
            names.join(", "),
            Policy::NAMES.map(|name| format!("+{name}")).join(" ")
        )
    }
}

impl std::error::Error for ParseModelError {}
