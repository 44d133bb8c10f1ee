//! Letting go: how a mapping leaves the books, and how those of some memory are found.

use ringfence_addr::{Address as _, Gpa, Span};

use crate::entry::Lead;
use crate::frames::FRAME_BYTES;
use crate::id::{Handle, Holder, Owner};
use crate::ledger::Ledger;
use crate::mapping::Phase;
use crate::retire::{Released, Retired};
use crate::row::Row;

impl Ledger {
    /// Takes mappings out of the books altogether, and with them what they counted.
    pub(crate) fn let_go(&mut self, handles: impl IntoIterator<Item = Handle>) -> Released {
        let (mut gone, mut waiting) = (Vec::new(), Vec::new());
        for handle in handles {
            let Some(row) = self.mappings.remove(handle) else { continue };
            self.forget(handle, &row, &mut waiting);
            if let Some((_, record)) = self.holders.at_mut(row.holder)
                && let (Some(space), Some(bus)) = (&mut record.space, row.bus())
            {
                space.give_back(bus);
            }
            gone.push(handle);
        }
        Released { gone, retired: self.settle_retirements(waiting) }
    }

    /// The same for all that a holder has, but what is still being made.
    pub(crate) fn let_go_of_all(&mut self, holder: Holder) -> Released {
        let Ok(record) = self.holders.get(holder.0, holder) else { return Released::default() };
        let mut left = record.mappings;
        let mut gone = Vec::with_capacity(usize::try_from(left).unwrap_or(0));
        let (mut begun, mut waiting) = (Vec::new(), Vec::new());
        for number in 0..self.mappings.len() {
            if left == 0 {
                break;
            }
            let Some((handle, row)) = self.mappings.at(number) else { continue };
            if row.holder != holder.0.place() {
                continue;
            }
            left -= 1;
            if row.phase() == Phase::Begun {
                begun.push((number, *row));
                continue;
            }
            let Some(row) = self.mappings.remove(handle) else { continue };
            self.forget(handle, &row, &mut waiting);
            gone.push(handle);
        }
        self.give_back_all_but(holder, &begun);
        Released { gone, retired: self.settle_retirements(waiting) }
    }

    /// Takes back all of a holder's bus addresses but those of these mappings.
    fn give_back_all_but(&mut self, holder: Holder, begun: &[(u32, Row)]) {
        let Ok(record) = self.holders.get_mut(holder.0, holder) else { return };
        let Some(space) = &mut record.space else { return };
        space.give_all_back();
        for (number, row) in begun {
            let target = self.owners.at(row.owner);
            let target = target.and_then(|(id, _)| record.targets.get_mut(Owner(id)));
            if let (Some((target, _)), Some(bus)) = (target, row.bus()) {
                space.take(bus, *number, Lead::new(row.memory(), target == 0, row.rights()));
            }
        }
    }

    /// Takes what a mapping that is no more counted out of the books, all but its bus addresses.
    #[inline]
    fn forget(&mut self, handle: Handle, row: &Row, waiting: &mut Vec<Retired>) {
        let (memory, number) = (row.memory(), handle.0.place());
        let first = self.mappings.unlink(number, row);
        let Some((id, record)) = self.owners.at_mut(row.owner) else { return };
        let owner = Owner(id);
        // Where mappings begin is kept with the counts: it has to be changed before they are gone.
        match (record.begins_mut(memory), first) {
            (Some(begins), Some(first)) => *begins = first,
            (Some(_), None) => {}
            (None, _) => drop(record.long.remove(&(row.frames().ilog2(), memory.first(), number))),
        }
        record.uncount(memory, row.count());
        if !record.retiring.is_empty() {
            let overlapping = record.retiring.overlapping(memory);
            waiting.extend(overlapping.map(|(memory, _)| Retired { owner, memory }));
        }
        if let Some((_, holder)) = self.holders.at_mut(row.holder) {
            holder.mappings -= 1;
            if let Some((_, target)) = holder.targets.get_mut(owner) {
                target.mapped_frames -= row.frames();
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
