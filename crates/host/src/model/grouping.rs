//! What a model found, before it is put into words.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::model::step::port_type;
use crate::model::{Ground, Model, Step};
use crate::partition::{Group, Partition};
use crate::port::PortType;
use crate::reason::{Reason, Register, Rule, Standing};
use crate::sets::Sets;

/// Groups by node, and the joins that made them.
pub(crate) struct Grouping {
    /// The nodes of each set.
    pub(crate) sets: Sets,
    /// Which joins were made; together they span the sets.
    pub(crate) steps: Vec<Step>,
    /// Functions that are in no group.
    pub(crate) without: BTreeMap<PciAddress, Reason>,
    /// What to say of a group besides, instead of why nothing else is in it.
    pub(crate) remark: Option<fn(&Ground<'_>, usize) -> Reason>,
}

impl Grouping {
    pub(crate) fn new(ground: &Ground<'_>) -> Self {
        Self {
            sets: Sets::new(ground.topology.nodes.len()),
            steps: Vec::new(),
            without: BTreeMap::new(),
            remark: None,
        }
    }

    /// Joins the two ends of a step, and keeps it if they were apart.
    pub(crate) fn join(&mut self, step: Step) {
        if self.sets.join(step.from, step.to) {
            self.steps.push(step);
        }
    }

    /// The partition in words.
    pub(crate) fn partition(mut self, model: Model, ground: &Ground<'_>) -> Partition {
        let topology = &ground.topology;
        let without = std::mem::take(&mut self.without);
        let is_in = |node: usize| {
            let node = &topology.nodes[node];
            !node.absent && !without.contains_key(&node.address)
        };
        let lists = self.sets.lists(is_in);
        let mut place = vec![usize::MAX; topology.nodes.len()];
        for (number, list) in lists.iter().enumerate() {
            for &node in list {
                place[node] = number;
            }
        }
        let mut reasons: Vec<Vec<Reason>> = lists.iter().map(|_| Vec::new()).collect();
        for step in &self.steps {
            let number = place[step.from].min(place[step.to]);
            if let Some(reasons) = reasons.get_mut(number) {
                reasons.push(step.reason(ground));
            }
        }
        let remark = self.remark.unwrap_or(apart);
        let mut groups: Vec<Group> = Vec::with_capacity(lists.len());
        for (list, mut reasons) in lists.into_iter().zip(reasons) {
            let first = list[0];
            reasons.push(remark(ground, first));
            if self.remark.is_none() {
                reasons.extend(list.iter().filter_map(|&node| support(ground, node)));
            }
            let mut functions: Vec<_> =
                list.into_iter().map(|node| topology.nodes[node].address).collect();
            functions.sort_unstable();
            let key = topology.key(topology.nodes[first].address);
            groups.push(Group { key, functions, reasons });
        }
        groups.sort_by_key(|group| group.functions[0]);
        Partition { model: model.name(), groups, without }
    }
}

/// Why nothing more is with a function: what is above it, and what is beside it.
pub(crate) fn apart(ground: &Ground<'_>, node: usize) -> Reason {
    let topology = &ground.topology;
    let here = &topology.nodes[node];
    let (above, mut standing, register) = match topology.bridge_of(node) {
        None => {
            let standing = match here.port {
                Fact::Known(Some(PortType::UpstreamPort)) => Standing::Unknown,
                _ => Standing::Proven,
            };
            let above = if standing == Standing::Unknown {
                "what is above this switch was not read"
            } else {
                "it is on a root bus"
            };
            (above.to_owned(), standing, None)
        }
        Some(bridge) => {
            let verdict = &ground.verdicts[bridge];
            let address = topology.nodes[bridge].address;
            let says = if verdict.isolates { "keeps requests apart" } else { "is with it" };
            let above = format!(
                "the {} {address} above {says}: {}",
                port_type(ground, bridge),
                verdict.clause()
            );
            let register = verdict.register(&topology.nodes[bridge].function);
            (above, path_standing(ground, bridge), register)
        }
    };
    let beside = if here.multifunction {
        let verdict = &ground.verdicts[node];
        standing = standing.max(verdict.standing);
        let says = if verdict.isolates { "keeps its requests from" } else { "is not kept from" };
        format!("it {says} its sibling functions: {}", verdict.clause())
    } else if here.physical.is_some() {
        standing = standing.max(Standing::Asserted);
        "it is a virtual function, which Linux holds to be apart from its siblings".to_owned()
    } else {
        "it has no sibling functions".to_owned()
    };
    let sentence = format!("Nothing else is with {}: {above}; {beside}.", here.address);
    let register: Option<Register> = register.or_else(|| {
        here.multifunction.then(|| ground.verdicts[node].register(&here.function)).flatten()
    });
    Reason { rule: Rule::Alone, at: here.address, with: None, register, standing, sentence }
}

/// The weakest standing of what keeps the bus below `bridge` apart, up to the root.
fn path_standing(ground: &Ground<'_>, bridge: usize) -> Standing {
    let mut standing = Standing::Proven;
    let mut at = Some(bridge);
    while let Some(bridge) = at {
        let verdict = &ground.verdicts[bridge];
        if verdict.isolates {
            standing = standing.max(verdict.standing);
        }
        at = ground.topology.bridge_of(bridge);
    }
    standing
}

/// What is only asserted and keeps a function, or what is below it, apart.
fn support(ground: &Ground<'_>, node: usize) -> Option<Reason> {
    let here = &ground.topology.nodes[node];
    let verdict = &ground.verdicts[node];
    let matters = here.multifunction || here.below.is_some();
    let rule = verdict.assertion().filter(|_| matters && verdict.isolates);
    if let Some(rule) = rule {
        return Some(Reason {
            rule,
            at: here.address,
            with: None,
            register: verdict.register(&here.function),
            standing: verdict.standing,
            sentence: format!("{} counts as isolating: {}.", here.address, verdict.clause()),
        });
    }
    let physical = here.physical.map(|physical| ground.topology.nodes[physical].address)?;
    Some(Reason {
        rule: Rule::VirtualFunction,
        at: here.address,
        with: Some(physical),
        register: None,
        standing: Standing::Asserted,
        sentence: format!(
            "{} counts as apart from {physical} and its other virtual functions, without evidence.",
            here.address
        ),
    })
}
