//! The single change that parts two functions: candidates in order, each tried.

use std::collections::BTreeSet;

use ringfence_addr::PciAddress;

use crate::acs::AcsBits;
use crate::explain::trials::Trials;
use crate::host::Host;
use crate::isolation::Basis;
use crate::isolation::overrides;
use crate::model::{Ground, Model, Step};
use crate::reason::{Change, Rule};
use crate::topology::Topology;
use crate::whatif::{AcsSetting, WhatIf};

/// The bits that isolation requires, as `pci=config_acs=` has them.
const REQUIRED: &str = "xx111x1";

/// Whether anybody would want these two apart: not a bridge from what is below it.
pub(super) fn is_worth_parting(ground: &Ground<'_>, one: PciAddress, other: PciAddress) -> bool {
    let is_bridge = |address| {
        let node = ground.topology.index(address);
        node.is_some_and(|node| ground.topology.nodes[node].function.is_bridge())
    };
    is_bridge(one) || !is_bridge(other)
}

impl Trials<'_> {
    /// The change, if one parts them.
    pub(super) fn find(
        &mut self,
        path: &[Step],
        one: PciAddress,
        other: PciAddress,
    ) -> Option<Change> {
        if self.model == Model::Observed {
            return None;
        }
        self.by_acs(path, one, other)
            .or_else(|| self.by_move(one, other))
            .or_else(|| self.by_move(other, one))
    }

    /// ACS control bits that are off and could be on: at one port, else at all of the chain at
    /// once.
    fn by_acs(&mut self, path: &[Step], one: PciAddress, other: PciAddress) -> Option<Change> {
        let ground = self.ground;
        let ports = ports_that_could(ground, path);
        let single = ports.iter().map(std::slice::from_ref);
        let all = std::iter::once(ports.as_slice()).filter(|ports| ports.len() > 1);
        single.chain(all).find_map(|ports| {
            let address = |&port: &usize| ground.topology.nodes[port].address;
            let on = |address| WhatIf::Acs { address, setting: AcsSetting::On };
            let changes: Vec<_> = ports.iter().map(address).map(on).collect();
            self.part(&changes, one, other).then(|| acs_change(self.host, ground, ports, &changes))
        })
    }

    /// A free slot elsewhere for the device of `one`.
    fn by_move(&mut self, one: PciAddress, other: PciAddress) -> Option<Change> {
        let topology = &self.ground.topology;
        let node = topology.index(one)?;
        // What is on a root bus is soldered there; virtual functions go with their device.
        topology.bridge_of(node)?;
        if topology.nodes[node].physical.is_some() {
            return None;
        }
        self.free_slots().into_iter().find_map(|below| {
            let change = WhatIf::Move { address: one, below };
            self.part(std::slice::from_ref(&change), one, other).then(|| Change {
                sentence: format!("Put the device of {one} in the free slot below {below}."),
                what_if: Some(change.to_string()),
                kernel_argument: None,
            })
        })
    }
}

/// The ports of a chain whose ACS control lacks what they could be told.
fn ports_that_could(ground: &Ground<'_>, path: &[Step]) -> Vec<usize> {
    let mut ports: Vec<usize> = Vec::new();
    let mut seen: BTreeSet<usize> = BTreeSet::new();
    for at in path.iter().filter(|step| is_about_acs(step.rule)).map(|step| step.at) {
        for at in std::iter::once(at).chain(bridges_above(&ground.topology, at)) {
            if !seen.insert(at) {
                // So were those above it.
                break;
            }
            let could = match ground.verdicts[at].basis {
                Basis::Registers { missing } => !missing.is_empty(),
                Basis::Quirk(answer) => !answer.missing.is_empty(),
                _ => false,
            };
            if could {
                ports.push(at);
            }
        }
    }
    ports
}

fn acs_change(host: &Host, ground: &Ground<'_>, ports: &[usize], changes: &[WhatIf]) -> Change {
    let items: Vec<String> = ports
        .iter()
        .map(|&port| format!("{REQUIRED}@{}", ground.topology.nodes[port].address))
        .collect();
    let names: Vec<String> =
        ports.iter().map(|&port| ground.topology.nodes[port].address.to_string()).collect();
    let words = overrides::changes(host);
    let because = if words.is_empty() {
        String::new()
    } else {
        format!(" Now the command line has {}, which may be what clears it.", words.join(" "))
    };
    Change {
        sentence: format!(
            "Set {} in the ACS control of {}.{because}",
            AcsBits::REQUIRED,
            names.join(" and ")
        ),
        what_if: Some(changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
        kernel_argument: Some(format!("pci=config_acs={}", items.join(";"))),
    }
}

fn is_about_acs(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::PortWithoutAcs
            | Rule::SwitchWithoutAcs
            | Rule::FunctionsOfOneDevice
            | Rule::VirtualFunction
    )
}

fn bridges_above<'a>(topology: &'a Topology<'_>, node: usize) -> impl Iterator<Item = usize> + 'a {
    std::iter::successors(topology.bridge_of(node), |&bridge| topology.bridge_of(bridge))
}
