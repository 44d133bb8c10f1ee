//! Mapping in batches: everything of an entry is checked, counted and written down before its device is
//! let at it, and each entry hears what became of it.

use ringfence_ledger::journal::Slot;
use ringfence_ledger::{Entry, Failed, Holder, MapOrder, RemoveOrder, Which, Wish};
use ringfence_refusal::{Failure, Refusal};

use super::Account;
use crate::domain::{Mapped, Piece};
use crate::memory::Backing;
use crate::refusals::{JOURNAL_UNFIT, NO_DOMAIN, WITHDRAWN};

/// What becomes of the rest of a batch when an entry of it cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing of it is done.
    AllOrNothing,
    /// What can be is done.
    BestEffort,
}

impl<M: Backing> Account<M> {
    /// Maps what a holder wishes: one answer for each, in order.
    ///
    /// An entry is the mapping as it stands, live. Invariant `I22`: what became of each is told of each, and
    /// to ask again for what failed is as good as to ask for the first time. Refusals are those of
    /// [`Ledger::map`](ringfence_ledger::Ledger::map), `RF0911` to `RF0914`, and what the back end says.
    pub fn map(
        &mut self,
        holder: Holder,
        wishes: &[Wish],
        mode: Mode,
    ) -> Vec<Result<Entry, Failure>> {
        let mut answers: Vec<Result<Entry, Failure>> = Vec::with_capacity(wishes.len());
        let mut orders = Vec::with_capacity(wishes.len());
        for wish in wishes {
            let begun = self.begin(holder, wish);
            answers.push(begun.as_ref().map(|order| *order.entry()).map_err(refused));
            orders.push(begun.ok());
        }
        let all_or_nothing = mode == Mode::AllOrNothing;
        if all_or_nothing && orders.iter().any(Option::is_none) {
            for (order, answer) in orders.into_iter().zip(&mut answers) {
                if let Some(order) = order {
                    *answer = Err(withdrawn(order.entry()));
                    self.withdraw(order);
                }
            }
            return answers;
        }
        let mut removes = self.carry_out(holder, orders, &mut answers);
        if all_or_nothing && answers.iter().any(Result::is_err) {
            for answer in &mut answers {
                let Ok(entry) = answer else { continue };
                let order = self.ledger.unmap(holder, Which::Handle(entry.handle));
                *answer = Err(withdrawn(entry));
                removes.extend(order.ok());
            }
        }
        if !removes.is_empty() {
            self.take_out(holder, removes);
            // What could not be taken out has the device cut off, and with it the rest of the batch.
            for answer in &mut answers {
                if let Ok(entry) = answer
                    && self.ledger.entry(entry.handle).is_err()
                {
                    *answer = Err(withdrawn(entry));
                }
            }
        }
        answers
    }

    /// Checks, counts and writes down.
    fn begin(&mut self, holder: Holder, wish: &Wish) -> Result<MapOrder, Refusal> {
        if wish.appears.device() && !self.domains.contains_key(&holder) {
            // An id that is gone is told as that.
            self.ledger.mapping_count(holder)?;
            return Err(Refusal::new(&NO_DOMAIN, holder.to_string()));
        }
        let order = self.ledger.map(holder, *wish)?;
        let entry = *order.entry();
        if !self.journal.has_room_for(entry.handle) {
            self.withdraw(order);
            return Err(Refusal::new(&JOURNAL_UNFIT, format!("no slot for {}", entry.handle)));
        }
        self.journal.write(entry.handle, &Slot::of(&entry));
        Ok(order)
    }

    /// Ends an order that was not carried out.
    fn withdraw(&mut self, order: MapOrder) {
        let told = self.ledger.not_mapped(order, Failed::Clean);
        self.finish(told.released);
    }

    /// Has the device's tables filled; what has to be taken out again.
    fn carry_out(
        &mut self,
        holder: Holder,
        orders: Vec<Option<MapOrder>>,
        answers: &mut [Result<Entry, Failure>],
    ) -> Vec<RemoveOrder> {
        let mut pieces: Vec<Piece<M>> = Vec::with_capacity(orders.len());
        let mut ends = Vec::with_capacity(orders.len());
        for order in &orders {
            if let Some(order) = order {
                self.pieces(order.entry(), &mut pieces);
            }
            ends.push(pieces.len());
        }
        let domain = self.domains.get_mut(&holder);
        let done = domain.map_or_else(Vec::new, |domain| domain.map(&pieces));
        let mut done = done.into_iter();
        let mut removes = Vec::new();
        let mut begin = 0;
        for ((order, answer), end) in orders.into_iter().zip(answers).zip(ends) {
            let count = end - begin;
            begin = end;
            let Some(order) = order else { continue };
            match joined(done.by_ref().take(count), count) {
                Ok(()) => match self.ledger.mapped(order) {
                    Ok(handle) => {
                        *answer = self.ledger.entry(handle).map_err(Failure::from);
                    }
                    Err(remove) => {
                        *answer = Err(withdrawn(remove.entry()));
                        removes.push(remove);
                    }
                },
                Err((failed, failure)) => {
                    let told = self.ledger.not_mapped(order, failed);
                    removes.extend(told.remove);
                    self.finish(told.released);
                    *answer = Err(failure);
                }
            }
        }
        removes
    }
}

/// What became of an entry, of what became of its pieces.
fn joined(answers: impl Iterator<Item = Mapped>, count: usize) -> Result<(), (Failed, Failure)> {
    let (mut done, mut not, mut worst) = (0, 0, None);
    for answer in answers {
        match answer {
            Mapped::Done => done += 1,
            Mapped::Not(failure) => {
                not += 1;
                worst = worst.or(Some(failure));
            }
            Mapped::Unknown(failure) => worst = worst.or(Some(failure)),
        }
    }
    if done == count {
        return Ok(());
    }
    let failed = if not == count { Failed::Clean } else { Failed::Unknown };
    let silent = || {
        let error = std::io::Error::other("the back end said nothing of it");
        ringfence_refusal::Fault::new("map for devices", "an entry", error).into()
    };
    Err((failed, worst.unwrap_or_else(silent)))
}

fn refused(refusal: &Refusal) -> Failure {
    refusal.clone().into()
}

fn withdrawn(entry: &Entry) -> Failure {
    Refusal::new(&WITHDRAWN, format!("{} of {}", entry.memory, entry.owner)).into()
}
