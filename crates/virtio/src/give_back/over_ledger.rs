//! The gate over the ledger.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_addr::{Gpa, Span, SpanMap};
use ringfence_ledger::{Entry, Holder, Ledger, Milliseconds, Owner, Released, Retirement};
use ringfence_refusal::Refusal;

use crate::give_back::books::{first_block, larger, over};
use crate::give_back::{GiveBack, Verdict};

/// Those who have an owner's memory mapped, as the gate talks to them.
pub trait Holders: Send {
    /// What a holder is called.
    fn name(&self, holder: Holder) -> String;

    /// These mappings are wanted back by `deadline`. What is let go of at once is taken out of the ledger
    /// (unmapped, flushed, released) and reported; the rest whenever it is ([`LedgerGate::released`]).
    fn let_go(&mut self, ledger: &mut Ledger, wanted: &[Entry]) -> Released;

    /// The memory of these mappings, which were let go of, is the guest's again: makes them anew.
    ///
    /// # Errors
    ///
    /// None of them is made, and the guest does not get the memory.
    fn map_again(&mut self, ledger: &mut Ledger, mappings: &[Entry]) -> Result<(), Refusal>;

    /// By when mappings that are wanted back now have to be let go of.
    fn deadline(&self) -> Milliseconds;
}

/// The gate of one owner.
///
/// Finding out who has a busy page mapped looks at every mapping there is: for accounts of some thousands.
pub struct LedgerGate<H> {
    ledger: Arc<Mutex<Ledger>>,
    owner: Owner,
    holders: H,
    settled: Vec<Span<Gpa>>,
    /// What was asked back, with the mappings of it that are to be made again.
    taken: SpanMap<Gpa, Vec<Entry>>,
}

impl<H: Holders> LedgerGate<H> {
    /// A gate to an owner's memory.
    pub fn new(ledger: Arc<Mutex<Ledger>>, owner: Owner, holders: H) -> Self {
        Self { ledger, owner, holders, settled: Vec::new(), taken: SpanMap::new() }
    }

    /// Hears of what was let go of.
    pub fn released(&mut self, released: &Released) {
        let ours = released.retired.iter().filter(|retired| retired.owner == self.owner);
        self.settled.extend(ours.map(|retired| retired.memory));
    }

    /// Those who have memory mapped.
    pub fn holders(&mut self) -> &mut H {
        &mut self.holders
    }

    fn of(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
        ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H: Holders> GiveBack for LedgerGate<H> {
    fn retire(&mut self, memory: Span<Gpa>) -> Result<Verdict, Refusal> {
        let mut ledger = Self::of(&self.ledger);
        match ledger.retire(self.owner, memory, None)? {
            Retirement::Free => Ok(Verdict::Free),
            Retirement::Busy(_) | Retirement::Revoking(_) => {
                let over = over(&ledger, self.owner, memory);
                Ok(Verdict::Busy(first_block(&over, memory, |holder| self.holders.name(holder))))
            }
        }
    }

    fn ask_back(&mut self, block: Span<Gpa>) -> Result<Verdict, Refusal> {
        let ledger = Arc::clone(&self.ledger);
        let mut ledger = Self::of(&ledger);
        let over = over(&ledger, self.owner, block);
        if let Some(larger) = larger(&over, block, |holder| self.holders.name(holder)) {
            return Ok(Verdict::Busy(larger));
        }
        match ledger.retire(self.owner, block, Some(self.holders.deadline()))? {
            Retirement::Free => Ok(Verdict::Free),
            Retirement::Busy(_) | Retirement::Revoking(_) => {
                self.taken.insert(block, over.clone());
                let released = self.holders.let_go(&mut ledger, &over);
                self.released(&released);
                match self.settled.iter().position(|settled| *settled == block) {
                    Some(place) => {
                        self.settled.swap_remove(place);
                        Ok(Verdict::Free)
                    }
                    None => Ok(Verdict::Later),
                }
            }
        }
    }

    fn settled(&mut self) -> Vec<Span<Gpa>> {
        std::mem::take(&mut self.settled)
    }

    fn reuse(&mut self, memory: Span<Gpa>) -> Result<(), Refusal> {
        let mut ledger = Self::of(&self.ledger);
        ledger.take_again(self.owner, memory)?;
        let asked: Vec<Span<Gpa>> = self.taken.overlapping(memory).map(|(span, _)| span).collect();
        let (mut again, mut rest) = (Vec::new(), Vec::new());
        for span in asked {
            let Some(taken) = self.taken.get_exact(span) else { continue };
            again.extend(taken.iter().filter_map(|entry| part(entry, memory)));
            let left = taken.iter().flat_map(|entry| {
                let left = entry.memory.minus(&memory).into_iter().flatten();
                left.filter_map(|left| part(entry, left))
            });
            rest.push((span, left.collect::<Vec<_>>()));
        }
        if !again.is_empty()
            && let Err(refusal) = self.holders.map_again(&mut ledger, &again)
        {
            // The guest must not use what a device of its believes to reach.
            let _free = ledger.retire(self.owner, memory, None)?;
            return Err(refusal);
        }
        for (span, left) in rest {
            self.taken.remove_exact(span);
            // What was not taken again can be asked for by itself.
            for piece in span.minus(&memory).into_iter().flatten() {
                let of_it = left.iter().filter(|entry| piece.encloses(&entry.memory)).copied();
                self.taken.insert(piece, of_it.collect());
            }
        }
        Ok(())
    }
}

/// A mapping as far as it lies in `memory`.
fn part(entry: &Entry, memory: Span<Gpa>) -> Option<Entry> {
    let inside = entry.memory.intersection(&memory)?;
    let offset = entry.memory.offset_of(inside.first())?;
    let bus = entry.bus.and_then(|bus| bus.subspan(offset, inside.length_u64()?));
    Some(Entry { memory: inside, bus, ..*entry })
}
