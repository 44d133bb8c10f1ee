//! Isolation groups as they are shown: the same rows, names and labels in the terminal, in JSON
//! and in pictures.

mod answer;
mod compare;
mod names;
mod rows;
mod situation;
mod tree;

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;
use ringfence_host::{Group, Host, Model, Partition, Rule, Standing, Topology};

pub(crate) use answer::{Answer, Difference, Reason};
pub(crate) use compare::differences;
pub(crate) use names::{kind, name};
pub(crate) use rows::Row;
pub(crate) use situation::situation;
pub(crate) use tree::{cut, tree};

/// A host and the groups one model makes of it, ready to be shown.
pub(crate) struct View<'a> {
    pub(crate) host: &'a Host,
    pub(crate) partition: Partition,
    /// The tree, line by line.
    pub(crate) rows: Vec<Row>,
    /// The group of each function by its place in the partition.
    places: BTreeMap<PciAddress, usize>,
    labels: Vec<String>,
}

impl<'a> View<'a> {
    pub(crate) fn new(host: &'a Host, model: Model) -> Self {
        let partition = model.partition(host);
        let topology = Topology::of(host);
        let mut places = BTreeMap::new();
        for (place, group) in partition.groups.iter().enumerate() {
            places.extend(group.functions.iter().map(|address| (*address, place)));
        }
        let labels = labels(host, &partition);
        Self { host, rows: rows::rows(host, &topology), partition, places, labels }
    }

    /// The place of a function's group in the partition.
    pub(crate) fn place(&self, address: PciAddress) -> Option<usize> {
        self.places.get(&address).copied()
    }

    /// What a group is called for people.
    pub(crate) fn label(&self, place: usize) -> &str {
        &self.labels[place]
    }

    /// Whether some group is not one of the kernel's, where the kernel has any.
    pub(crate) fn has_other_groups(&self) -> bool {
        self.labels.iter().any(|label| label.starts_with(OTHER))
    }
}

/// What is in front of the number of a group that the kernel has not.
pub(crate) const OTHER: char = '~';

/// The kernel's number for a group that is one of its own; any other is counted.
fn labels(host: &Host, partition: &Partition) -> Vec<String> {
    let number = |address: &PciAddress| {
        host.function(*address)
            .and_then(|function| function.kernel_group.known().copied().flatten())
    };
    let mut sizes: BTreeMap<u32, usize> = BTreeMap::new();
    for address in host.functions.keys() {
        if let Some(number) = number(address) {
            *sizes.entry(number).or_default() += 1;
        }
    }
    let label = |(place, group): (usize, &Group)| {
        let first = group.functions.first().and_then(number);
        let is_one = first.is_some_and(|first| {
            group.functions.iter().all(|address| number(address) == Some(first))
                && sizes.get(&first) == Some(&group.functions.len())
        });
        match first {
            Some(first) if is_one => first.to_string(),
            _ if sizes.is_empty() => place.to_string(),
            _ => format!("{OTHER}{place}"),
        }
    };
    partition.groups.iter().enumerate().map(label).collect()
}

/// How far a group can be believed: as far as the weakest thing that makes it.
pub(crate) fn standing(group: &Group) -> Standing {
    group.reasons.iter().map(|reason| reason.standing).max().unwrap_or(Standing::Unknown)
}

/// The reason that says most about a group: why it is more than one function, if it is.
pub(crate) fn main_reason(group: &Group) -> Option<&ringfence_host::Reason> {
    let joins = group.reasons.iter().find(|reason| reason.rule != Rule::Alone);
    match group.functions.len() {
        1 => group.reasons.first(),
        _ => joins.or_else(|| group.reasons.first()),
    }
}
