//! The series "Fix incorrect iommu_groups with PCIe ACS", version 3 (5 September 2025).
//!
//! Linux 7.3 does not have it; an earlier version is in some vendors' kernels. Taken from the
//! series: a bus isolates or does not, and what is below one that does not is one group; ports of
//! a switch are judged together, since ACS says where a port's own requests may go and not who may
//! reach it; functions of one device without any ACS capability count as apart, for the
//! specification requires the capability of those that talk to each other; a root port without it
//! likewise; a bridge to conventional PCI is apart from its bus if it has no memory of its own.
//!
//! Not taken: the ACS Enhanced bits of its last patches, which no source here shows. A switch port
//! without the capability is judged as with them: its upstream port is not kept apart.

use crate::alias;
use crate::fact::Fact;
use crate::isolation::Basis;
use crate::model::{Ground, Grouping, Model, Step, without};
use crate::port::PortType;
use crate::quirks;
use crate::reason::Rule;
use crate::sets::Sets;

/// How far a bus keeps what is on it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isolation {
    /// Requests from it all go up.
    Isolated,
    /// What is on it is one group, without the bridge; the function tells why.
    WithoutBridge(usize),
    /// What is on it is one group with the bridge.
    WithBridge(usize),
}

/// The groups of the series.
pub(crate) fn group(ground: &Ground<'_>) -> Grouping {
    let topology = &ground.topology;
    let mut grouping = Grouping::new(ground);
    grouping.without = without::find(ground, Model::Linux2025);
    let mut reachable = Sets::new(topology.nodes.len());
    join_reachable(ground, &mut reachable);
    let mut sizes = vec![0_usize; topology.nodes.len()];
    for node in 0..topology.nodes.len() {
        sizes[reachable.find(node)] += 1;
    }
    // The first function of each reachable set, and of each bus, that has a group.
    let mut of_set: Vec<Option<usize>> = vec![None; topology.nodes.len()];
    let mut of_bus: Vec<Option<usize>> = vec![None; topology.buses.len()];
    // Whether all below a function is in its group.
    let mut is_open = vec![false; topology.nodes.len()];
    let isolation: Vec<_> = (0..topology.buses.len()).map(|bus| judge(ground, bus)).collect();
    for &node in &topology.order {
        let here = &topology.nodes[node];
        if grouping.without.contains_key(&here.address) {
            continue;
        }
        let step = |rule, to, at: usize| Step {
            rule,
            from: node,
            to,
            at,
            standing: ground.verdicts[at].standing,
        };
        if let Some(vmd) = topology.vmd_of(node) {
            grouping.join(step(Rule::VmdAlias, vmd.endpoint, vmd.endpoint));
            continue;
        }
        if quirks::is_translation_root(&here.function) {
            continue;
        }
        let bus = topology.nodes[here.physical.unwrap_or(node)].bus;
        let bridge = topology.buses[bus].bridge;
        if let Some(bridge) = bridge.filter(|&bridge| is_open[bridge]) {
            is_open[node] = true;
            let at = match isolation[bus] {
                Isolation::WithBridge(at) | Isolation::WithoutBridge(at) => at,
                Isolation::Isolated => bridge,
            };
            grouping.join(step(Rule::PortWithoutAcs, bridge, at));
            continue;
        }
        match (isolation[bus], bridge) {
            (Isolation::WithBridge(at), Some(bridge)) => {
                is_open[node] = true;
                is_open[bridge] = true;
                grouping.join(step(Rule::PortWithoutAcs, bridge, at));
            }
            (Isolation::WithoutBridge(at), _) => {
                is_open[node] = true;
                match of_bus[bus] {
                    Some(first) => grouping.join(step(Rule::SwitchWithoutAcs, first, at)),
                    None => of_bus[bus] = Some(node),
                }
            }
            _ => {
                let set = reachable.find(node);
                if sizes[set] < 2 {
                    continue;
                }
                is_open[node] = true;
                match of_set[set] {
                    Some(first) => grouping.join(step(Rule::FunctionsOfOneDevice, first, node)),
                    None => of_set[set] = Some(node),
                }
            }
        }
    }
    grouping
}

/// Joins functions of a bus that share ids or, inside one device, can reach each other.
fn join_reachable(ground: &Ground<'_>, reachable: &mut Sets) {
    let topology = &ground.topology;
    for (node, here) in topology.nodes.iter().enumerate() {
        for mate in topology.slot_mates(node).filter(|&mate| mate > node) {
            let other = &topology.nodes[mate];
            if here.physical.is_some() || other.physical.is_some() {
                continue;
            }
            let differ = here.multifunction != other.multifunction;
            let reach =
                here.multifunction && (reaches_out(ground, node) || reaches_out(ground, mate));
            if differ || reach {
                reachable.join(node, mate);
            }
        }
        if here.aliases.is_some() {
            for &other in &topology.buses[here.bus].functions {
                if other != node && alias::share_an_id(topology, node, other).is_some() {
                    reachable.join(node, other);
                }
            }
        }
    }
}

/// Whether a function has an ACS capability and does not isolate by it.
fn reaches_out(ground: &Ground<'_>, node: usize) -> bool {
    let has_capability = !matches!(ground.topology.nodes[node].function.acs, Fact::Known(None));
    let is_pcie = !matches!(ground.topology.nodes[node].port, Fact::Known(None));
    is_pcie && has_capability && !ground.verdicts[node].isolates
}

fn judge(ground: &Ground<'_>, bus: usize) -> Isolation {
    let topology = &ground.topology;
    let Some(bridge) = topology.buses[bus].bridge else { return Isolation::Isolated };
    let here = &topology.nodes[bridge];
    let port = match here.port {
        Fact::Known(Some(port)) => port,
        Fact::Known(None) if topology.is_hidden_pcie_bridge(bridge) => PortType::PcieToPciBridge,
        _ => return Isolation::WithBridge(bridge),
    };
    match port {
        PortType::RootPort if reaches_out(ground, bridge) => Isolation::WithBridge(bridge),
        PortType::RootPort | PortType::DownstreamPort => Isolation::Isolated,
        PortType::UpstreamPort => judge_switch(ground, bus),
        PortType::PcieToPciBridge if here.function.memory == Fact::Known(false) => {
            Isolation::WithoutBridge(bridge)
        }
        _ => Isolation::WithBridge(bridge),
    }
}

/// One port that lets requests turn around spoils the whole switch.
fn judge_switch(ground: &Ground<'_>, bus: usize) -> Isolation {
    let topology = &ground.topology;
    let mut worst = Isolation::Isolated;
    for &node in &topology.buses[bus].functions {
        let here = &topology.nodes[node];
        if here.port != Fact::Known(Some(PortType::DownstreamPort)) || here.aliases.is_some() {
            return Isolation::WithBridge(node);
        }
        let verdict = &ground.verdicts[node];
        match verdict.basis {
            _ if verdict.isolates => {}
            Basis::Registers { .. } => worst = Isolation::WithoutBridge(node),
            _ => return Isolation::WithBridge(node),
        }
    }
    worst
}
