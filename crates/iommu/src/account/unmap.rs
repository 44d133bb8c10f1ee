//! Unmapping in batches: out of the tables, forgotten by devices, released, in this order.

use std::collections::BTreeSet;

use ringfence_ledger::{Answer, Entry, Handle, Holder, Owner, RemoveOrder, Removed, Which};
use ringfence_refusal::{Failure, Refusal};

use super::{Account, Event};
use crate::memory::Backing;

/// Whether a device reaches what was to be taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// No: it is out of the tables, forgotten and not counted any more.
    No,
    /// Yes, until what shares an entry of the back end's with it is taken out as well.
    StillShared,
    /// Nobody knows: it is in quarantine, and counted.
    Unknown,
}

/// What is done about mappings when a holder is taken off a target list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It stays on the list while it has any.
    Refuse,
    /// They are taken out.
    Revoke,
}

impl<M: Backing> Account<M> {
    /// Takes mappings of a holder's out: one answer for each, in order.
    ///
    /// When an entry was answered with [`Reached::No`] its device reaches nothing of it and remembers
    /// nothing. Refusals are those of [`Ledger::unmap`](ringfence_ledger::Ledger::unmap).
    pub fn unmap(&mut self, holder: Holder, which: &[Which]) -> Vec<Result<Reached, Failure>> {
        let mut orders = Vec::with_capacity(which.len());
        let begun: Vec<Result<Handle, Refusal>> = which
            .iter()
            .map(|which| {
                let order = self.ledger.unmap(holder, *which)?;
                let handle = order.entry().handle;
                orders.push(order);
                Ok(handle)
            })
            .collect();
        let gone = self.take_out(holder, orders);
        let answer = |handle: Handle| {
            let shared = || self.ledger.entry(handle).map(|entry| entry.phase);
            match gone.contains(&handle) {
                true => Reached::No,
                // A fence may have settled it.
                false => match shared() {
                    Err(_) => Reached::No,
                    Ok(ringfence_ledger::Phase::Quarantined) => Reached::Unknown,
                    Ok(_) => Reached::StillShared,
                },
            }
        };
        begun.into_iter().map(|begun| Ok(answer(begun?))).collect()
    }

    /// Takes a holder off an owner's target list.
    ///
    /// # Errors
    ///
    /// `RF0115` while it has any of the owner's memory mapped and that is not to be, or could not be,
    /// taken out; `RF0105` when either is gone.
    pub fn remove_target(
        &mut self,
        owner: Owner,
        holder: Holder,
        removal: Removal,
    ) -> Result<(), Refusal> {
        if removal == Removal::Revoke {
            let of_it = |entry: &Entry| entry.holder == holder && entry.owner == owner;
            self.revoke(of_it);
        }
        self.ledger.remove_target(owner, holder)
    }

    /// Takes out whatever mappings `chosen` says, of whatever holder; whether nothing of them is left.
    pub(super) fn revoke(&mut self, chosen: impl Fn(&Entry) -> bool) -> bool {
        let found: Vec<Entry> = self.ledger.entries().filter(|entry| chosen(entry)).collect();
        let holders: BTreeSet<Holder> = found.iter().map(|entry| entry.holder).collect();
        let mut is_clean = true;
        for holder in holders {
            let own = found.iter().filter(|entry| entry.holder == holder);
            let which: Vec<Which> = own.map(|entry| Which::Handle(entry.handle)).collect();
            let answers = self.unmap(holder, &which);
            is_clean &= answers.iter().all(|answer| matches!(answer, Ok(Reached::No)));
        }
        is_clean
    }

    /// Carries orders out; which mappings are gone.
    pub(super) fn take_out(
        &mut self,
        holder: Holder,
        orders: Vec<RemoveOrder>,
    ) -> BTreeSet<Handle> {
        let mut removed = Vec::with_capacity(orders.len());
        let mut spans = Vec::with_capacity(orders.len());
        let mut needs_fence = false;
        for order in orders {
            match order.entry().bus {
                Some(bus) => {
                    spans.push(bus);
                    self.waiting.insert((holder, bus.first()), order);
                }
                // In a process: it is out when the process says so, which it just did.
                None => {
                    let bytes = order.entry().memory.length_u64();
                    let answer = Answer::Bytes(bytes.map_or(0, std::num::NonZeroU64::get));
                    self.take_down(order, answer, &mut removed, &mut needs_fence);
                }
            }
        }
        let mut answers = Vec::new();
        if let Some(domain) = self.domains.get_mut(&holder).filter(|_| !spans.is_empty()) {
            domain.unmap(&spans, &mut |span, answer| answers.push((span, answer)));
        }
        for (span, answer) in answers {
            let Some(order) = self.waiting.remove(&(holder, span.first())) else { continue };
            // What is answered for another span than was asked for is no answer.
            let answer = if order.entry().bus == Some(span) { answer } else { Answer::Failed };
            self.take_down(order, answer, &mut removed, &mut needs_fence);
        }
        let gone = self.forget(holder, removed, &mut needs_fence);
        if needs_fence {
            self.cut_off(holder);
        }
        gone
    }

    fn take_down(
        &mut self,
        order: RemoveOrder,
        answer: Answer,
        removed: &mut Vec<Removed>,
        needs_fence: &mut bool,
    ) {
        let holder = order.entry().holder;
        match self.ledger.removed(order, answer) {
            Ok(one) => removed.push(one),
            Err(refusal) => {
                *needs_fence = true;
                self.events.push(Event::Quarantined(holder, refusal));
            }
        }
    }

    /// Has the device forget what is out of its tables: one wait for all of them. Invariant `I9`: where
    /// that is not seen to be done nothing of it is let go, and the device is cut off.
    fn forget(
        &mut self,
        holder: Holder,
        removed: Vec<Removed>,
        needs_fence: &mut bool,
    ) -> BTreeSet<Handle> {
        if removed.is_empty() {
            return BTreeSet::new();
        }
        let (order, others) = self.ledger.flush(holder, removed);
        debug_assert!(others.is_empty(), "all of them are this holder's");
        let spans: Vec<_> = order.spans().collect();
        let flushed = match self.domains.get_mut(&holder).filter(|_| !spans.is_empty()) {
            Some(domain) => domain.flush(&spans),
            None => Ok(()),
        };
        match flushed {
            Ok(()) => {
                let flushed = self.ledger.flushed(order);
                let released = self.ledger.release(flushed);
                let gone = released.gone.iter().copied().collect();
                self.finish(released);
                gone
            }
            Err(failure) => {
                let refusal = self.ledger.not_flushed(order).within(failure);
                *needs_fence = true;
                self.events.push(Event::Quarantined(holder, refusal));
                BTreeSet::new()
            }
        }
    }
}
