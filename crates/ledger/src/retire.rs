//! Giving back: the only way in which an owner gets pages from under its devices.
//!
//! Balloon, virtio-mem, free page reports, holes in a memory file: all of them ask here first.

use ringfence_addr::{Alignment, Gpa, Span};
use ringfence_refusal::Refusal;

use crate::id::{Handle, Holder, Owner};
use crate::ledger::Ledger;
use crate::mapping::FenceOrder;
use crate::owner::{Milliseconds, Retiring};
use crate::refusals::{MISALIGNED, NOT_OWNED, RETIRED};

/// What an owner is told when it wants memory back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retirement {
    /// It is free: nothing reaches it, and nothing will.
    Free,
    /// These holders reach it, and it stays as it is.
    Busy(Vec<Holder>),
    /// These holders have been given until the deadline, and no mapping of it begins any more.
    Revoking(Vec<Holder>),
}

/// Memory that an owner has been waiting for and gets now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Retired {
    /// Whose.
    pub owner: Owner,
    /// Which.
    pub memory: Span<Gpa>,
}

/// What was let go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Mappings that are no more: their slots in the journal are to be emptied.
    pub gone: Vec<Handle>,
    /// What owners have been waiting for and get now.
    pub retired: Vec<Retired>,
}

impl Ledger {
    /// An owner wants memory back: now, or by a deadline, after which whoever still reaches it is
    /// fenced ([`Ledger::overdue`]).
    ///
    /// Invariant `I25`: what is answered to be free is counted by no mapping.
    ///
    /// Invariant `I5`: that includes those that have begun, and none can begin until the owner takes
    /// the memory again.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone, `RF0107` for what is not its memory, `RF0108` for what is no
    /// whole frames, `RF0109` for what is being given back already.
    pub fn retire(
        &mut self,
        owner: Owner,
        memory: Span<Gpa>,
        deadline: Option<Milliseconds>,
    ) -> Result<Retirement, Refusal> {
        let record = self.owners.get_mut(owner.0, owner)?;
        if !memory.is_aligned(Alignment::PAGE_4K) {
            return Err(Refusal::new(&MISALIGNED, memory.to_string()));
        }
        let is_given_back = record.given_back.overlaps(&memory);
        if is_given_back || record.retiring.overlaps(memory) {
            return Err(Refusal::new(&RETIRED, format!("{memory} of {}", record.name)));
        }
        if !record.memory.encloses(&memory) {
            let detail = format!("{memory} is not all memory of {}", record.name);
            return Err(Refusal::new(&NOT_OWNED, detail));
        }
        if !record.is_busy(memory) {
            record.give_back(memory);
            return Ok(Retirement::Free);
        }
        let holders = self.holders_of(owner, memory);
        let Some(deadline) = deadline else { return Ok(Retirement::Busy(holders)) };
        let record = self.owners.get_mut(owner.0, owner)?;
        record.retiring.insert(memory, Retiring { deadline, is_overdue: false });
        Ok(Retirement::Revoking(holders))
    }

    /// Whether no mapping counts any frame of `memory`.
    pub fn is_idle(&self, owner: Owner, memory: Span<Gpa>) -> bool {
        self.owners.get(owner.0, owner).is_ok_and(|record| !record.is_busy(memory))
    }

    /// Who reaches any frame of `memory`, without duplicates.
    pub fn holders_of(&self, owner: Owner, memory: Span<Gpa>) -> Vec<Holder> {
        let mut found: Vec<u32> = Vec::new();
        self.for_each_of(owner, memory, |row| found.push(row.holder));
        found.sort_unstable();
        found.dedup();
        let holders = found.into_iter().filter_map(|place| self.holders.at(place));
        holders.map(|(id, _)| Holder(id)).collect()
    }

    /// Whom to fence, because it reaches memory whose deadline has passed.
    pub fn overdue(&mut self, now: Milliseconds) -> Vec<FenceOrder> {
        let mut late = Vec::new();
        for (id, record) in self.owners.iter() {
            let waiting = record.retiring.iter();
            let overdue = waiting.filter(|(_, it)| !it.is_overdue && it.deadline <= now);
            late.extend(overdue.map(|(span, _)| (Owner(id), span)));
        }
        let mut orders = Vec::new();
        for (owner, span) in late {
            for holder in self.holders_of(owner, span) {
                orders.extend(self.fence(holder).ok().flatten());
            }
            if let Ok(record) = self.owners.get_mut(owner.0, owner)
                && let Some((_, retiring)) = record.retiring.get_mut(span.first())
            {
                retiring.is_overdue = true;
            }
        }
        orders
    }

    /// The owner takes memory that it gave back again: its guest has deflated a balloon, say.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone, `RF0107` for what it did not give back.
    pub fn take_again(&mut self, owner: Owner, memory: Span<Gpa>) -> Result<(), Refusal> {
        let record = self.owners.get_mut(owner.0, owner)?;
        if !record.given_back.encloses(&memory) {
            let detail = format!("{memory} is not all memory that {} gave back", record.name);
            return Err(Refusal::new(&NOT_OWNED, detail));
        }
        record.given_back.remove(memory);
        record.memory.insert(memory);
        Ok(())
    }

    /// Gives owners what nothing counts any more, of what they wait for and mappings that
    /// were let go had.
    pub(crate) fn settle_retirements(&mut self, waiting: Vec<Retired>) -> Vec<Retired> {
        let mut waiting = waiting;
        waiting.sort_unstable();
        waiting.dedup();
        waiting.retain(|it| {
            let Ok(record) = self.owners.get_mut(it.owner.0, it.owner) else { return false };
            let is_free = !record.is_busy(it.memory);
            if is_free {
                record.retiring.remove(it.memory);
                record.give_back(it.memory);
            }
            is_free
        });
        waiting
    }
}
