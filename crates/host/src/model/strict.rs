//! What registers prove, and nothing that is only asserted.
//!
//! Two functions are together when the IOMMU cannot tell their requests apart, or when one can
//! reach the other without passing it, in either direction, or when no register shows that it
//! cannot. Vendors' quirks, `pcie_acs_override` and values that Linux is only known to set count
//! for nothing. Beyond Linux's own joins:
//!
//! - what is below ports of one switch is together if any of them lets requests turn around;
//! - a function that does not isolate is with all its siblings, also with those that do, and with
//!   what is below them (a host bridge, which starts no requests, only with those that do not);
//! - virtual functions are with the physical one unless its ACS registers show otherwise;
//! - root ports of one root bus that do not isolate are together;
//! - a switch whose bridge above was not read is one group with all below it.
//!
//! The policy adds what no register tells.

use crate::alias;
use crate::fact::Fact;
use crate::isolation::Basis;
use crate::model::{Ground, Grouping, Policy, Step};
use crate::port::PortType;
use crate::reason::{Rule, Standing};

/// The groups by registers alone.
pub(crate) fn group(ground: &Ground<'_>, policy: Policy) -> Grouping {
    let mut strict = Strict { ground, grouping: Grouping::new(ground), whole: Vec::new() };
    strict.whole = vec![false; ground.topology.buses.len()];
    alias::join(&ground.topology, |from, to, rule, standing| {
        let at = if rule == Rule::QuirkAlias { from } else { to };
        strict.grouping.join(Step { rule, from, to, at, standing });
    });
    for node in 0..ground.topology.nodes.len() {
        strict.join_below(node);
        strict.join_siblings(node);
        strict.join_virtual(node);
    }
    strict.join_root_ports();
    strict.join_by_policy(policy);
    strict.grouping
}

struct Strict<'a, 'b> {
    ground: &'a Ground<'b>,
    grouping: Grouping,
    /// Buses that are one with all below them.
    whole: Vec<bool>,
}

impl Strict<'_, '_> {
    /// Joins all on a bus and below with `to`.
    fn join_whole(&mut self, bus: usize, to: usize, rule: Rule, at: usize) {
        let standing = self.ground.verdicts[at].standing;
        if self.whole[bus] {
            // They are together already: one stands for all.
            let from = self.ground.topology.buses[bus].functions[0];
            self.grouping.join(Step { rule, from, to, at, standing });
            return;
        }
        let mut open = vec![bus];
        while let Some(bus) = open.pop() {
            for &from in &self.ground.topology.buses[bus].functions {
                if from != to {
                    self.grouping.join(Step { rule, from, to, at, standing });
                }
            }
            if !std::mem::replace(&mut self.whole[bus], true) {
                open.extend_from_slice(&self.ground.topology.buses[bus].children);
            }
        }
    }

    /// Requests from below a bridge that does not isolate turn around there.
    fn join_below(&mut self, node: usize) {
        let topology = &self.ground.topology;
        let here = &topology.nodes[node];
        let verdict = &self.ground.verdicts[node];
        if let Some(below) = here.below.filter(|_| !verdict.isolates) {
            self.join_whole(below, node, Rule::PortWithoutAcs, node);
        }
        // A bridge of no type that has links below has a bus that all on it share.
        let has_link = matches!(
            here.port,
            Fact::Known(Some(
                PortType::RootPort | PortType::UpstreamPort | PortType::DownstreamPort
            ))
        );
        if let Some(below) = here.below.filter(|_| verdict.isolates && !has_link) {
            self.join_whole(below, node, Rule::SharedBus, node);
        }
        let is_downstream = here.port == Fact::Known(Some(PortType::DownstreamPort));
        if is_downstream && !verdict.isolates {
            let bus = here.bus;
            self.join_whole(bus, node, Rule::SwitchWithoutAcs, node);
            let upstream = topology.buses[bus]
                .bridge
                .filter(|&upstream| topology.nodes[upstream].function.memory != Fact::Known(false));
            if let Some(upstream) = upstream {
                self.grouping.join(Step {
                    rule: Rule::SwitchWithoutAcs,
                    from: node,
                    to: upstream,
                    at: node,
                    standing: verdict.standing,
                });
            }
        }
        let is_upstream = here.port == Fact::Known(Some(PortType::UpstreamPort));
        if is_upstream
            && topology.buses[here.bus].parent.is_none()
            && let Some(below) = here.below
        {
            self.join_whole(below, node, Rule::Unread, node);
        }
    }

