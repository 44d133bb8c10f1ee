//! What the desk does when somebody is gone or late, and who is told of what happened.

use ringfence_ledger::{Holder, Milliseconds};

use super::control::Happened;
use super::desk::{Desk, Role, Vm};
use crate::account::Event;

/// How much is remembered for an owner who does not ask.
const HAPPENED_MAX: usize = 65_536;

impl Desk {
    /// Somebody is gone: what he had goes with him.
    pub(super) fn leave(&mut self, role: Role) {
        if let Err(role) = self.tidy_up(role) {
            self.left.push(role);
        }
    }

    fn tidy_up(&mut self, role: Role) -> Result<(), Role> {
        match role {
            Role::Nobody => Ok(()),
            Role::Owner(name, owner) => {
                if self.account.owner_died(owner).is_err()
                    && self.account.ledger().memory_bytes(owner).is_ok()
                {
                    return Err(Role::Owner(name, owner));
                }
                self.owners.remove(&name);
                Ok(())
            }
            Role::Holder(holder) => {
                if self.account.holder_died(holder).is_err()
                    && self.account.ledger().mapping_count(holder).is_ok()
                {
                    return Err(Role::Holder(holder));
                }
                self.holders.retain(|_, id| *id != holder);
                self.devices.let_go(holder);
                Ok(())
            }
        }
    }

    /// Time has passed: whoever is late is cut off. When this is to be said next.
    pub(super) fn pass(&mut self, now: Milliseconds) -> Option<Milliseconds> {
        if self.deadlines.iter().any(|deadline| *deadline <= now) {
            self.deadlines.retain(|deadline| *deadline > now);
            self.account.pass(now);
        }
        for role in std::mem::take(&mut self.left) {
            self.leave(role);
        }
        self.sort_events();
        let again = (!self.left.is_empty()).then(|| now.saturating_add(1000));
        self.deadlines.iter().copied().chain(again).min()
    }

    /// Puts what happened where those it is about will ask for it.
    pub(super) fn sort_events(&mut self) {
        for event in self.account.take_events() {
            let (owner, happened) = match event {
                Event::Retired(owner, memory) => {
                    (Some(owner), Happened::Retired { memory: memory.into() })
                }
                Event::NotDiscarded(owner, memory, why) => {
                    (Some(owner), Happened::NotDiscarded { memory: memory.into(), why })
                }
                Event::Fenced(holder, mappings) => {
                    let holder = self.names(&[holder]).concat();
                    (None, Happened::Fenced { holder, mappings })
                }
                Event::Quarantined(refusal) => {
                    (None, Happened::Quarantined { what: refusal.to_string() })
                }
            };
            let concerned = |vm: &&mut Vm| owner.is_none_or(|owner| owner == vm.owner);
            for vm in self.owners.values_mut().filter(concerned) {
                if vm.happened.len() < HAPPENED_MAX {
                    vm.happened.push(happened.clone());
                }
            }
        }
    }

    pub(super) fn names(&self, holders: &[Holder]) -> Vec<String> {
        let name = |holder: &Holder| {
            let found = self.holders.iter().find(|(_, id)| *id == holder);
            found.map_or_else(|| holder.to_string(), |((_, name), _)| name.clone())
        };
        holders.iter().map(name).collect()
    }
}
