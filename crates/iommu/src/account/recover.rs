//! After a crash of whoever kept the account: every device that the journal speaks of is cut off.
//!
//! The kernel does not say what is mapped: the journal is all there is. What it says is believed only so
//! far that a device is to be cut off, never that one may reach anything.

use std::collections::BTreeMap;

use ringfence_ledger::journal::Slot;
use ringfence_ledger::{Entry, Holder};
use ringfence_refusal::{Failure, Fault};

use crate::domain::Domain;
use crate::journal::Journal;

/// What was found in a journal, and what was done about it.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Mappings whose devices were cut off and cleared: their slots are empty now.
    pub settled: Vec<Entry>,
    /// Those of devices that could not be: their memory may be reached, and their slots stay.
    pub left: Vec<(Holder, Vec<Entry>, Failure)>,
    /// How many slots were neither empty nor whole.
    pub damaged: usize,
}

impl Recovered {
    /// Whether nothing of what was mapped can be reached any more.
    pub fn is_clean(&self) -> bool {
        self.left.is_empty()
    }
}

impl Journal {
    /// Cuts off and clears every device that has a slot here. `reach` finds the device of a holder, as it
    /// was called in that life: kept by a supervisor, or opened anew.
    ///
    /// # Errors
    ///
    /// The journal cannot be read. Nothing was done then.
    pub fn recover<M>(
        &self,
        mut reach: impl FnMut(Holder) -> Result<Box<dyn Domain<M>>, Failure>,
    ) -> Result<Recovered, Fault> {
        let found = self.found()?;
        let mut recovered = Recovered { damaged: found.damaged, ..Recovered::default() };
        let mut by_holder: BTreeMap<Holder, Vec<Entry>> = BTreeMap::new();
        for entry in found.mappings {
            by_holder.entry(entry.holder).or_default().push(entry);
        }
        for (holder, entries) in by_holder {
            // What was in a process only went with it.
            let needs_device = entries.iter().any(|entry| entry.bus.is_some());
            let outcome = match needs_device {
                true => reach(holder).and_then(|mut domain| {
                    domain.fence()?;
                    domain.clear()
                }),
                false => Ok(()),
            };
            match outcome {
                Ok(()) => {
                    for entry in &entries {
                        self.write(entry.handle, &Slot::EMPTY);
                    }
                    recovered.settled.extend(entries);
                }
                Err(failure) => recovered.left.push((holder, entries, failure)),
            }
        }
        Ok(recovered)
    }
}
