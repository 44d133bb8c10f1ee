//! Many at once: what one call is to do about several mappings of a holder.
//!
//! Each is checked and refused by itself. What makes many cheaper than one after another is that the
//! places in memory where their books are, which are far apart, are read together before the
//! first is changed.

use std::hint::black_box;

use ringfence_refusal::Refusal;

use crate::id::{Handle, Holder};
use crate::ledger::Ledger;
use crate::map::Failed;
use crate::mapping::{MapOrder, Place, RemoveOrder, Wish};
use crate::unmap::Which;

/// So many are read before the first of them is changed: they stay in the nearest cache until it is
/// their turn.
const AHEAD: usize = 64;

impl Ledger {
    /// Begins several mappings, each as by [`Ledger::map`]: what is refused leaves the others alone.
    pub fn map_each(&mut self, holder: Holder, wishes: &[Wish]) -> Vec<Result<MapOrder, Refusal>> {
        let mut answers = Vec::with_capacity(wishes.len());
        for some in wishes.chunks(AHEAD) {
            self.read_wishes(holder, some);
            answers.extend(some.iter().map(|wish| self.map(holder, *wish)));
        }
        answers
    }

    /// Begins all of them or none.
    ///
    /// # Errors
    ///
    /// The first that was refused, by its place among the wishes, and why. Those before it are taken back:
    /// everything is as it was.
    pub fn map_all(
        &mut self,
        holder: Holder,
        wishes: &[Wish],
    ) -> Result<Vec<MapOrder>, (usize, Refusal)> {
        let mut orders = Vec::with_capacity(wishes.len());
        for (chunk, some) in wishes.chunks(AHEAD).enumerate() {
            self.read_wishes(holder, some);
            for (place, wish) in some.iter().enumerate() {
                match self.map(holder, *wish) {
                    Ok(order) => orders.push(order),
                    Err(refusal) => {
                        for order in orders {
                            // Nothing was done about it, and nobody waits for memory that only now is
                            // let go: what an owner waits for is not mapped.
                            self.not_mapped(order, Failed::Clean);
                        }
                        return Err((chunk * AHEAD + place, refusal));
                    }
                }
            }
        }
        Ok(orders)
    }

    /// Begins to remove several mappings, each as by [`Ledger::unmap`].
    pub fn unmap_each(
        &mut self,
        holder: Holder,
        which: &[Which],
    ) -> Vec<Result<RemoveOrder, Refusal>> {
        let mut answers = Vec::with_capacity(which.len());
        for some in which.chunks(AHEAD) {
            self.read_rows(holder, some);
            answers.extend(some.iter().map(|which| self.unmap(holder, *which)));
        }
        answers
    }

    fn read_wishes(&self, holder: Holder, wishes: &[Wish]) {
        let record = self.holders.get(holder.0, holder).ok();
        let space = record.and_then(|record| record.space.as_ref());
        for wish in wishes {
            if let (Some(space), Place::At(address)) = (space, wish.place) {
                black_box(space.get(address));
            }
            let owner = self.owners.get(wish.owner.0, wish.owner);
            black_box(owner.map(|record| record.count_of(wish.memory.first())).ok());
        }
    }

    fn read_rows(&self, holder: Holder, which: &[Which]) {
        let record = self.holders.get(holder.0, holder).ok();
        let space = record.and_then(|record| record.space.as_ref());
        let numbers: [Option<u32>; AHEAD] =
            std::array::from_fn(|place| match which.get(place)? {
                Which::Handle(handle) => Some(handle.0.place()),
                Which::At(span) => space?.get(span.first()),
            });
        for number in numbers.into_iter().flatten() {
            black_box(self.mappings.at(number).map(|(_, row)| row.phase()));
        }
    }

    /// Reads what letting go of these will change.
    pub(crate) fn read_counts(&self, handles: &[Handle]) {
        for handle in handles {
            let row = self.mappings.get(*handle).ok();
            let owner = row.and_then(|row| Some((row, self.owners.at(row.owner)?.1)));
            black_box(owner.map(|(row, of)| of.count_of(row.memory().first())));
        }
    }
}
