//! The kernel's groups beside what the registers now say.
//!
//! Linux makes a group once, when it finds a function. Afterwards registers change and groups do
//! not; and some of what it joins or parts is known not to be what the hardware does. Each
//! difference is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::host::Host;
use crate::isolation::Basis;
use crate::model::{Ground, Model, Policy, Step};
use crate::port::PortType;
use crate::reason::{Reason, Rule};

/// How the kernel's word on two functions compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Its own rules, applied to the registers as they are now, say otherwise.
    Stale,
    /// It has apart what no register keeps apart.
    KernelWeaker,
    /// It has together what could be apart.
    KernelStronger,
}

/// A known gap between the kernel's groups and what hardware isolates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Gap {
    /// Ports of one switch without ACS.
    SwitchPorts,
    /// A function that isolates, and a sibling that does not and can reach it.
    AsymmetricSiblings,
    /// Root ports without ACS beside each other.
    RootPorts,
    /// ACS changed after the groups were made.
    ChangedAfterwards,
    /// The command line claims isolation.
    Override,
    /// Virtual functions count as apart without evidence.
    VirtualFunctions,
    /// A bridge to conventional PCI takes what is above it into its group.
    ConventionalBridge,
    /// A vendor says so, and no register does.
    VendorsWord,
    /// What would decide it was not read.
    Unread,
}

/// Two functions of which the kernel says one thing and the registers another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// How they compare.
    pub verdict: Verdict,
    /// The gap that explains it.
    pub gap: Gap,
    /// The two functions.
    pub functions: (PciAddress, PciAddress),
    /// Whether the kernel has them together.
    pub kernel_has_together: bool,
    /// Why registers say otherwise, where a join tells.
    pub reason: Option<Reason>,
}

impl Gap {
    /// The name in the notes on Linux's groups: `U1`; `None` for what is no gap of Linux's.
    pub fn number(self) -> Option<&'static str> {
        match self {
            Self::SwitchPorts => Some("U1"),
            Self::AsymmetricSiblings => Some("U2"),
            Self::RootPorts => Some("U3"),
            Self::ChangedAfterwards => Some("U4"),
            Self::Override => Some("U5"),
            Self::VirtualFunctions => Some("U6"),
            Self::ConventionalBridge => Some("U7"),
            Self::VendorsWord | Self::Unread => None,
        }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SwitchPorts => "ports of one switch reach each other, as none of it has ACS set",
            Self::AsymmetricSiblings => "a sibling that does not isolate can reach one that does",
            Self::RootPorts => "root ports without ACS may reach each other",
            Self::ChangedAfterwards => "ACS changed after the kernel made its groups",
            Self::Override => "the command line claims isolation that no register shows",
            Self::VirtualFunctions => "virtual functions count as apart without evidence",
            Self::ConventionalBridge => {
                "a bridge to conventional PCI takes what is above it into its group"
            }
            Self::VendorsWord => "the kernel believes the vendor, and no register shows it",
            Self::Unread => "what would decide it was not read",
        })
    }
}

/// The model of the kernel that ran, as near as there is one.
pub fn model_of_kernel(host: &Host) -> Model {
    let release = host.kernel.release.known().map_or("", String::as_str);
    let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= 7) { Model::Linux73 } else { Model::Linux612 }
}

/// All that differs between the kernel's groups and what registers say: nothing where they agree.
pub fn compare_with_kernel(host: &Host) -> Vec<Difference> {
    let mut found = Vec::new();
    stale(host, &mut found);
    weaker(host, &mut found);
    conventional(host, &mut found);
    let mut seen = BTreeSet::new();
    found.retain(|difference| seen.insert((difference.functions, difference.verdict)));
    found.sort_by_key(|difference| (difference.verdict, difference.functions));
    found
}

fn kernel_group(host: &Host, address: PciAddress) -> Option<u32> {
    host.function(address).and_then(|function| function.kernel_group.known().copied().flatten())
}

/// Whether the kernel has two functions apart, where it has both in groups.
fn has_apart(host: &Host, one: PciAddress, other: PciAddress) -> bool {
    match (kernel_group(host, one), kernel_group(host, other)) {
        (Some(one), Some(other)) => one != other,
        _ => false,
    }
}