    /// A function that does not isolate can reach its siblings and what is below them.
    fn join_siblings(&mut self, node: usize) {
        let topology = &self.ground.topology;
        let here = &topology.nodes[node];
        let verdict = &self.ground.verdicts[node];
        if here.physical.is_some() || !here.multifunction || verdict.isolates {
            return;
        }
        let class = here.function.identity.class.known();
        let starts_none = class.is_some_and(|class| (class.base, class.sub) == (0x06, 0x00));
        for mate in topology.slot_mates(node) {
            let other = &topology.nodes[mate];
            let isolates = self.ground.verdicts[mate].isolates;
            if other.physical.is_some() || (starts_none && isolates) {
                continue;
            }
            self.grouping.join(Step {
                rule: Rule::FunctionsOfOneDevice,
                from: node,
                to: mate,
                at: node,
                standing: verdict.standing,
            });
            if let Some(below) = other.below.filter(|_| !starts_none) {
                self.join_whole(below, mate, Rule::FunctionsOfOneDevice, node);
            }
        }
    }

    /// No evidence parts virtual functions but ACS registers that say so.
    fn join_virtual(&mut self, node: usize) {
        let Some(physical) = self.ground.topology.nodes[node].physical else { return };
        let shows = |index: usize| {
            let verdict = &self.ground.verdicts[index];
            let registers = matches!(verdict.basis, Basis::Registers { .. });
            let acs = self.ground.topology.nodes[index].function.acs.known().copied().flatten();
            let is_set = acs.and_then(|acs| {
                let missing = crate::acs::AcsBits::REQUIRED
                    & (*acs.capability.known()? - *acs.control.known()?);
                Some(missing.is_empty())
            });
            (registers && verdict.isolates) || is_set == Some(true)
        };
        if !shows(physical) {
            self.grouping.join(Step {
                rule: Rule::VirtualFunction,
                from: node,
                to: physical,
                at: physical,
                standing: Standing::Asserted,
            });
        }
    }

    /// Nothing says that a root complex does not route between root ports that let it.
    fn join_root_ports(&mut self) {
        let topology = &self.ground.topology;
        let mut first: Vec<Option<usize>> = vec![None; topology.buses.len()];
        for (node, here) in topology.nodes.iter().enumerate() {
            let is_root_port = here.port == Fact::Known(Some(PortType::RootPort));
            if !is_root_port || self.ground.verdicts[node].isolates || here.below.is_none() {
                continue;
            }
            match first[here.bus] {
                None => first[here.bus] = Some(node),
                Some(to) => self.grouping.join(Step {
                    rule: Rule::SwitchWithoutAcs,
                    from: node,
                    to,
                    at: node,
                    standing: Standing::Unknown,
                }),
            }
        }
    }

    fn join_by_policy(&mut self, policy: Policy) {
        let topology = &self.ground.topology;
        for bus in &topology.buses {
            let first = bus.functions[0];
            let is_root = bus.parent.is_none();
            for &node in &bus.functions[1..] {
                let here = &topology.nodes[node];
                let mut join = |rule, to| {
                    let standing = Standing::Unknown;
                    self.grouping.join(Step { rule, from: node, to, at: node, standing });
                };
                if policy.bus_wide_errors && !is_root {
                    join(Rule::BusWideError, first);
                }
                if policy.decoded_before_host_bridge && is_root {
                    join(Rule::DecodedBeforeHostBridge, first);
                }
                let has_memory =
                    |node: usize| topology.nodes[node].function.memory != Fact::Known(false);
                if policy.config_through_memory && (has_memory(node) || has_memory(first)) {
                    join(Rule::ConfigThroughMemory, first);
                }
                let zero = topology.slot_mates(node).next().filter(|&mate| mate < node);
                if let Some(zero) = zero {
                    if policy.function_zero_id {
                        join(Rule::FunctionZeroId, zero);
                    }
                    if policy.function_crosstalk {
                        join(Rule::FunctionsOfOneDevice, zero);
                    }
                }
                if let Some(physical) = here.physical.filter(|_| policy.function_crosstalk) {
                    join(Rule::VirtualFunction, physical);
                }
            }
        }
    }
}
