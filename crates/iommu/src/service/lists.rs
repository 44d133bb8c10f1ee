//! The desk's target lists: lines come and go, and what they say is granted to those who are there.

use ringfence_ledger::Entry;
use ringfence_refusal::Refusal;

use super::desk::{Desk, expect_name};
use super::rules::{Allowed, Rule};
use crate::account::Removal;
use crate::refusals::NOT_LISTED;

/// How many lines there can be in all target lists.
const RULES_MAX: usize = 4096;

impl Desk {
    pub(super) fn allow(&mut self, rule: Rule) -> Result<(), Refusal> {
        expect_name(&rule.owner)?;
        expect_name(&rule.holder)?;
        let is_same = |other: &Rule| {
            (&other.owner, &other.holder, other.memory) == (&rule.owner, &rule.holder, rule.memory)
        };
        let owner = rule.owner.clone();
        let is_full = self.rules.len() >= RULES_MAX;
        match self.rules.iter_mut().find(|other| is_same(other)) {
            Some(other) => *other = rule,
            None if is_full => {
                let detail = format!("there are {RULES_MAX} lines in target lists");
                return Err(Refusal::new(&NOT_LISTED, detail));
            }
            None => self.rules.push(rule),
        }
        self.apply_rules(&owner);
        Ok(())
    }

    pub(super) fn disallow(
        &mut self,
        owner: &str,
        holder: &str,
        revoke: bool,
    ) -> Result<(), Refusal> {
        let is_it = |rule: &Rule| rule.owner == owner && rule.holder == holder;
        if !self.rules.iter().any(is_it) {
            let detail = format!("{holder} is not on the target list of {owner}");
            return Err(Refusal::new(&NOT_LISTED, detail));
        }
        let id = self.holders.get(&(owner.to_owned(), holder.to_owned()));
        if let (Some(vm), Some(id)) = (self.owners.get(owner), id) {
            let removal = if revoke { Removal::Revoke } else { Removal::Refuse };
            self.account.remove_target(vm.owner, *id, removal)?;
        }
        self.rules.retain(|rule| !is_it(rule));
        Ok(())
    }

    /// Grants what the lines say to those of an owner's holders who are there.
    pub(super) fn apply_rules(&mut self, owner: &str) {
        let Some(vm) = self.owners.get(owner) else { return };
        for rule in self.rules.iter().filter(|rule| rule.owner == owner) {
            let Some(holder) = self.holders.get(&(rule.owner.clone(), rule.holder.clone())) else {
                continue;
            };
            for span in rule.spans(&vm.memory) {
                // What was given back and not taken again is granted when it is.
                let quota = rule.quota_frames();
                let _not_there = self.account.allow(vm.owner, *holder, span, rule.rights, quota);
            }
        }
    }

    pub(super) fn allowed(&self) -> Vec<Allowed> {
        let line = |rule: &Rule| {
            let owner = self.owners.get(&rule.owner);
            let holder = self.holders.get(&(rule.owner.clone(), rule.holder.clone()));
            let both = owner.zip(holder);
            let mapped = both.map(|(vm, holder)| {
                let own = |it: &Entry| it.holder == *holder && it.owner == vm.owner;
                let frames = |it: Entry| it.memory.length() >> 12;
                self.account.ledger().entries().filter(own).map(frames).sum::<u128>()
            });
            Allowed {
                rule: rule.clone(),
                owner_is_there: owner.is_some(),
                holder_is_there: holder.is_some(),
                mapped_frames: u64::try_from(mapped.unwrap_or(0)).unwrap_or(u64::MAX),
            }
        };
        self.rules.iter().map(line).collect()
    }
}
