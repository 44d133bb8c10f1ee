//! The model: for each of 256 addresses a value and whether a span starts there.

use std::vec::Vec;

use super::super::*;
use crate::Tiny;

/// A change to a map and its model.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Insert(Span<Tiny>, char),
    TryInsert(Span<Tiny>, char),
    Remove(Span<Tiny>),
    RemoveExact(Span<Tiny>),
    Coalesce,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cell {
    value: char,
    starts: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Model {
    cells: Vec<Option<Cell>>,
}

fn cells(span: Span<Tiny>) -> core::ops::RangeInclusive<usize> {
    span.first().raw().into()..=span.last().raw().into()
}

impl Model {
    pub(super) fn new() -> Self {
        Self { cells: std::vec![None; 256] }
    }

    /// The spans and values, read off the cells.
    pub(super) fn entries(&self) -> Vec<(Span<Tiny>, char)> {
        let mut entries: Vec<(Span<Tiny>, char)> = Vec::new();
        let mut open = false;
        for (raw, cell) in (0..=255).map(Tiny::new).zip(&self.cells) {
            match (cell, entries.last_mut()) {
                (Some(cell), Some((span, _))) if open && !cell.starts => {
                    *span = Span::new(span.first(), raw).expect("ascending");
                }
                (Some(cell), _) => entries.push((Span::of(raw), cell.value)),
                (None, _) => {}
            }
            open = cell.is_some();
        }
        entries
    }

    fn fill(&mut self, span: Span<Tiny>, value: Option<char>) {
        // What goes on above the span starts there now.
        if let Some(Some(above)) = self.cells.get_mut(cells(span).end() + 1) {
            above.starts = true;
        }
        for raw in cells(span) {
            let starts = raw == *cells(span).start();
            self.cells[raw] = value.map(|value| Cell { value, starts });
        }
    }

    /// Takes the step with both, and compares what they answer.
    pub(super) fn step(&mut self, map: &mut SpanMap<Tiny, char>, step: Step) {
        let overlapping = |model: &Self, span: Span<Tiny>| {
            model.entries().into_iter().filter(move |(entry, _)| entry.overlaps(&span))
        };
        match step {
            Step::Insert(span, value) => {
                map.insert(span, value);
                self.fill(span, Some(value));
            }
            Step::TryInsert(span, value) => {
                let in_the_way = overlapping(self, span).next();
                let expected = match in_the_way {
                    Some((by, _)) => Err(Occupied { wanted: span, by }),
                    None => Ok(()),
                };
                assert_eq!(map.try_insert(span, value), expected);
                if expected.is_ok() {
                    self.fill(span, Some(value));
                }
            }
            Step::Remove(span) => {
                let pieces: Vec<_> = overlapping(self, span)
                    .filter_map(|(entry, value)| Some((entry.intersection(&span)?, value)))
                    .collect();
                assert_eq!(map.remove(span), pieces);
                self.fill(span, None);
            }
            Step::RemoveExact(span) => {
                let found = self.entries().into_iter().find(|(entry, _)| *entry == span);
                assert_eq!(map.remove_exact(span), found.map(|(_, value)| value));
                if found.is_some() {
                    self.fill(span, None);
                }
            }
            Step::Coalesce => {
                map.coalesce();
                for raw in 1..self.cells.len() {
                    let below = self.cells[raw - 1];
                    if let Some(cell) = &mut self.cells[raw] {
                        cell.starts &= below.map(|below| below.value) != Some(cell.value);
                    }
                }
            }
        }
    }

    /// Panics unless the map holds what the model does.
    pub(super) fn compare_entries(&self, map: &SpanMap<Tiny, char>) {
        let entries = self.entries();
        assert!(map.iter().map(|(span, value)| (span, *value)).eq(entries.iter().copied()));
        assert!(map.clone().into_iter().eq(entries.iter().copied()));
        assert_eq!(map.len(), entries.len());
        assert_eq!(map.is_empty(), entries.is_empty());
    }

    /// Panics unless the map answers for this address as the model does.
    pub(super) fn compare_at(&self, map: &mut SpanMap<Tiny, char>, address: Tiny) {
        let found = self.entries().into_iter().find(|(span, _)| span.contains(address));
        assert_eq!(map.get(address).map(|(span, value)| (span, *value)), found);
        assert_eq!(map.get_mut(address).map(|(span, value)| (span, *value)), found);
    }

    /// Panics unless the map answers for this span as the model does.
    pub(super) fn compare_within(&self, map: &SpanMap<Tiny, char>, span: Span<Tiny>) {
        let entries = self.entries();
        let filled = cells(span).filter(|raw| self.cells[*raw].is_some()).count();
        assert_eq!(map.covers(span), filled == cells(span).count(), "{map:?} and {span}");
        assert_eq!(map.overlaps(span), filled > 0, "{map:?} and {span}");

        let overlapping = map.overlapping(span).map(|(span, value)| (span, *value));
        assert!(overlapping.eq(entries.iter().copied().filter(|(one, _)| one.overlaps(&span))));

        let exact = entries.iter().find(|(entry, _)| *entry == span);
        assert_eq!(map.get_exact(span), exact.map(|(_, value)| value));

        let mut free = [false; 256];
        let mut below: Option<Span<Tiny>> = None;
        for gap in map.gaps(span) {
            assert!(below.is_none_or(|below| below < gap && below.join(&gap).is_none()));
            free[cells(gap)].fill(true);
            below = Some(gap);
        }
        for (raw, free) in free.into_iter().enumerate() {
            let expected = cells(span).contains(&raw) && self.cells[raw].is_none();
            assert_eq!(free, expected, "{map:?} and {span} at {raw:#x}");
        }
    }
}
