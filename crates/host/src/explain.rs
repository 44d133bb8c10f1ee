//! Why a function's group is what it is, why two functions are together, and what would part them.
//!
//! The change that would part them is not looked up but tried: it is made to the value, the model
//! reckons again, and only what then does part them is offered.

use std::collections::{BTreeMap, VecDeque};

use ringfence_addr::PciAddress;

use crate::host::Host;
use crate::model::{Ground, Model, Step};
use crate::partition::Group;
use crate::reason::{Change, Reason};

mod part;
mod trials;

use trials::Trials;

/// Others of a group for which a change is looked for. Where none parts so many from the function
/// asked about, none will part the next.
const OTHERS_TRIED_MAX: usize = 256;

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
    let paths = Paths::from(&ground, &steps, address);
    let mut trials = Trials::new(host, model, &ground, &group.functions);
    let mut told = vec![false; ground.topology.nodes.len()];
    let mut chain = Vec::new();
    let mut change = None;
    let mut others_left = OTHERS_TRIED_MAX;
    for &other in group.functions.iter().filter(|&&other| other != address) {
        let news = paths.news(&ground, other, &mut told);
        chain.extend(news.into_iter().map(|step| step.reason(&ground)));
        let is_worth_it = || part::is_worth_parting(&ground, address, other);
        if change.is_none() && others_left > 0 && is_worth_it() {
            others_left -= 1;
            change = trials.find(&paths.to(&ground, other), address, other);
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
        let path = Paths::from(&ground, &steps, one).to(&ground, other);
        chain.extend(path.iter().map(|step| step.reason(&ground)));
        change = Trials::new(host, model, &ground, &[one, other]).find(&path, one, other);
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

/// The joins of a grouping, as they lead away from one function.
struct Paths {
    /// The join by which the way comes to each node, if it does.
    came: Vec<Option<Step>>,
}

impl Paths {
    fn from(ground: &Ground<'_>, steps: &[Step], one: PciAddress) -> Self {
        let nodes = ground.topology.nodes.len();
        let mut came: Vec<Option<Step>> = vec![None; nodes];
        let Some(one) = ground.topology.index(one) else { return Self { came } };
        let mut joins: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
        for step in steps {
            debug_assert!(step.from.max(step.to) < nodes);
            joins.entry(step.from).or_default().push(*step);
            joins.entry(step.to).or_default().push(*step);
        }
        let mut open = VecDeque::from([one]);
        while let Some(at) = open.pop_front() {
            for step in joins.get(&at).into_iter().flatten() {
                let next = if step.from == at { step.to } else { step.from };
                if next != one && came[next].is_none() {
                    came[next] = Some(*step);
                    open.push_back(next);
                }
            }
        }
        Self { came }
    }

    /// The shortest chain of joins to another function: none if they are apart.
    fn to(&self, ground: &Ground<'_>, other: PciAddress) -> Vec<Step> {
        self.back(ground, other, |_| true)
    }

    /// The end of that chain that was not told before, by the nodes it leads to.
    fn news(&self, ground: &Ground<'_>, other: PciAddress, told: &mut [bool]) -> Vec<Step> {
        self.back(ground, other, |node| !std::mem::replace(&mut told[node], true))
    }

    /// The chain from its end back, as long as it is wanted, in order.
    fn back(
        &self,
        ground: &Ground<'_>,
        other: PciAddress,
        mut is_wanted: impl FnMut(usize) -> bool,
    ) -> Vec<Step> {
        let mut path = Vec::new();
        let Some(mut at) = ground.topology.index(other) else { return path };
        while let Some(step) = self.came[at].filter(|_| is_wanted(at)) {
            path.push(step);
            at = if step.from == at { step.to } else { step.from };
        }
        path.reverse();
        path
    }
}
