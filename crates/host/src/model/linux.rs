//! Linux's own rules: `pci_device_group`, function by function, in the order of discovery.
//!
//! Each function joins the first group it meets on its way: that of a function whose requester id
//! its requests carry, then of a bridge above until the whole path to the root keeps requests
//! apart, then of functions that share an id, then of siblings in its slot. It never makes one
//! group of two, so the outcome may turn on the order.

use crate::alias;
use crate::model::{Ground, Grouping, Model, Step, without};
use crate::reason::{Rule, Standing};
use crate::topology::Topology;

/// The groups Linux makes.
pub(crate) fn group(ground: &Ground<'_>, model: Model) -> Grouping {
    let mut grouping = Grouping::new(ground);
    grouping.without = without::find(ground, model);
    let mut linux = Linux {
        ground,
        broken: broken_paths(ground),
        has_aliases: (0..ground.topology.buses.len())
            .map(|bus| alias::bus_has_aliases(&ground.topology, bus))
            .collect(),
        has_group: vec![false; ground.topology.nodes.len()],
        keeps_bridge_ids: model == Model::Linux73,
    };
    for &node in &ground.topology.order {
        if grouping.without.contains_key(&ground.topology.nodes[node].address) {
            continue;
        }
        for step in linux.place(node) {
            grouping.join(step);
        }
        linux.has_group[node] = true;
    }
    grouping
}

/// For each bus, the nearest port above that does not isolate, if any on the way to the root does
/// not.
pub(crate) fn broken_paths(ground: &Ground<'_>) -> Vec<Option<usize>> {
    let buses = &ground.topology.buses;
    let mut broken = vec![None; buses.len()];
    // Parents come first: they have lower numbers.
    for (number, bus) in buses.iter().enumerate() {
        let above = bus.parent.and_then(|parent| broken[parent]);
        broken[number] = match bus.bridge {
            Some(bridge) if !ground.verdicts[bridge].isolates => Some(bridge),
            _ => above,
        };
    }
    broken
}

struct Linux<'a, 'b> {
    ground: &'a Ground<'b>,
    broken: Vec<Option<usize>>,
    has_aliases: Vec<bool>,
    has_group: Vec<bool>,
    keeps_bridge_ids: bool,
}

/// Device and function numbers of a bus that a search has seen.
#[derive(Default)]
struct Seen([u64; 4]);

impl Seen {
    /// Marks one; whether it was marked already.
    fn mark(&mut self, topology: &Topology<'_>, node: usize) -> bool {
        let [_, number] = topology.nodes[node].address.requester_id().to_be_bytes();
        let word = &mut self.0[usize::from(number >> 6)];
        let bit = 1 << (number & 63);
        let was = *word & bit != 0;
        *word |= bit;
        was
    }
}

impl Linux<'_, '_> {
    /// The joins by which a function comes to a group that is there: none when it starts one.
    fn place(&self, node: usize) -> Vec<Step> {
        let topology = &self.ground.topology;
        let mut steps = Vec::new();
        let mut top = node;
        for visit in alias::walk(topology, node, self.keeps_bridge_ids) {
            if visit.node != node {
                steps.push(Step {
                    rule: visit.rule,
                    from: top,
                    to: visit.node,
                    at: visit.node,
                    standing: visit.standing,
                });
            }
            top = visit.node;
            if self.has_group[top] {
                return steps;
            }
        }
        let mut bus = &topology.buses[topology.nodes[top].bus];
        let mut number = topology.nodes[top].bus;
        while let Some(parent) = bus.parent {
            if let Some(bridge) = bus.bridge {
                let Some(port) = self.broken[number] else { break };
                steps.push(Step {
                    rule: Rule::PortWithoutAcs,
                    from: top,
                    to: bridge,
                    at: port,
                    standing: self.ground.verdicts[port].standing,
                });
                top = bridge;
                if self.has_group[top] {
                    return steps;
                }
            }
            number = parent;
            bus = &topology.buses[parent];
        }
        let mut seen = Seen::default();
        match self.by_id(top, &mut seen).or_else(|| self.by_slot(top, &mut seen)) {
            Some(step) => steps.push(step),
            // What was passed on the way has no group to join: Linux starts one, for it alone.
            None => steps.clear(),
        }
        steps
    }

    /// The first join, over functions of the same bus that share an id, with one in a group.
    fn by_id(&self, node: usize, seen: &mut Seen) -> Option<Step> {
        let topology = &self.ground.topology;
        seen.mark(topology, node);
        let bus = topology.nodes[node].bus;
        if !self.has_aliases[bus] {
            return None;
        }
        for &other in topology.buses[bus].functions.iter().filter(|&&other| other != node) {
            let Some(rule) = alias::share_an_id(topology, node, other) else { continue };
            let holder =
                self.leads(other, seen).or_else(|| self.by_slot(other, seen).map(|step| step.to));
            if let Some(holder) = holder {
                let at = if topology.nodes[node].aliases.is_some() { node } else { other };
                return Some(Step {
                    rule,
                    from: node,
                    to: holder,
                    at,
                    standing: Standing::Asserted,
                });
            }
        }
        None
    }

    /// A function not seen before if it is in a group, or one in a group that it shares an id with.
    fn leads(&self, node: usize, seen: &mut Seen) -> Option<usize> {
        if seen.mark(&self.ground.topology, node) {
            return None;
        }
        if self.has_group[node] {
            return Some(node);
        }
        self.by_id(node, seen).map(|step| step.to)
    }

    /// The first join with a sibling that does not isolate either, over which there is a group.
    fn by_slot(&self, node: usize, seen: &mut Seen) -> Option<Step> {
        let verdicts = &self.ground.verdicts;
        if !self.ground.topology.nodes[node].multifunction || verdicts[node].isolates {
            return None;
        }
        self.ground.topology.slot_mates(node).filter(|&mate| !verdicts[mate].isolates).find_map(
            |mate| {
                let holder = self.leads(mate, seen)?;
                Some(Step {
                    rule: Rule::FunctionsOfOneDevice,
                    from: node,
                    to: holder,
                    at: node,
                    standing: verdicts[node].standing.max(verdicts[mate].standing),
                })
            },
        )
    }
}
