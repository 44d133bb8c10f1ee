//! What changed in groups between two states of a host, and because of what.
//!
//! Functions are the same ones when they are in the same place, whatever their bus numbers. For
//! each change the facts are named that differ on the way from its functions to the root; where
//! none does, the kernel's version, its command line or its IOMMUs do, or it is said that nothing
//! read explains it.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::function::Function;
use crate::host::Host;
use crate::model::Model;
use crate::partition::GroupKey;
use crate::sets::Sets;
use crate::topology::Topology;

/// Groups that are not what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The groups before, each by the places of its functions; none if all are new.
    pub before: Vec<Vec<GroupKey>>,
    /// The groups that hold any of these functions after.
    pub after: Vec<Vec<GroupKey>>,
    /// What differs, as sentences.
    pub because: Vec<String>,
}

/// The groups that differ between two hosts by one model; `Observed` compares what kernels said.
pub fn diff(before: &Host, after: &Host, model: Model) -> Vec<Changed> {
    let (old, new) = (Side::of(before, model), Side::of(after, model));
    let mut changes = Vec::new();
    for (befores, afters) in related(&old, &new) {
        if befores == afters {
            continue;
        }
        let mut because = BTreeSet::new();
        for place in befores.iter().chain(&afters).flatten() {
            causes(&old, &new, place, &mut because);
        }
        let mut because: Vec<String> = because.into_iter().collect();
        if because.is_empty() {
            because = causes_of_kernel(before, after);
        }
        if because.is_empty() {
            because.push("nothing that was read explains it".to_owned());
        }
        changes.push(Changed { before: befores, after: afters, because });
    }
    changes
}

/// Groups by their places.
type Groups = Vec<Vec<GroupKey>>;

/// Groups before and after that share functions, directly or over others.
fn related(old: &Side<'_>, new: &Side<'_>) -> Vec<(Groups, Groups)> {
    let mut sets = Sets::new(old.groups.len() + new.groups.len());
    for (number, group) in new.groups.iter().enumerate() {
        for before in group.iter().filter_map(|place| old.group_of.get(place)) {
            sets.join(*before, old.groups.len() + number);
        }
    }
    let lists = sets.lists(|_| true).into_iter().map(|list| {
        let (befores, afters): (Vec<usize>, Vec<usize>) =
            list.into_iter().partition(|number| *number < old.groups.len());
        (
            befores.into_iter().map(|number| old.groups[number].clone()).collect(),
            afters
                .into_iter()
                .map(|number| new.groups[number - old.groups.len()].clone())
                .collect(),
        )
    });
    lists.collect()
}

struct Side<'a> {
    host: &'a Host,
    topology: Topology<'a>,
    /// The address at each place.
    places: BTreeMap<GroupKey, PciAddress>,
    groups: Vec<Vec<GroupKey>>,
    group_of: BTreeMap<GroupKey, usize>,
}

impl<'a> Side<'a> {
    fn of(host: &'a Host, model: Model) -> Self {
        let topology = Topology::of(host);
        let places: BTreeMap<GroupKey, PciAddress> =
            host.functions.keys().map(|address| (topology.key(*address), *address)).collect();
        let keys: BTreeMap<PciAddress, GroupKey> =
            places.iter().map(|(key, address)| (*address, key.clone())).collect();
        let mut groups: Vec<Vec<GroupKey>> = Vec::new();
        for group in model.partition(host).groups {
            let mut members: Vec<GroupKey> =
                group.functions.iter().filter_map(|address| keys.get(address).cloned()).collect();
            members.sort();
            groups.push(members);
        }
        groups.sort();
        let group_of = groups
            .iter()
            .enumerate()
            .flat_map(|(number, group)| group.iter().map(move |key| (key.clone(), number)))
            .collect();
        Self { host, topology, places, groups, group_of }
    }

    /// The function at a place, its siblings and all bridges above with theirs.
    fn on_the_way(&self, place: &GroupKey) -> BTreeSet<GroupKey> {
        let mut found = BTreeSet::new();
        let mut at = self.places.get(place).copied();
        while let Some(address) = at {
            let Some(node) = self.topology.index(address) else { break };
            found.insert(self.topology.key(address));
            for mate in self.topology.slot_mates(node) {
                found.insert(self.topology.key(self.topology.nodes[mate].address));
            }
            at = self.topology.bridge_above(address);
        }
        found
    }
}

