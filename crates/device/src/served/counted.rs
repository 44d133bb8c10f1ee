//! What a served function reaches is counted: the account decides, writes down, and has it done.
//!
//! **Invariant:** there is no other way from a served function to its domain. What the account was not
//! asked for is not mapped, and what it refuses is not reached.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_addr::{Gpa, Iova, Span};
use ringfence_iommu::{Account, Mode, Reached};
use ringfence_ledger::refusals::QUARANTINED;
use ringfence_ledger::{Appears, Handle, Holder, Phase, Place, Which, Wish};
use ringfence_refusal::{Failure, Fault, Refusal};

use super::guest_memory::{GuestMemory, OfFile};
use super::memory::{Extent, Reach};

/// A served function as a holder of a VM's memory. When it goes, the holder is cut off and forgotten.
pub struct Counted<M: OfFile> {
    account: Arc<Mutex<Account<M>>>,
    guest: GuestMemory<M>,
    holder: Holder,
    /// Blocks by where they begin. What somebody else took away may still be among them.
    mapped: BTreeMap<Iova, Handle>,
}

impl<M: OfFile> Counted<M> {
    /// A holder that was entered with its domain, and admitted to the guest's memory.
    pub fn new(account: Arc<Mutex<Account<M>>>, guest: GuestMemory<M>, holder: Holder) -> Self {
        Self { account, guest, holder, mapped: BTreeMap::new() }
    }

    fn account(&self) -> MutexGuard<'_, Account<M>> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: OfFile> Reach for Counted<M> {
    fn map(&mut self, extent: Extent<'_>, blocks: &[Span<Iova>]) -> Result<(), Failure> {
        let Extent { bus, memory, rights } = extent;
        let guest = self.guest.find(memory, bus)?;
        let owner = self.guest.owner();
        let wishes = blocks.iter().map(|block| {
            let part = guest.subspan(bus.offset_of(block.first())?, block.length_u64()?)?;
            let (place, appears) = (Place::At(block.first()), Appears::Device);
            Some(Wish { owner, memory: part, rights, place, appears })
        });
        let wishes: Option<Vec<_>> = wishes.collect();
        let wishes = wishes.expect("blocks lie within what they are of");
        let answers = self.account().map(self.holder, &wishes, Mode::AllOrNothing);
        let mut entries = Vec::with_capacity(answers.len());
        let mut failures = Vec::new();
        for answer in answers {
            match answer {
                Ok(entry) => entries.push(entry),
                Err(failure) => failures.push(failure),
            }
        }
        // The first is as likely as not to have been withdrawn because of another.
        let why = failures.iter().position(|failure| !is_withdrawn(failure)).unwrap_or(0);
        if !failures.is_empty() {
            return Err(failures.swap_remove(why));
        }
        for (block, entry) in blocks.iter().zip(entries) {
            self.mapped.insert(block.first(), entry.handle);
        }
        Ok(())
    }

    fn unmap(&mut self, blocks: &[Span<Iova>]) -> Result<(), Failure> {
        let handles = blocks.iter().filter_map(|block| self.mapped.get(&block.first()).copied());
        let which: Vec<_> = handles.map(Which::Handle).collect();
        let answers = self.account().unmap(self.holder, &which);
        for answer in answers {
            if answer? != Reached::No {
                let error = std::io::Error::other("it is reached still");
                return Err(Fault::new("take away", "a block of memory", error).into());
            }
        }
        for block in blocks {
            self.mapped.remove(&block.first());
        }
        Ok(())
    }

    fn is_reached(&self, block: Span<Iova>) -> bool {
        let Some(handle) = self.mapped.get(&block.first()) else { return false };
        self.account().ledger().entry(*handle).is_ok_and(|entry| {
            matches!(entry.phase, Phase::Live | Phase::Removing | Phase::Quarantined)
        })
    }

    fn guest_memory(&self, extent: Extent<'_>) -> Option<Span<Gpa>> {
        self.guest.find(extent.memory, extent.bus).ok()
    }

    fn cut_off(&mut self) -> Result<(), Failure> {
        if !self.account().cut_off(self.holder) {
            return Err(Refusal::new(&QUARANTINED, self.holder.to_string()).into());
        }
        self.mapped.clear();
        Ok(())
    }

    fn readmit(&mut self) -> Result<(), Failure> {
        self.account().readmit(self.holder)?;
        self.mapped.clear();
        Ok(())
    }
}

fn is_withdrawn(failure: &Failure) -> bool {
    let withdrawn = &ringfence_iommu::refusals::WITHDRAWN;
    matches!(failure, Failure::Refused(refusal) if refusal.code() == withdrawn)
}

impl<M: OfFile> Drop for Counted<M> {
    fn drop(&mut self) {
        // What is left of it stays in the books, and its domain with it; the account has told.
        let _left = self.account().holder_died(self.holder);
    }
}
