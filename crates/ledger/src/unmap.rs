//! Unmapping: removed, then flushed, then released.

use ringfence_addr::{Iova, Span};
use ringfence_refusal::Refusal;

use crate::id::{Handle, Holder};
use crate::ledger::Ledger;
use crate::mapping::{FlushOrder, Flushed, Phase, RemoveOrder, Removed};
use crate::refusals::{NOT_MAPPED, QUARANTINED};
use crate::retire::Released;

/// Which mapping a holder wants to have removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// This one.
    Handle(Handle),
    /// The one at exactly these bus addresses.
    At(Span<Iova>),
}

/// What a back end says it did when it was told to remove a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It took so many bytes out of its tables.
    Bytes(u64),
    /// It failed.
    Failed,
}

impl Ledger {
    /// Begins to remove a live mapping of the holder's.
    ///
    /// Invariant `I2`: that is one which is live, whole, and from here on no more.
    ///
    /// # Errors
    ///
    /// `RF0105` for a handle or a holder that is gone, `RF0114` for what is not one mapping of this
    /// holder's, or is being removed already.
    pub fn unmap(&mut self, holder: Holder, which: Which) -> Result<RemoveOrder, Refusal> {
        let record = self.holders.get_mut(holder.0, holder)?;
        let handle = match which {
            Which::Handle(handle) => handle,
            Which::At(span) => {
                let found = record.space.as_ref().and_then(|space| space.get(span.first()));
                let found = found.and_then(|number| self.mappings.at(number));
                match found.filter(|(_, row)| row.bus() == Some(span)) {
                    Some((handle, _)) => handle,
                    None => {
                        let detail = format!("{span} of {}", record.name);
                        return Err(Refusal::new(&NOT_MAPPED, detail));
                    }
                }
            }
        };
        let row = self.mappings.get_mut(handle)?;
        if row.holder != holder.0.place() || row.phase() != Phase::Live {
            let phase = row.phase();
            let detail = format!("{handle} is {phase}, or not of {}", record.name);
            return Err(Refusal::new(&NOT_MAPPED, detail));
        }
        row.set_phase(Phase::Removing);
        if let (Some(space), Some(bus)) = (&mut record.space, row.bus()) {
            space.set_live(bus, false);
        }
        let row = *row;
        let Some(entry) = self.entry_of(handle, &row) else {
            unreachable!("owner and holder stay as long as their mappings do");
        };
        Ok(RemoveOrder(entry))
    }

    /// Takes down what a back end says it did.
    ///
    /// Invariant `I18`: a mapping is out of the tables if exactly its bytes were taken out;
    /// whatever else a back end answers, success included, puts it into quarantine.
    ///
    /// # Errors
    ///
    /// `RF0117`: it is in quarantine now, and the holder has to be fenced.
    pub fn removed(&mut self, order: RemoveOrder, answer: Answer) -> Result<Removed, Refusal> {
        let entry = order.0;
        let handle = entry.handle;
        let expected = entry.memory.length_u64().map_or(0, std::num::NonZeroU64::get);
        let row = self.mappings.get_mut(handle)?;
        if row.phase() != Phase::Removing {
            return Err(Refusal::new(&NOT_MAPPED, format!("{handle} is {}", row.phase())));
        }
        if answer == Answer::Bytes(expected) {
            row.set_phase(Phase::Removed);
            return Ok(Removed { handle, holder: entry.holder, bus: entry.bus });
        }
        row.set_phase(Phase::Quarantined);
        if let Ok(record) = self.holders.get_mut(entry.holder.0, entry.holder) {
            record.quarantine(handle.0.place());
        }
        let said = match answer {
            Answer::Bytes(bytes) => format!("{bytes:#x} bytes were"),
            Answer::Failed => "it failed".to_owned(),
        };
        let detail = format!("{handle}: {expected:#x} bytes were to be removed, and {said}");
        Err(Refusal::new(&QUARANTINED, detail))
    }

    /// One flush for many mappings of one holder: those of others are given back.
    pub fn flush(&self, holder: Holder, removed: Vec<Removed>) -> (FlushOrder, Vec<Removed>) {
        if removed.iter().all(|removed| removed.holder == holder) {
            return (FlushOrder { holder, removed }, Vec::new());
        }
        let (own, others) = removed.into_iter().partition(|removed| removed.holder == holder);
        (FlushOrder { holder, removed: own }, others)
    }

    /// Takes down that devices have forgotten what was removed.
    pub fn flushed(&mut self, order: FlushOrder) -> Flushed {
        Flushed(order.removed.into_iter().map(|removed| removed.handle).collect())
    }

    /// Takes down that nobody knows whether they have: all of it is in quarantine, and the holder has
    /// to be fenced.
    pub fn not_flushed(&mut self, order: FlushOrder) -> Refusal {
        let mut count = 0_usize;
        for removed in &order.removed {
            if let Ok(row) = self.mappings.get_mut(removed.handle) {
                row.set_phase(Phase::Quarantined);
                if let Ok(record) = self.holders.get_mut(removed.holder.0, removed.holder) {
                    record.quarantine(removed.handle.0.place());
                }
                count += 1;
            }
        }
        let detail = format!("{count} mappings of {} were not seen to be flushed", order.holder);
        Refusal::new(&QUARANTINED, detail)
    }

    /// Lets go of what was flushed.
    ///
    /// Invariant `I6`: nothing else drops a count of a mapping that was made.
    pub fn release(&mut self, flushed: Flushed) -> Released {
        // A fence may have settled some of them meanwhile, or put them into quarantine.
        let mut handles = flushed.0;
        handles.retain(|handle| {
            self.mappings.get(*handle).is_ok_and(|row| row.phase() == Phase::Removed)
        });
        self.read_counts(&handles);
        self.let_go(handles)
    }
}
