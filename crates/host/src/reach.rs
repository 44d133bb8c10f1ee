//! Who can reach whom without passing the IOMMU.
//!
//! A directed graph: a function that does not isolate reaches siblings that do, and not the other
//! way around. Its places are functions, and each bus on the way up and on the way down; there are
//! as many as functions and buses, so asking costs no more than that.

use std::collections::VecDeque;

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::host::Host;
use crate::model::{Ground, Model, Step};
use crate::port::PortType;
use crate::reason::{Reason, Rule, Standing};

/// A place a request can be at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Function(usize),
    Up(usize),
    Down(usize),
}

/// The way by which requests of `from` reach `to` without passing the IOMMU, as far as the evidence
/// that `model` believes goes: the turns, first to last. `None` if there is none.
pub fn reaches(host: &Host, model: Model, from: PciAddress, to: PciAddress) -> Option<Vec<Reason>> {
    let ground = model.ground(host);
    let (from, to) = (ground.topology.index(from)?, ground.topology.index(to)?);
    let graph = Graph { ground: &ground };
    let came = graph.search(from, Some(to));
    let mut at = graph.number(Place::Function(to));
    came[at]?;
    let mut turns = Vec::new();
    while let Some(Some((before, step))) = came.get(at) {
        turns.extend(step.map(|step| step.reason(&ground)));
        if *before == at {
            break;
        }
        at = *before;
    }
    turns.reverse();
    Some(turns)
}

/// All functions that requests of `from` reach without passing the IOMMU, by address.
pub fn reached(host: &Host, model: Model, from: PciAddress) -> Vec<PciAddress> {
    let ground = model.ground(host);
    let Some(start) = ground.topology.index(from) else { return Vec::new() };
    let graph = Graph { ground: &ground };
    let came = graph.search(start, None);
    let nodes = ground.topology.nodes.iter().enumerate();
    nodes
        .filter(|(index, node)| came[*index].is_some() && *index != start && !node.absent)
        .map(|(_, node)| node.address)
        .collect()
}

struct Graph<'a, 'b> {
    ground: &'a Ground<'b>,
}

/// For each place, the one before it and the step taken, if any was.
type Came = Vec<Option<(usize, Option<Step>)>>;

impl Graph<'_, '_> {
    fn number(&self, place: Place) -> usize {
        let (nodes, buses) = (self.ground.topology.nodes.len(), self.ground.topology.buses.len());
        match place {
            Place::Function(node) => node,
            Place::Up(bus) => nodes + bus,
            Place::Down(bus) => nodes + buses + bus,
        }
    }

    fn search(&self, from: usize, to: Option<usize>) -> Came {
        let count = self.ground.topology.nodes.len() + 2 * self.ground.topology.buses.len();
        let mut came: Came = vec![None; count];
        came[from] = Some((from, None));
        let mut open = VecDeque::from([Place::Function(from)]);
        while let Some(at) = open.pop_front() {
            if to.is_some_and(|to| at == Place::Function(to)) {
                break;
            }
            let before = self.number(at);
            // Only the one asked about sends: what it reaches does not pass requests on.
            if at != Place::Function(from) && matches!(at, Place::Function(_)) {
                continue;
            }
            self.next(at, from, &mut |place, step| {
                let number = self.number(place);
                if came[number].is_none() {
                    came[number] = Some((before, step));
                    open.push_back(place);
                }
            });
        }
        came
    }

    fn next(&self, at: Place, sender: usize, go: &mut dyn FnMut(Place, Option<Step>)) {
        match at {
            Place::Function(node) => self.leave(node, go),
            Place::Up(bus) => self.up_from(bus, sender, go),
            Place::Down(bus) => {
                let bus = &self.ground.topology.buses[bus];
                bus.functions.iter().for_each(|&node| go(Place::Function(node), None));
                bus.children.iter().for_each(|&child| go(Place::Down(child), None));
            }
        }
    }

    /// Onto its bus, and inside the device if nothing keeps it from that.
    fn leave(&self, node: usize, go: &mut dyn FnMut(Place, Option<Step>)) {
        let topology = &self.ground.topology;
        let here = &topology.nodes[node];
        go(Place::Up(topology.nodes[here.physical.unwrap_or(node)].bus), None);
        let verdict = &self.ground.verdicts[node];
        if here.physical.is_some() || !here.multifunction || verdict.isolates {
            return;
        }
        for mate in topology.slot_mates(node) {
            let step = Step {
                rule: Rule::FunctionsOfOneDevice,
                from: node,
                to: mate,
                at: node,
                standing: verdict.standing,
            };
            go(Place::Function(mate), Some(step));
            if let Some(below) = topology.nodes[mate].below {
                go(Place::Down(below), Some(step));
            }
        }
    }

    /// To the bridge above, and whatever it lets requests turn to.
    fn up_from(&self, bus: usize, sender: usize, go: &mut dyn FnMut(Place, Option<Step>)) {
        let topology = &self.ground.topology;
        let here = &topology.buses[bus];
        let Some(bridge) = here.bridge else {
            here.parent.into_iter().for_each(|parent| go(Place::Up(parent), None));
            return;
        };
        let above = &topology.nodes[bridge];
        let verdict = &self.ground.verdicts[bridge];
        let step =
            |rule, standing| Some(Step { rule, from: sender, to: bridge, at: bridge, standing });
        let is_shared = !matches!(
            above.port,
            Fact::Known(Some(
                PortType::RootPort | PortType::UpstreamPort | PortType::DownstreamPort
            ))
        );
        if is_shared || !verdict.isolates {
            let rule = if is_shared { Rule::SharedBus } else { Rule::PortWithoutAcs };
            go(Place::Down(bus), step(rule, verdict.standing));
            go(Place::Function(bridge), step(rule, verdict.standing));
        }
        if above.port == Fact::Known(Some(PortType::DownstreamPort)) && !verdict.isolates {
            let turn = step(Rule::SwitchWithoutAcs, verdict.standing);
            go(Place::Down(above.bus), turn);
            if let Some(upstream) = topology.buses[above.bus].bridge {
                go(Place::Function(upstream), turn);
            }
        }
        if above.port == Fact::Known(Some(PortType::RootPort)) && !verdict.isolates {
            for &other in &topology.buses[above.bus].functions {
                let port = topology.nodes[other].port;
                let is_root_port = port == Fact::Known(Some(PortType::RootPort));
                let below = topology.nodes[other].below.filter(|_| {
                    is_root_port && other != bridge && !self.ground.verdicts[other].isolates
                });
                if let Some(below) = below {
                    let turn = step(Rule::SwitchWithoutAcs, Standing::Unknown);
                    go(Place::Function(other), turn);
                    go(Place::Down(below), turn);
                }
            }
        }
        go(Place::Up(above.bus), None);
    }
}
