//! Root ports and bridges to conventional PCI isolate what is below them as one; nothing finer
//! does.
//!
//! So do Power's partitionable endpoints. Functions on a root bus are one group: what is between
//! them and the host bridge is nobody's promise.

use crate::fact::Fact;
use crate::model::{Ground, Grouping, Step};
use crate::port::PortType;
use crate::reason::{Reason, Rule, Standing};

/// The groups by trusted bridges.
pub(crate) fn group(ground: &Ground<'_>) -> Grouping {
    let topology = &ground.topology;
    let mut grouping = Grouping::new(ground);
    grouping.remark = Some(boundary);
    // The function that stands for what is below each trusted bridge, by bus.
    let mut stands: Vec<Option<usize>> = vec![None; topology.buses.len()];
    for &node in &topology.order {
        let bus = region(ground, node);
        match stands[bus] {
            None => stands[bus] = Some(node),
            Some(first) => grouping.join(Step {
                rule: Rule::BridgeIsolates,
                from: node,
                to: first,
                at: node,
                standing: Standing::Proven,
            }),
        }
        if let Some(vmd) = topology.vmd_of(node) {
            grouping.join(Step {
                rule: Rule::VmdAlias,
                from: node,
                to: vmd.endpoint,
                at: vmd.endpoint,
                standing: if vmd.is_known { Standing::Proven } else { Standing::Unknown },
            });
        }
    }
    grouping
}

/// The bus right below the nearest trusted bridge above, or the root bus.
fn region(ground: &Ground<'_>, node: usize) -> usize {
    let topology = &ground.topology;
    let mut bus = topology.nodes[node].bus;
    loop {
        let here = &topology.buses[bus];
        if here.bridge.is_some_and(|bridge| is_trusted(ground, bridge)) {
            return bus;
        }
        match here.parent {
            Some(parent) => bus = parent,
            None => return bus,
        }
    }
}

fn is_trusted(ground: &Ground<'_>, bridge: usize) -> bool {
    matches!(
        ground.topology.nodes[bridge].port,
        Fact::Known(Some(PortType::RootPort | PortType::PcieToPciBridge))
    ) || ground.topology.is_hidden_pcie_bridge(bridge)
}

fn boundary(ground: &Ground<'_>, node: usize) -> Reason {
    let topology = &ground.topology;
    let bus = &topology.buses[region(ground, node)];
    let at = topology.nodes[node].address;
    let sentence = match bus.bridge {
        Some(bridge) => format!(
            "All below {} is one group, and nothing else is in it.",
            topology.nodes[bridge].address
        ),
        None => format!("All on root bus {:04x}:{:02x} is one group.", bus.domain, bus.number),
    };
    Reason {
        rule: Rule::BridgeIsolates,
        at,
        with: None,
        register: None,
        standing: Standing::Proven,
        sentence,
    }
}
