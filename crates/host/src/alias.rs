//! Whose requester id a function's requests carry by the time they reach the IOMMU.
//!
//! The walk is Linux's `pci_for_each_dma_alias`. Functions whose requests the IOMMU cannot tell
//! apart are one alias class: no setting parts them, and every model keeps them together.

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::host::Host;
use crate::port::PortType;
use crate::quirks;
use crate::reason::{Rule, Standing};
use crate::sets::Sets;
use crate::topology::Topology;

/// One more function whose id the requests may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) node: usize,
    pub(crate) rule: Rule,
    pub(crate) standing: Standing,
}

/// The functions whose ids the requests of `node` may carry on their way up, nearest first; the
/// first is itself, or the VMD endpoint it translates for.
pub(crate) fn walk(topology: &Topology<'_>, node: usize, keeps_bridge_ids: bool) -> Vec<Visit> {
    let mut visits = Vec::with_capacity(1);
    let start = match topology.vmd_of(node) {
        Some(vmd) => {
            let standing = if vmd.is_known { Standing::Proven } else { Standing::Unknown };
            visits.push(Visit { node: vmd.endpoint, rule: Rule::VmdAlias, standing });
            vmd.endpoint
        }
        None => {
            visits.push(Visit { node, rule: Rule::Alone, standing: Standing::Proven });
            node
        }
    };
    let mut bus = &topology.buses[topology.nodes[start].bus];
    while let Some(parent) = bus.parent {
        if let Some(bridge) = bus.bridge {
            let here = &topology.nodes[bridge];
            if quirks::is_translation_root(&here.function) {
                break;
            }
            let standing = match here.port {
                Fact::Unknown(_) => Some(Standing::Unknown),
                Fact::Known(None) => Some(Standing::Proven),
                Fact::Known(Some(PortType::PcieToPciBridge)) => {
                    let keeps = keeps_bridge_ids && quirks::is_bridge_without_alias(&here.function);
                    (!keeps).then_some(Standing::Proven)
                }
                Fact::Known(Some(PortType::PciToPcieBridge)) => Some(Standing::Proven),
                Fact::Known(Some(_)) => None,
            };
            if let Some(standing) = standing {
                visits.push(Visit { node: bridge, rule: Rule::BridgeAlias, standing });
            }
        }
        bus = &topology.buses[parent];
    }
    visits
}

/// Whether one of two functions on the same bus uses the requester id of the other.
pub(crate) fn share_an_id(topology: &Topology<'_>, one: usize, other: usize) -> Option<Rule> {
    let (one, other) = (&topology.nodes[one], &topology.nodes[other]);
    let of = |from: &crate::topology::Node<'_>, to: PciAddress| {
        let aliases = from.aliases.as_deref().filter(|aliases| aliases.contain(to))?;
        Some(if aliases.is_firmware { Rule::FirmwareAlias } else { Rule::QuirkAlias })
    };
    of(one, other.address).or_else(|| of(other, one.address))
}

/// Whether any function of a bus uses more ids than its own.
pub(crate) fn bus_has_aliases(topology: &Topology<'_>, bus: usize) -> bool {
    let functions = &topology.buses[bus].functions;
    functions.iter().any(|&node| topology.nodes[node].aliases.is_some())
}

/// The alias classes of a host: sets of functions whose requests the IOMMU cannot tell apart, by
/// their first functions.
pub fn alias_classes(host: &Host) -> Vec<Vec<PciAddress>> {
    let topology = Topology::of(host);
    let mut sets = Sets::new(topology.nodes.len());
    join(&topology, |from, to, _, _| {
        sets.join(from, to);
    });
    let mut classes = sets.lists(|node| !topology.nodes[node].absent);
    for class in &mut classes {
        class.sort_unstable();
    }
    classes.sort();
    classes
        .into_iter()
        .map(|class| class.into_iter().map(|node| topology.nodes[node].address).collect())
        .collect()
}

/// Calls `joined` for pairs that span every alias class.
pub(crate) fn join(topology: &Topology<'_>, mut joined: impl FnMut(usize, usize, Rule, Standing)) {
    let has_aliases: Vec<bool> =
        (0..topology.buses.len()).map(|bus| bus_has_aliases(topology, bus)).collect();
    for node in 0..topology.nodes.len() {
        // The next one up has its own walk, so the nearest is enough.
        let visits = walk(topology, node, false);
        if let Some(next) = visits.into_iter().find(|visit| visit.node != node) {
            joined(node, next.node, next.rule, next.standing);
        }
        let bus = topology.nodes[node].bus;
        let Some(aliases) = topology.nodes[node].aliases.as_deref().filter(|_| has_aliases[bus])
        else {
            continue;
        };
        for &other in &topology.buses[bus].functions {
            if other == node {
                continue;
            }
            if aliases.contain(topology.nodes[other].address) {
                let rule = if aliases.is_firmware { Rule::FirmwareAlias } else { Rule::QuirkAlias };
                joined(node, other, rule, Standing::Proven);
            } else if !aliases.are_known {
                joined(node, other, Rule::QuirkAlias, Standing::Unknown);
            }
        }
    }
}
