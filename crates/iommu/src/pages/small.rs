//! Spans that lie in one table of the lowest level, which is there: nearly all there are.
//!
//! They take no table and leave none empty, so that looking and changing is one loop each, over entries
//! side by side. Whatever is not so is the business of [`super::survey`] and [`super::edit`].

use std::ops::RangeInclusive;

use ringfence_addr::{Hpa, Iova, Rights, Span};

use super::format::{Entry, Format};
use super::level::Level;
use super::memory::TableMemory;
use super::stale::Stale;
use super::survey::{Change, Obstacle};
use super::walk::{Leaf, lowest_table};

/// A run of entries of one table.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    table: Hpa,
    entries: RangeInclusive<usize>,
    span: Span<Iova>,
}

impl Run {
    /// The run of `span`, unless it is more than a part of one table.
    #[inline]
    pub(crate) fn find<F: Format, M: TableMemory>(
        format: &F,
        memory: &M,
        root: Hpa,
        span: Span<Iova>,
    ) -> Option<Self> {
        let is_part = !Level::TWO.is_whole(span)
            && (span.first().get() ^ span.last().get()) & !Level::TWO.mask() == 0;
        let table = lowest_table(format, memory, root, span.first()).filter(|_| is_part)?;
        Some(Self::of(table, span))
    }

    /// The run of `span` in the table of the lowest level that translates all of it.
    #[inline]
    pub(crate) fn of(table: Hpa, span: Span<Iova>) -> Self {
        let entries = Level::ONE.index(span.first())..=Level::ONE.index(span.last());
        Self { table, entries, span }
    }

    /// How many pages.
    #[inline]
    pub(crate) fn pages(&self) -> u16 {
        let pages = self.entries.end() - self.entries.start() + 1;
        u16::try_from(pages).expect("a table has 512 entries")
    }

    fn page(&self, index: usize) -> Span<Iova> {
        let number = u64::try_from(index - self.entries.start()).unwrap_or(0);
        let first = self.span.first().get() + (number << Level::ONE.size().bytes().ilog2());
        Level::ONE.around(Iova::new(first))
    }

    /// Maps all of it, if nothing of it is mapped.
    #[inline]
    pub(crate) fn map<F: Format, M: TableMemory>(
        &self,
        format: &F,
        memory: &mut M,
        to: Hpa,
        rights: Rights,
    ) -> Result<(), Obstacle> {
        for index in self.entries.clone() {
            if format.decode(memory.load(self.table, index), Level::ONE) != Entry::Absent {
                return Err(Obstacle::Mapped(self.page(index)));
            }
        }
        let (first, pages) = (*self.entries.start(), self.pages());
        // Consecutive frames: what differs between two entries is the frame.
        let entry = format.leaf(to, rights, Level::ONE);
        let step = Level::ONE.size().bytes();
        if pages == 1 {
            memory.store(self.table, first, entry);
        } else {
            let entries = (0..u64::from(pages)).map(|page| entry + page * step);
            memory.store_run(self.table, first, entries);
        }
        *memory.present(self.table) += pages;
        Ok(())
    }

    /// Makes `change` to all of it, if it can be made to all of it and leaves something in the table;
    /// `None` says that it does not.
    #[inline]
    pub(crate) fn change<F: Format, M: TableMemory>(
        &self,
        format: &F,
        memory: &mut M,
        change: Change,
        stale: &mut Stale,
        changed: &mut impl FnMut(Leaf),
    ) -> Option<()> {
        if *memory.present(self.table) <= self.pages() {
            return None;
        }
        for index in self.entries.clone() {
            let entry = memory.load(self.table, index);
            let rights = format.rights(entry);
            let is_there = format.decode(entry, Level::ONE) != Entry::Absent;
            let is_left = !matches!(change, Change::Narrow(_)) || !change.of(rights).is_empty();
            // Why it cannot be done is said elsewhere.
            if !is_left || !is_there && !matches!(change, Change::Clear) {
                return None;
            }
        }
        self.apply(format, memory, change, stale, changed);
        Some(())
    }

    /// Makes `change` to whatever is mapped of it.
    #[inline]
    pub(crate) fn apply<F: Format, M: TableMemory>(
        &self,
        format: &F,
        memory: &mut M,
        change: Change,
        stale: &mut Stale,
        changed: &mut impl FnMut(Leaf),
    ) {
        let (mut removed, mut ends) = (0, None);
        for index in self.entries.clone() {
            let entry = memory.load(self.table, index);
            let Entry::Leaf(frame) = format.decode(entry, Level::ONE) else { continue };
            let rights = format.rights(entry);
            let left = change.of(rights);
            if left == rights {
                continue;
            }
            let (first, _) = ends.unwrap_or((index, index));
            ends = Some((first, index));
            changed(Leaf { pages: self.page(index), frame, rights });
            if left.is_empty() {
                memory.store(self.table, index, 0);
                removed += 1;
            } else {
                memory.store(self.table, index, format.leaf(frame, left, Level::ONE));
            }
        }
        // I7, I8: every entry that was changed lies between the first and the last of them.
        if let Some((first, last)) = ends {
            stale.add(self.page(first));
            stale.add(self.page(last));
        }
        *memory.present(self.table) -= removed;
        stale.count(removed.into());
    }
}