/// What differs on the way from a place to the root.
fn causes(old: &Side<'_>, new: &Side<'_>, place: &GroupKey, because: &mut BTreeSet<String>) {
    let way: BTreeSet<GroupKey> =
        old.on_the_way(place).union(&new.on_the_way(place)).cloned().collect();
    for at in way {
        let function = |side: &Side<'_>| {
            side.places.get(&at).and_then(|address| side.host.function(*address)).cloned()
        };
        match (function(old), function(new)) {
            (Some(old), Some(new)) => facts(&old, &new, because),
            (Some(old), None) => {
                because.insert(format!("{} ({at}) is gone", old.address));
            }
            (None, Some(new)) => {
                because.insert(format!("{} ({at}) is new", new.address));
            }
            (None, None) => {}
        }
    }
}

/// Facts of one function that isolation turns on and that differ.
fn facts(old: &Function, new: &Function, because: &mut BTreeSet<String>) {
    let mut differ = |what: &str, from: String, to: String| {
        if from != to {
            because.insert(format!("{}: {what} was {from} and is {to}", new.address));
        }
    };
    let identity = |function: &Function| {
        let word = |id: Fact<u16>| id.known().map_or("?".to_owned(), |id| format!("{id:04x}"));
        format!("{}:{}", word(function.identity.vendor), word(function.identity.device))
    };
    differ("the device", identity(old), identity(new));
    let acs = |function: &Function| match &function.acs {
        Fact::Unknown(why) => format!("unknown ({why})"),
        Fact::Known(None) => "none".to_owned(),
        Fact::Known(Some(acs)) => match acs.control {
            Fact::Known(bits) => format!("{:#06x} ({bits})", bits.bits()),
            Fact::Unknown(why) => format!("unknown ({why})"),
        },
    };
    differ("the ACS control", acs(old), acs(new));
    // Only Sunrise Point's ports make something of it, and they always have the capability.
    if let (Fact::Known(old), Fact::Known(new)) =
        (old.acs_double_word_control, new.acs_double_word_control)
    {
        differ("the ACS control double word", format!("{old:#010x}"), format!("{new:#010x}"));
    }
    let port = |function: &Function| match function.pcie {
        Fact::Unknown(why) => format!("unknown ({why})"),
        Fact::Known(None) => "conventional PCI".to_owned(),
        Fact::Known(Some(pcie)) => pcie.port.to_string(),
    };
    differ("the port type", port(old), port(new));
    let several = |function: &Function| match function.multifunction {
        Fact::Known(bit) => bit.to_string(),
        Fact::Unknown(_) => "unknown".to_owned(),
    };
    differ("the multifunction bit", several(old), several(new));
}

/// What differs of the kernels and of what they use.
fn causes_of_kernel(before: &Host, after: &Host) -> Vec<String> {
    let text = |fact: &Fact<String>| fact.known().cloned().unwrap_or_else(|| "unknown".to_owned());
    let mut because = Vec::new();
    let (old, new) = (&before.kernel, &after.kernel);
    if old.release != new.release {
        because.push(format!("Linux was {} and is {}", text(&old.release), text(&new.release)));
    }
    if old.command_line != new.command_line {
        because.push(format!(
            "the command line was {:?} and is {:?}",
            text(&old.command_line),
            text(&new.command_line)
        ));
    }
    let names = |host: &Host| match &host.iommus {
        Fact::Known(iommus) if iommus.is_empty() => "none".to_owned(),
        Fact::Known(iommus) => {
            iommus.iter().map(|iommu| iommu.name.as_str()).collect::<Vec<_>>().join(" ")
        }
        Fact::Unknown(_) => "unknown".to_owned(),
    };
    let (old, new) = (names(before), names(after));
    if old != new {
        because.push(format!("the IOMMUs were {old} and are {new}"));
    }
    because
}
