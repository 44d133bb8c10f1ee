//! One account: a ledger, the journal of it, and the devices that it speaks of.
//!
//! The ledger decides and counts; here its orders are carried out, in order, and what was done is
//! reported. Whoever asks for something hears what became of it when it is done.
//!
//! ```text
//!  batch ─► ledger.map ─► journal ─► domain.map ─► ledger.mapped
//!  batch ─► ledger.unmap ─► domain.unmap ─► removed ─► domain.flush ─► flushed ─► release ─► journal ─► discard
//!               what fails, or was answered with less ─► quarantine ─► fence ─► clear ─► settle
//! ```
//!
//! **Invariant:** what stands in the journal is never less than what any device reaches: a slot is
//! written before the order is carried out, and emptied after what it counts was released.

mod death;
mod map;
mod recover;
mod retire;
mod unmap;

use std::collections::BTreeMap;

use ringfence_addr::{Address as _, Gpa, Iova, Rights, Span, SpanMap};
use ringfence_ledger::journal::Slot;
use ringfence_ledger::{Entry, Holder, Ledger, Owner, Released, RemoveOrder};
use ringfence_refusal::Refusal;

use crate::domain::{Domain, Piece};
use crate::journal::Journal;
use crate::memory::{self, Backing};

pub use map::Mode;
pub use recover::Recovered;
pub use unmap::{Reached, Removal};

/// Something that happened, and that nobody was waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A holder's device was cut off, and so many mappings of it are gone.
    Fenced(Holder, usize),
    /// Something may be reached by a holder that should not: it stays counted.
    Quarantined(Holder, Refusal),
    /// An owner gets memory that it had been waiting for.
    Retired(Owner, Span<Gpa>),
    /// Memory is free, and the system did not take it.
    NotDiscarded(Owner, Span<Gpa>, String),
}

/// Who may touch which memory, and the devices that do.
pub struct Account<M> {
    ledger: Ledger,
    journal: Journal,
    domains: BTreeMap<Holder, Box<dyn Domain<M>>>,
    /// All memory that the ledger knows of has something behind it here.
    memory: BTreeMap<Owner, SpanMap<Gpa, Behind<M>>>,
    /// Orders that a back end has not answered yet.
    waiting: BTreeMap<(Holder, Iova), RemoveOrder>,
    events: Vec<Event>,
}

/// What is behind a span of an owner's memory.
#[derive(Clone)]
struct Behind<M> {
    memory: M,
    offset: u64,
    /// The address that the offset is of, which stays when the span is cut.
    base: Gpa,
}

