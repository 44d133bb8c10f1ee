//! Whether a function keeps requests apart, as Linux judges it, and on what evidence.
//!
//! For a port: whether requests from below go up to the IOMMU, instead of turning around. For one
//! of several functions: whether its requests to its siblings do. The rules are Linux's
//! (`pci_acs_enabled`); each answer says what it rests on, and a belief says what of that counts.

use crate::acs::AcsBits;
use crate::fact::{Fact, Unknown};
use crate::function::Function;
use crate::port::PortType;
use crate::quirks;
use crate::quirks::acs::Answer;
use crate::reason::Standing;
use crate::topology::Topology;

pub(crate) mod overrides;
mod words;

/// What is believed that no register shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Belief {
    /// What vendors say by quirks in the kernel.
    pub(crate) vendors: bool,
    /// What the command line claims.
    pub(crate) overrides: bool,
    /// That Linux sets at boot what it can, where the value is not shown and nobody told it not to.
    pub(crate) boot: bool,
    /// That types of ports which nobody has defined isolate.
    pub(crate) undefined: bool,
    /// Switches of which Linux 7.3 knows that source validation is broken count without it.
    pub(crate) without_source_validation: bool,
}

impl Belief {
    /// As Linux has it.
    pub(crate) const LINUX: Self = Self {
        vendors: true,
        overrides: true,
        boot: true,
        undefined: true,
        without_source_validation: false,
    };
    /// Registers alone.
    pub(crate) const REGISTERS: Self = Self {
        vendors: false,
        overrides: false,
        boot: false,
        undefined: false,
        without_source_validation: false,
    };
}

/// Whether a function keeps requests apart, and why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) isolates: bool,
    pub(crate) standing: Standing,
    pub(crate) basis: Basis,
}

/// What a verdict rests on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Basis {
    /// The ACS registers: these bits are missing of those required.
    Registers { missing: AcsBits },
    /// It has no ACS capability.
    NoCapability,
    /// Conventional PCI has no such thing.
    Conventional,
    /// Its type never has ACS.
    NeverOnThisType(PortType),
    /// It is the only function of its device, and no port.
    OnlyFunction,
    /// Its port type is not defined.
    UndefinedType,
    /// The kernel's table of vendors' statements.
    Quirk(Answer),
    /// The kernel's command line.
    Override(&'static str),
    /// There is a capability, the values were not shown, and Linux sets it at boot.
    SetAtBoot,
    /// It could not be read.
    Unread(Unknown, &'static str),
}

/// The verdict on every function.
pub(crate) fn verdicts(topology: &Topology<'_>, belief: Belief) -> Vec<Verdict> {
    let claims = overrides::Claims::of(topology.host);
    let boot = belief.boot && !overrides::changes_acs(topology.host);
    let belief = Belief { boot, ..belief };
    (0..topology.nodes.len()).map(|index| judge(topology, index, belief, &claims)).collect()
}

fn judge(
    topology: &Topology<'_>,
    index: usize,
    belief: Belief,
    claims: &overrides::Claims,
) -> Verdict {
    if let Some(answer) = quirks::acs::answer(topology, index) {
        // What a quirk denies is denied in any case; what it reads from a register is proven.
        let standing = if answer.control.is_some() { Standing::Proven } else { Standing::Asserted };
        if belief.vendors || !answer.isolates || standing == Standing::Proven {
            let basis = Basis::Quirk(answer);
            return Verdict { isolates: answer.isolates, standing, basis };
        }
    }
    let verdict = judge_registers(topology, index, belief);
    if !verdict.isolates
        && belief.overrides
        && let Some(claim) = claims.on(topology, index)
    {
        let basis = Basis::Override(claim);
        return Verdict { isolates: true, standing: Standing::Asserted, basis };
    }
    verdict
}

fn judge_registers(topology: &Topology<'_>, index: usize, belief: Belief) -> Verdict {
    let node = &topology.nodes[index];
    let proven = |isolates, basis| Verdict { isolates, standing: Standing::Proven, basis };
    if node.absent {
        let basis = Basis::Unread(Unknown::NotInSource, "the function");
        return Verdict { isolates: false, standing: Standing::Unknown, basis };
    }
    match node.port {
        Fact::Unknown(why) => {
            let basis = Basis::Unread(why, "the PCI Express capability");
            Verdict { isolates: false, standing: Standing::Unknown, basis }
        }
        Fact::Known(None) => proven(false, Basis::Conventional),
        Fact::Known(Some(
            port @ (PortType::PciToPcieBridge
            | PortType::PcieToPciBridge
            | PortType::EventCollector),
        )) => proven(false, Basis::NeverOnThisType(port)),
        Fact::Known(Some(PortType::RootPort | PortType::DownstreamPort)) => {
            judge_capability(topology, index, belief)
        }
        Fact::Known(Some(PortType::Reserved(_))) => Verdict {
            isolates: belief.undefined,
            standing: Standing::Unknown,
            basis: Basis::UndefinedType,
        },
        Fact::Known(Some(_)) if node.multifunction => judge_capability(topology, index, belief),
        Fact::Known(Some(_)) => Verdict {
            isolates: true,
            standing: if node.multifunction_is_read { Standing::Proven } else { Standing::Unknown },
            basis: Basis::OnlyFunction,
        },
    }
}

fn judge_capability(topology: &Topology<'_>, index: usize, belief: Belief) -> Verdict {
    let function: &Function = &topology.nodes[index].function;
    let acs = match function.acs {
        Fact::Unknown(why) => {
            let basis = Basis::Unread(why, "the ACS capability");
            return Verdict { isolates: false, standing: Standing::Unknown, basis };
        }
        Fact::Known(None) => {
            // Of an unknown vendor, no quirk could be looked up.
            let (vendor, _) = quirks::ids(function);
            let standing = if vendor.is_some() { Standing::Proven } else { Standing::Unknown };
            return Verdict { isolates: false, standing, basis: Basis::NoCapability };
        }
        Fact::Known(Some(acs)) => acs,
    };
    match (acs.capability, acs.control) {
        (Fact::Known(mut capability), Fact::Known(control)) => {
            if belief.without_source_validation && quirks::lacks_source_validation(function) {
                capability -= AcsBits::SOURCE_VALIDATION;
            }
            // What a port cannot be told is taken to be so; egress control alone is not.
            let missing = (AcsBits::REQUIRED & capability) - control;
            Verdict {
                isolates: missing.is_empty(),
                standing: Standing::Proven,
                basis: Basis::Registers { missing },
            }
        }
        (_, Fact::Unknown(why)) | (Fact::Unknown(why), _) => {
            if belief.boot {
                let standing = Standing::Asserted;
                return Verdict { isolates: true, standing, basis: Basis::SetAtBoot };
            }
            let basis = Basis::Unread(why, "the ACS control register");
            Verdict { isolates: false, standing: Standing::Unknown, basis }
        }
    }
}
