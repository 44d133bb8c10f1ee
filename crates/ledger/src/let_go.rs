//! Letting go: how a mapping leaves the books, and how those of some memory are found.

use ringfence_addr::{Address as _, Gpa, Span};

use crate::entry::Lead;
use crate::frames::FRAME_BYTES;
use crate::id::{Handle, Holder, Owner};
use crate::ledger::Ledger;
use crate::mapping::Phase;
use crate::owner::OwnerRecord;
use crate::retire::{Released, Retired};
use crate::row::Row;

impl Ledger {
    /// Takes mappings out of the books altogether, and with them what they counted.
    pub(crate) fn let_go(&mut self, handles: impl IntoIterator<Item = Handle>) -> Released {
        let handles = handles.into_iter();
        let (mut gone, mut waiting) = (Vec::with_capacity(handles.size_hint().0), Vec::new());
        for handle in handles {
            let Some(row) = self.mappings.remove(handle) else { continue };
            let number = handle.0.place();
            let first = self.mappings.unlink(number, &row);
            let Some((id, of)) = self.owners.at_mut(row.owner) else { continue };
            forget(number, &row, first, (Owner(id), of), &mut waiting);
            if let Some((_, record)) = self.holders.at_mut(row.holder) {
                record.forget(number, Owner(id), row.frames());
                if let (Some(space), Some(bus)) = (&mut record.space, row.bus()) {
                    space.give_back(bus);
                }
            }
            gone.push(handle);
        }
        Released { gone, retired: self.settle_retirements(waiting) }
    }

    /// The same for all that a holder has, but what is still being made, and what was made too late.
    pub(crate) fn let_go_of_all(&mut self, holder: Holder) -> Released {
        let Ok(record) = self.holders.get_mut(holder.0, holder) else { return Released::default() };
        let (mut kept, mut waiting) = (Vec::new(), Vec::new());
        let late = std::mem::take(&mut record.late);
        let is_kept = |number: u32, row: &Row| {
            let is_kept = row.phase() == Phase::Begun || !late.is_empty() && late.contains(&number);
            if is_kept {
                kept.push((number, *row));
            }
            is_kept
        };
        let (owners, count) = (&mut self.owners, record.mappings);
        let gone =
            self.mappings.remove_all((holder.0.place(), count), is_kept, |number, row, first| {
                let Some((id, of)) = owners.at_mut(row.owner) else { return };
                forget(number, row, first, (Owner(id), of), &mut waiting);
                record.forget(number, Owner(id), row.frames());
            });
        record.late = late;
        self.give_back_all_but(holder, &kept);
        Released { gone, retired: self.settle_retirements(waiting) }
    }

    /// Takes back all of a holder's bus addresses but those of these mappings.
    fn give_back_all_but(&mut self, holder: Holder, kept: &[(u32, Row)]) {
        let Ok(record) = self.holders.get_mut(holder.0, holder) else { return };
        let Some(space) = &mut record.space else { return };
        space.give_all_back();
        for (number, row) in kept {
            let target = self.owners.at(row.owner);
            let target = target.and_then(|(id, _)| record.targets.get_mut(Owner(id)));
            if let (Some((target, _)), Some(bus)) = (target, row.bus()) {
                space.take(bus, *number, Lead::new(row.memory(), target == 0, row.rights()));
            }
        }
    }

    /// Every mapping that has any frame of `span`, in no order.
    pub(crate) fn for_each_of(&self, owner: Owner, span: Span<Gpa>, mut with: impl FnMut(&Row)) {
        let Ok(record) = self.owners.get(owner.0, owner) else { return };
        for (region, frames) in &record.regions {
            let Some(part) = region.intersection(&span) else { continue };
            for first in frames.begins(part) {
                let found = self.mappings.chain(first).map(|(_, row)| row);
                found.filter(|row| row.memory().overlaps(&span)).for_each(&mut with);
            }
        }
        // A long one of so many bits may begin that far below.
        let mut bits = 0;
        while let Some((found, ..)) = record.long.range((bits, Gpa::FIRST, 0)..).next() {
            bits = *found;
            let reach = FRAME_BYTES << (bits + 1);
            let from = span.first().checked_sub(reach).unwrap_or(Gpa::FIRST);
            let range = (bits, from, 0)..=(bits, span.last(), u32::MAX);
            let found =
                record.long.range(range).filter_map(|(_, _, number)| self.mappings.at(*number));
            found
                .map(|(_, row)| row)
                .filter(|row| row.memory().overlaps(&span))
                .for_each(&mut with);
            bits += 1;
        }
    }
}

/// Takes what a mapping that is no more counted out of the books of its owner.
///
/// Invariant `I16`: as much as was put in, from where it was put: what its row says.
#[inline]
fn forget(
    number: u32,
    row: &Row,
    first: Option<u32>,
    (owner, of): (Owner, &mut OwnerRecord),
    waiting: &mut Vec<Retired>,
) {
    let memory = row.memory();
    of.end(memory, row.count(), number, first);
    if !of.retiring.is_empty() {
        let overlapping = of.retiring.overlapping(memory);
        waiting.extend(overlapping.map(|(memory, _)| Retired { owner, memory }));
    }
}
