//! Finding out, before anything is changed, whether a change can be made and what it needs.

use ringfence_addr::{Hpa, Iova, Rights, Span};

use super::format::{Entry, Format};
use super::level::{Distance, Level};
use super::memory::Tables;

/// What is to become of pages that are mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// They go, and every page asked for must be there.
    Unmap,
    /// They go, where there are any.
    Clear,
    /// No more than these rights stay, and every page asked for must be there.
    Narrow(Rights),
}

impl Change {
    /// The rights that stay of `rights`, none if the page goes.
    #[inline]
    pub(crate) fn of(self, rights: Rights) -> Rights {
        match self {
            Self::Unmap | Self::Clear => Rights::NONE,
            Self::Narrow(most) => rights.narrow(most),
        }
    }
}

/// Why a change cannot be made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Obstacle {
    /// This page is mapped already.
    Mapped(Span<Iova>),
    /// From here on there is nothing to change.
    Missing(Span<Iova>),
    /// These pages have these rights, of which none would be left.
    Rightless(Span<Iova>, Rights),
}

/// A tree that is only looked at.
#[derive(Debug)]
pub(crate) struct Survey<'a, F, M> {
    pub(crate) format: &'a F,
    pub(crate) memory: &'a M,
}

impl<F: Format, M: Tables> Survey<'_, F, M> {
    /// How many tables it takes to map `span`, of which nothing may be mapped yet.
    pub(crate) fn map(
        &self,
        table: Option<Hpa>,
        level: Level,
        span: Span<Iova>,
        distance: Distance,
    ) -> Result<usize, Obstacle> {
        let mut tables = 0;
        if table.is_none() && level == Level::ONE {
            return Ok(tables);
        }
        for (index, part) in level.parts(span) {
            let entry = table.map_or(0, |table| self.memory.load(table, index));
            let (below, fresh) = match self.format.decode(entry, level) {
                Entry::Leaf(_) => return Err(Obstacle::Mapped(level.around(part.first()))),
                Entry::Table(next) => (Some(next), 0),
                Entry::Absent if is_leaf(self.format, level, part, distance) => continue,
                Entry::Absent => (None, 1),
            };
            if let Some(level) = level.below() {
                tables += fresh + self.map(below, level, part, distance)?;
            }
        }
        Ok(tables)
    }

    /// How many tables it takes to change `span`.
    pub(crate) fn change(
        &self,
        table: Hpa,
        level: Level,
        span: Span<Iova>,
        change: Change,
    ) -> Result<usize, Obstacle> {
        let mut tables = 0;
        for (index, part) in level.parts(span) {
            let entry = self.memory.load(table, index);
            match (self.format.decode(entry, level), level.below()) {
                (Entry::Absent, _) | (Entry::Table(_), None) => {
                    if !matches!(change, Change::Clear) {
                        return Err(Obstacle::Missing(part));
                    }
                }
                (Entry::Table(next), Some(below)) => {
                    tables += self.change(next, below, part, change)?;
                }
                (Entry::Leaf(_), _) => {
                    let rights = self.format.rights(entry);
                    let left = change.of(rights);
                    if matches!(change, Change::Narrow(_)) && left.is_empty() {
                        return Err(Obstacle::Rightless(part, rights));
                    }
                    if left != rights {
                        tables += tables_to_cut(level, part);
                    }
                }
            }
        }
        Ok(tables)
    }
}

/// Whether `part`, which lies in one entry, can be a page of that level.
#[inline]
pub(crate) fn is_leaf<F: Format>(
    format: &F,
    level: Level,
    part: Span<Iova>,
    distance: Distance,
) -> bool {
    level <= format.shape().largest && level.is_whole(part) && distance.keeps(level)
}

/// How many tables stand in for a page of `level` of which `part` is to be different.
fn tables_to_cut(level: Level, part: Span<Iova>) -> usize {
    match level.below() {
        Some(below) if !level.is_whole(part) => {
            1 + below.parts(part).map(|(_, piece)| tables_to_cut(below, piece)).sum::<usize>()
        }
        _ => 0,
    }
}
