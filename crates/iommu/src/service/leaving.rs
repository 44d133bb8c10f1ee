//! What the desk does when somebody is gone or late, and who is told of what happened.

use ringfence_ledger::{Holder, Milliseconds, Owner};

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
                self.sort_events();
                self.owners.remove(&name);
                Ok(())
            }
            Role::Holder(holder) => {
                if self.account.holder_died(holder).is_err()
                    && self.account.ledger().mapping_count(holder).is_ok()
                {
                    return Err(Role::Holder(holder));
                }
                // What became of it is told by its name, and to its owner: both go with it.
                self.sort_events();
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

    /// Puts what happened where the one it is about will ask for it: nobody hears of another's.
    pub(super) fn sort_events(&mut self) {
        for event in self.account.take_events() {
            let name = |holder| self.names(&[holder]).concat();
            let (owner, happened) = match event {
                Event::Retired(owner, memory) => {
                    (Some(owner), Happened::Retired { memory: memory.into() })
                }
                Event::NotDiscarded(owner, memory, why) => {
                    (Some(owner), Happened::NotDiscarded { memory: memory.into(), why })
                }
                Event::Fenced(holder, mappings) => {
                    (self.home(holder), Happened::Fenced { holder: name(holder), mappings })
                }
                Event::Quarantined(holder, refusal) => {
                    let what = format!("{}: {refusal}", name(holder));
                    (self.home(holder), Happened::Quarantined { what })
                }
            };
            let concerned = |vm: &&mut Vm| Some(vm.owner) == owner;
            if let Some(vm) = self.owners.values_mut().find(concerned)
                && vm.happened.len() < HAPPENED_MAX
            {
                vm.happened.push(happened);
            }
        }
    }

    /// Whose holder that is.
    fn home(&self, holder: Holder) -> Option<Owner> {
        let ((owner, _), _) = self.holders.iter().find(|(_, id)| **id == holder)?;
        self.owners.get(owner).map(|vm| vm.owner)
    }

    pub(super) fn names(&self, holders: &[Holder]) -> Vec<String> {
        let name = |holder: &Holder| {
            let found = self.holders.iter().find(|(_, id)| *id == holder);
            found.map_or_else(|| holder.to_string(), |((_, name), _)| name.clone())
        };
        holders.iter().map(name).collect()
    }
}