impl<M: Backing> Account<M> {
    /// An account with nobody in it, and an empty journal.
    pub fn new(journal: Journal) -> Self {
        Self {
            ledger: Ledger::new(),
            journal,
            domains: BTreeMap::new(),
            memory: BTreeMap::new(),
            waiting: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// The books.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is written down of them.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// What happened since the last time this was asked.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// Enters a virtual machine, with no memory yet.
    pub fn add_owner(&mut self, name: impl Into<String>) -> Owner {
        let owner = self.ledger.add_owner(name);
        self.memory.insert(owner, SpanMap::new());
        owner
    }

    /// Says that `span` is the owner's memory, and that `behind` is behind it, from `offset` on.
    ///
    /// Two owners with the same memory behind theirs are not told apart: that is for whoever gives it
    /// to see to.
    ///
    /// # Errors
    ///
    /// `RF0105`, `RF0106` as of [`Ledger::add_memory`]; `RF0910` when there is less behind it.
    pub fn add_memory(
        &mut self,
        owner: Owner,
        span: Span<Gpa>,
        behind: M,
        offset: u64,
    ) -> Result<(), Refusal> {
        let length = span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get);
        memory::check(&behind, offset, length)?;
        self.ledger.add_memory(owner, span)?;
        let behind = Behind { memory: behind, offset, base: span.first() };
        self.memory.entry(owner).or_default().insert(span, behind);
        Ok(())
    }

    /// Says that `span` is the owner's memory no more.
    ///
    /// # Errors
    ///
    /// `RF0115` while any of it is mapped, and as of [`Ledger::remove_memory`].
    pub fn remove_memory(&mut self, owner: Owner, span: Span<Gpa>) -> Result<(), Refusal> {
        self.ledger.remove_memory(owner, span)?;
        if let Some(memory) = self.memory.get_mut(&owner) {
            memory.remove(span);
        }
        Ok(())
    }

    /// Enters a holder of `owner`'s memory, with its device if it has one, and nothing granted yet.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone; `RF0915` when the device reaches memory although nothing is
    /// mapped for it. Invariant `I26`: no device is entered before that was looked at, where its back end
    /// can say.
    pub fn add_holder(
        &mut self,
        owner: Owner,
        name: impl Into<String>,
        domain: Option<Box<dyn Domain<M>>>,
    ) -> Result<Holder, Refusal> {
        let name = name.into();
        let Some(mut domain) = domain else { return self.ledger.add_holder(owner, name) };
        for usable in domain.usable().clone().iter() {
            for address in [usable.first(), usable.last()] {
                if let Some(Some(rights)) = domain.probe(address) {
                    let detail = format!("{name} finds {address} {rights}, and nothing is mapped");
                    return Err(Refusal::new(&crate::refusals::NOT_CONFINED, detail));
                }
            }
        }
        let holder = self.ledger.add_holder(owner, name)?;
        self.ledger.set_space(holder, domain.usable().clone())?;
        self.domains.insert(holder, domain);
        Ok(holder)
    }

    /// Puts a holder on an owner's target list: it may map `span` with `rights`, and so many frames in
    /// all of this owner's.
    ///
    /// # Errors
    ///
    /// `RF0105`, `RF0107` as of [`Ledger::grant_of`].
    pub fn allow(
        &mut self,
        owner: Owner,
        holder: Holder,
        span: Span<Gpa>,
        rights: Rights,
        quota_frames: Option<u64>,
    ) -> Result<(), Refusal> {
        self.ledger.grant_of(owner, holder, span, rights)?;
        self.ledger.set_quota(owner, holder, quota_frames)
    }

    /// What a device of a holder's would find at an address, if its back end can say.
    pub fn probe(&mut self, holder: Holder, address: Iova) -> Option<Option<Rights>> {
        self.domains.get_mut(&holder)?.probe(address)
    }

    /// What is to be mapped for an entry: a piece for each span of memory with something behind it.
    fn pieces(&self, entry: &Entry, into: &mut Vec<Piece<M>>) {
        let (Some(bus), Some(all)) = (entry.bus, self.memory.get(&entry.owner)) else { return };
        for (span, behind) in all.overlapping(entry.memory) {
            let Some(part) = span.intersection(&entry.memory) else { continue };
            let into_bus = part.first().offset_from(entry.memory.first());
            let first = into_bus.and_then(|offset| bus.first().checked_add(offset));
            let offset = behind.at(part.first());
            if let (Some(bus), Some(offset)) = (first.and_then(|first| part.rebase(first)), offset)
            {
                into.push(Piece {
                    bus,
                    memory: behind.memory.clone(),
                    offset,
                    rights: entry.rights,
                });
            }
        }
    }

    /// What follows when counts were dropped: slots are emptied, and owners get what they wait for.
    fn finish(&mut self, released: Released) {
        for handle in released.gone {
            self.journal.write(handle, &Slot::EMPTY);
        }
        for retired in released.retired {
            self.discard(retired.owner, retired.memory);
            self.events.push(Event::Retired(retired.owner, retired.memory));
        }
    }

    /// Gives the system back what is behind memory that nothing counts.
    fn discard(&mut self, owner: Owner, memory: Span<Gpa>) {
        let Some(all) = self.memory.get(&owner) else { return };
        for (span, behind) in all.overlapping(memory) {
            let Some(part) = span.intersection(&memory) else { continue };
            let length = part.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get);
            let Some(offset) = behind.at(part.first()) else { continue };
            if let Err(fault) = behind.memory.discard(offset, length) {
                let why = format!("{fault}: {}", fault.io_error());
                self.events.push(Event::NotDiscarded(owner, part, why));
            }
        }
    }
}

impl<M> Behind<M> {
    /// Where in the memory behind it an address is.
    fn at(&self, address: Gpa) -> Option<u64> {
        self.offset.checked_add(address.offset_from(self.base)?)
    }
}
