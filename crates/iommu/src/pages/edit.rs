//! Changing a tree, once it is known that it can be done.
//!
//! Invariant `I12`, invariant `I13`: every change that a walker can see is one store of one entry, and what
//! that entry leads to is complete before. A walker finds what was there or what is there now.

use ringfence_addr::{Hpa, Iova, Rights, Span};

use super::format::{Entry, Format};
use super::level::{Distance, Level};
use super::memory::TableMemory;
use super::small::Run;
use super::stale::Stale;
use super::survey::{Change, is_leaf};
use super::walk::Leaf;

/// A change under way.
#[derive(Debug)]
pub(crate) struct Edit<'a, F, M> {
    pub(crate) format: &'a F,
    pub(crate) memory: &'a mut M,
    /// As many tables as the survey said it takes.
    pub(crate) spare: Vec<Hpa>,
    pub(crate) stale: Stale,
}

impl<F: Format, M: TableMemory> Edit<'_, F, M> {
    fn take_table(&mut self) -> Hpa {
        self.spare.pop().expect("the survey counted the tables")
    }

    /// Maps `span`, of which nothing is mapped.
    pub(crate) fn map(
        &mut self,
        table: Hpa,
        level: Level,
        span: Span<Iova>,
        distance: Distance,
        rights: Rights,
    ) {
        let Some(below) = level.below() else {
            let run = Run::of(table, span);
            let mapped = run.map(self.format, self.memory, distance.apply(span.first()), rights);
            return mapped.expect("the survey found nothing mapped");
        };
        for (index, part) in level.parts(span) {
            match self.format.decode(self.memory.load(table, index), level) {
                Entry::Table(next) => self.map(next, below, part, distance, rights),
                Entry::Leaf(_) => unreachable!("the survey found nothing mapped"),
                Entry::Absent => {
                    let entry = if is_leaf(self.format, level, part, distance) {
                        self.format.leaf(distance.apply(part.first()), rights, level)
                    } else {
                        let next = self.take_table();
                        self.map(next, below, part, distance, rights);
                        self.format.table(next, level)
                    };
                    self.memory.store(table, index, entry);
                    *self.memory.present(table) += 1;
                }
            }
        }
    }

    /// Makes `change` to what is mapped in `span`; `changed` is told of each piece as it was.
    pub(crate) fn change(
        &mut self,
        table: Hpa,
        level: Level,
        span: Span<Iova>,
        change: Change,
        changed: &mut impl FnMut(Leaf),
    ) {
        let Some(below) = level.below() else {
            let run = Run::of(table, span);
            return run.apply(self.format, self.memory, change, &mut self.stale, changed);
        };
        for (index, part) in level.parts(span) {
            let entry = self.memory.load(table, index);
            match self.format.decode(entry, level) {
                Entry::Absent => {}
                Entry::Table(next) => {
                    self.change(next, below, part, change, changed);
                    if *self.memory.present(next) == 0 {
                        self.remove(table, index);
                        self.stale.unlink(next);
                    }
                }
                Entry::Leaf(frame) => {
                    let rights = self.format.rights(entry);
                    let leaf = Leaf { pages: level.around(part.first()), frame, rights };
                    self.change_leaf(table, index, level, leaf, part, change, changed);
                }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the place of an entry, and what is in it")]
    #[inline]
    fn change_leaf(
        &mut self,
        table: Hpa,
        index: usize,
        level: Level,
        leaf: Leaf,
        part: Span<Iova>,
        change: Change,
        changed: &mut impl FnMut(Leaf),
    ) {
        let left = change.of(leaf.rights);
        if left == leaf.rights {
            return;
        }
        // I7, I8: the entry as a whole is what an IOMMU remembers.
        self.stale.add(leaf.pages);
        if let Some(piece) = leaf.within(part) {
            changed(piece);
        }
        if !level.is_whole(part) {
            let next = self.cut(level, leaf, part, left);
            self.memory.store(table, index, self.format.table(next, level));
            self.stale.linked();
        } else if left.is_empty() {
            self.remove(table, index);
        } else {
            self.memory.store(table, index, self.format.leaf(leaf.frame, left, level));
        }
        if left.is_empty() {
            let last = part.last().get() - part.first().get();
            self.stale.count((last >> Level::ONE.size().bytes().trailing_zeros()) + 1);
        }
    }

    #[inline]
    fn remove(&mut self, table: Hpa, index: usize) {
        self.memory.store(table, index, 0);
        *self.memory.present(table) -= 1;
    }

    /// A table that stands for the page `leaf` of `level`, in which `part` has no more than `left`.
    fn cut(&mut self, level: Level, leaf: Leaf, part: Span<Iova>, left: Rights) -> Hpa {
        let table = self.take_table();
        let below = level.below().expect("pages of 4 KiB are not cut");
        for (index, pages) in below.parts(leaf.pages) {
            let piece = leaf.within(pages).expect("it is a piece of it");
            let rights = match pages.intersection(&part) {
                None => leaf.rights,
                Some(inner) if inner == pages => left,
                Some(inner) => {
                    let next = self.cut(below, piece, inner, left);
                    self.memory.store(table, index, self.format.table(next, below));
                    *self.memory.present(table) += 1;
                    continue;
                }
            };
            if !rights.is_empty() {
                self.memory.store(table, index, self.format.leaf(piece.frame, rights, below));
                *self.memory.present(table) += 1;
            }
        }
        table
    }
}
