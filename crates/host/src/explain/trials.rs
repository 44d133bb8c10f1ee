//! Changes tried on a host: each once, and no more than a few.
//!
//! A try is a copy of the host and the model reckoning it anew. In a group that nothing parts, every
//! function would try the same changes against every other, so what came of each is kept.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;

use crate::host::Host;
use crate::model::{Ground, Model};
use crate::whatif::WhatIf;
use crate::whatif::apply_move::free_ports;

/// Free slots that are tried before giving up.
const SLOTS_TRIED_MAX: usize = 16;

/// Tries in all: what a question may cost, in reckonings of the whole host.
const TRIES_MAX: usize = 128;

/// Changes to a host, and how each parts some of its functions.
pub(super) struct Trials<'a> {
    pub(super) host: &'a Host,
    pub(super) model: Model,
    pub(super) ground: &'a Ground<'a>,
    /// The functions that may be asked about, in order.
    members: Vec<PciAddress>,
    /// What came of each change: which set each member is in then, `None` for one that cannot be
    /// made.
    tried: BTreeMap<String, Option<Vec<Option<usize>>>>,
    free_slots: Option<Vec<PciAddress>>,
}

impl<'a> Trials<'a> {
    pub(super) fn new(
        host: &'a Host,
        model: Model,
        ground: &'a Ground<'a>,
        members: &[PciAddress],
    ) -> Self {
        let mut members = members.to_vec();
        members.sort_unstable();
        Self { host, model, ground, members, tried: BTreeMap::new(), free_slots: None }
    }

    /// The bridges whose slots are tried.
    pub(super) fn free_slots(&mut self) -> Vec<PciAddress> {
        let topology = &self.ground.topology;
        let find = || {
            let ports = free_ports(topology).into_iter().take(SLOTS_TRIED_MAX);
            ports.map(|port| topology.nodes[port].address).collect()
        };
        self.free_slots.get_or_insert_with(find).clone()
    }

    /// Whether two members are apart with the changes made. With no try left, what was not tried
    /// counts for nothing.
    pub(super) fn part(&mut self, changes: &[WhatIf], one: PciAddress, other: PciAddress) -> bool {
        let name: String = changes.iter().map(ToString::to_string).collect();
        if !self.tried.contains_key(&name) {
            if self.tried.len() == TRIES_MAX {
                return false;
            }
            let sets = self.sets(changes);
            self.tried.insert(name.clone(), sets);
        }
        let Some(Some(sets)) = self.tried.get(&name) else { return false };
        let set = |address: PciAddress| {
            let member = self.members.binary_search(&address).ok()?;
            sets.get(member).copied().flatten()
        };
        // Of one that is not there any more nothing is known to be together with the other.
        set(one).is_none_or(|one| set(other) != Some(one))
    }

    /// The set of each member once the changes are made.
    fn sets(&self, changes: &[WhatIf]) -> Option<Vec<Option<usize>>> {
        let (changed, places) = WhatIf::apply_all_and_follow(changes, self.host).ok()?;
        let ground = self.model.ground(&changed);
        let mut grouping = self.model.group(&ground);
        let set = |member: &PciAddress| {
            let place = places.get(member).copied().unwrap_or(*member);
            ground.topology.index(place).map(|node| grouping.sets.find(node))
        };
        Some(self.members.iter().map(set).collect())
    }
}