/// Where the kernel's own rules now say otherwise.
fn stale(host: &Host, found: &mut Vec<Difference>) {
    let model = model_of_kernel(host);
    let ground = model.ground(host);
    let mut grouping = model.group(&ground);
    for step in grouping.steps.clone() {
        let functions = ends(&ground, &step);
        if has_apart(host, functions.0, functions.1) {
            found.push(Difference {
                verdict: Verdict::Stale,
                gap: Gap::ChangedAfterwards,
                functions,
                kernel_has_together: false,
                reason: Some(step.reason(&ground)),
            });
        }
    }
    // One of each kernel group stands for those of it that are still together.
    let mut first: BTreeMap<u32, usize> = BTreeMap::new();
    for (node, here) in ground.topology.nodes.iter().enumerate() {
        let Some(number) = kernel_group(host, here.address) else { continue };
        let stands = *first.entry(number).or_insert(node);
        if grouping.sets.find(stands) != grouping.sets.find(node) {
            found.push(Difference {
                verdict: Verdict::Stale,
                gap: Gap::ChangedAfterwards,
                functions: (ground.topology.nodes[stands].address, here.address),
                kernel_has_together: true,
                reason: None,
            });
        }
    }
}

/// Where registers join what the kernel has apart by its own rules.
fn weaker(host: &Host, found: &mut Vec<Difference>) {
    let strict = Model::Strict(Policy::NOTHING_MORE);
    let ground = strict.ground(host);
    let kernel = model_of_kernel(host);
    let believed = kernel.ground(host);
    let mut by_rules = kernel.group(&believed);
    for step in strict.group(&ground).steps {
        let functions = ends(&ground, &step);
        let is_stale = by_rules.sets.find(step.from) == by_rules.sets.find(step.to);
        if !is_stale && has_apart(host, functions.0, functions.1) {
            found.push(Difference {
                verdict: Verdict::KernelWeaker,
                gap: gap(&believed, &step),
                functions,
                kernel_has_together: false,
                reason: Some(step.reason(&ground)),
            });
        }
    }
}

/// What the kernel believed that parted the two ends of a join.
fn gap(believed: &Ground<'_>, step: &Step) -> Gap {
    let is_root_port =
        believed.topology.nodes[step.at].port == Fact::Known(Some(PortType::RootPort));
    match (&believed.verdicts[step.at].basis, step.rule) {
        (_, Rule::VirtualFunction) => Gap::VirtualFunctions,
        (Basis::Override(_), _) => Gap::Override,
        (Basis::Quirk(answer), _) if answer.isolates => Gap::VendorsWord,
        (Basis::SetAtBoot | Basis::Unread(..) | Basis::UndefinedType, _) => Gap::Unread,
        (_, Rule::SwitchWithoutAcs) if is_root_port => Gap::RootPorts,
        (_, Rule::SwitchWithoutAcs | Rule::PortWithoutAcs) => Gap::SwitchPorts,
        (_, Rule::FunctionsOfOneDevice) => Gap::AsymmetricSiblings,
        _ => Gap::Unread,
    }
}

/// Where a bridge to conventional PCI is in one group with the port above it.
fn conventional(host: &Host, found: &mut Vec<Difference>) {
    let model = model_of_kernel(host);
    let ground = model.ground(host);
    for (node, here) in ground.topology.nodes.iter().enumerate() {
        let is_bridge = here.port == Fact::Known(Some(PortType::PcieToPciBridge))
            || ground.topology.is_hidden_pcie_bridge(node);
        let Some(above) = ground.topology.bridge_of(node).filter(|_| is_bridge) else { continue };
        let functions = (ground.topology.nodes[above].address, here.address);
        let together = kernel_group(host, functions.0).is_some()
            && kernel_group(host, functions.0) == kernel_group(host, functions.1);
        if together && matches!(ground.verdicts[above].basis, Basis::NoCapability) {
            found.push(Difference {
                verdict: Verdict::KernelStronger,
                gap: Gap::ConventionalBridge,
                functions,
                kernel_has_together: true,
                reason: None,
            });
        }
    }
}

fn ends(ground: &Ground<'_>, step: &Step) -> (PciAddress, PciAddress) {
    let nodes = &ground.topology.nodes;
    (nodes[step.from].address, nodes[step.to].address)
}
