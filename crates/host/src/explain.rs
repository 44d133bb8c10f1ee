//! Why a function's group is what it is, why two functions are together, and what would part them.
//!
//! The change that would part them is not looked up but tried: it is made to the value, the model
//! reckons again, and only what then does part them is offered.

use std::collections::{BTreeMap, VecDeque};

use ringfence_addr::PciAddress;

use crate::host::Host;
use crate::model::{Ground, Grouping, Model, Step};
use crate::partition::Group;
use crate::reason::{Change, Reason};

mod part;

/// The answer to `why`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The model that reckoned.
    pub model: &'static str,
    /// The group of the function asked about, or `None` if it is in none.
    pub group: Option<Group>,
    /// Whether the two asked about are together; `None` where one was asked about.
    pub together: Option<bool>,
    /// The steps, first to last.
    pub chain: Vec<Reason>,
    /// The single change that would part them, if there is one: tried, and found to.
    pub change: Option<Change>,
}

/// Why the group of `address` is what it is; `None` if there is no such function.
pub fn why(host: &Host, model: Model, address: PciAddress) -> Option<Why> {
    host.function(address)?;
    let ground = model.ground(host);
    let grouping = model.group(&ground);
    let steps = grouping.steps.clone();
    let partition = grouping.partition(model, &ground);
    if let Some(reason) = partition.without.get(&address) {
        let chain = vec![reason.clone()];
        return Some(Why { model: model.name(), group: None, together: None, chain, change: None });
    }
    let group = partition.group_of(address)?.clone();
    let paths = Paths::of(&ground, &steps);
    let mut chain = Vec::new();
    let mut change = None;
    for &other in group.functions.iter().filter(|&&other| other != address) {
        let path = paths.between(&ground, address, other);
        for step in &path {
            let reason = step.reason(&ground);
            if !chain.contains(&reason) {
                chain.push(reason);
            }
        }
        if change.is_none() && part::is_worth_parting(&ground, address, other) {
            change = part::find(host, model, &ground, &path, address, other);
        }
    }
    let rest = group.reasons.iter().filter(|reason| reason.with.is_none());
    chain.extend(rest.cloned());
    Some(Why { model: model.name(), group: Some(group), together: None, chain, change })
}

/// Why two functions are together, or apart; `None` if one of them is not there.
pub fn why_both(host: &Host, model: Model, one: PciAddress, other: PciAddress) -> Option<Why> {
    host.function(one)?;
    host.function(other)?;
    let ground = model.ground(host);
    let grouping = model.group(&ground);
    let steps = grouping.steps.clone();
    let partition = grouping.partition(model, &ground);
    let group = partition.group_of(one).cloned();
    let together = group.as_ref().is_some_and(|group| group.functions.contains(&other));
    let mut chain = Vec::new();
    let mut change = None;
    if together && one != other {
        let path = Paths::of(&ground, &steps).between(&ground, one, other);
        chain.extend(path.iter().map(|step| step.reason(&ground)));
        change = part::find(host, model, &ground, &path, one, other);
    } else {
        for address in [one, other] {
            if let Some(reason) = partition.without.get(&address) {
                chain.push(reason.clone());
            } else if let Some(group) = partition.group_of(address) {
                chain.extend(group.reasons.iter().filter(|reason| reason.with.is_none()).cloned());
            }
        }
    }
    Some(Why { model: model.name(), group, together: Some(together), chain, change })
}

/// The joins of a grouping, to walk from one function to another.
struct Paths {
    joins: BTreeMap<usize, Vec<Step>>,
}

impl Paths {
    fn of(ground: &Ground<'_>, steps: &[Step]) -> Self {
        let mut joins: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
        for step in steps {
            debug_assert!(step.from.max(step.to) < ground.topology.nodes.len());
            joins.entry(step.from).or_default().push(*step);
            joins.entry(step.to).or_default().push(*step);
        }
        Self { joins }
    }

    /// The shortest chain of joins between two functions: none if they are apart.
    fn between(&self, ground: &Ground<'_>, one: PciAddress, other: PciAddress) -> Vec<Step> {
        let ends = (ground.topology.index(one), ground.topology.index(other));
        let (Some(one), Some(other)) = ends else { return Vec::new() };
        let mut came: BTreeMap<usize, Option<Step>> = BTreeMap::from([(one, None)]);
        let mut open = VecDeque::from([one]);
        while let Some(at) = open.pop_front() {
            if at == other {
                break;
            }
            for step in self.joins.get(&at).into_iter().flatten() {
                let next = if step.from == at { step.to } else { step.from };
                came.entry(next).or_insert_with(|| {
                    open.push_back(next);
                    Some(*step)
                });
            }
        }
        let mut path = Vec::new();
        let mut at = other;
        while let Some(Some(step)) = came.get(&at) {
            path.push(*step);
            at = if step.from == at { step.to } else { step.from };
        }
        path.reverse();
        path
    }
}

/// Whether two functions are together in what a model reckons.
fn are_together(
    mut grouping: Grouping,
    ground: &Ground<'_>,
    ends: (PciAddress, PciAddress),
) -> bool {
    let (Some(one), Some(other)) = (ground.topology.index(ends.0), ground.topology.index(ends.1))
    else {
        return false;
    };
    grouping.sets.find(one) == grouping.sets.find(other)
}
