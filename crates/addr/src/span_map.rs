//! Values by the spans of addresses they hold for.
//!
//! Spans of a map never overlap. Touching neighbours stay apart, even with equal values, until
//! [`SpanMap::coalesce`] joins them: two grants side by side are two grants.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::{Address, Gaps, Span, SpanSet};

/// Values of type `V` by disjoint spans of the space `A`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpanMap<A, V> {
    /// First address to last address and value.
    entries: BTreeMap<A, (A, V)>,
}

/// A span could not be inserted because part of it is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Occupied<A: Address> {
    /// The span that was to be inserted.
    pub wanted: Span<A>,
    /// The first span of the map in its way.
    pub by: Span<A>,
}

impl<A: Address, V> SpanMap<A, V> {
    /// The map of nothing.
    pub const fn new() -> Self {
        Self { entries: BTreeMap::new() }
    }

    /// How many spans there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no spans.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes everything away.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// The value at `address` and the span it holds for.
    #[inline]
    pub fn get(&self, address: A) -> Option<(Span<A>, &V)> {
        let (first, (last, value)) = self.entries.range(..=address).next_back()?;
        (address <= *last).then(|| (entry_span(*first, *last), value))
    }

    /// The value at `address`, to change, and the span it holds for.
    #[inline]
    pub fn get_mut(&mut self, address: A) -> Option<(Span<A>, &mut V)> {
        let (first, (last, value)) = self.entries.range_mut(..=address).next_back()?;
        (address <= *last).then(|| (entry_span(*first, *last), value))
    }

    /// The value of exactly this span.
    pub fn get_exact(&self, span: Span<A>) -> Option<&V> {
        let (last, value) = self.entries.get(&span.first())?;
        (*last == span.last()).then_some(value)
    }

    /// Whether any address of `span` has a value.
    #[inline]
    pub fn overlaps(&self, span: Span<A>) -> bool {
        // Of the spans that start below its end, the highest ends last.
        let highest = self.entries.range(..=span.last()).next_back();
        highest.is_some_and(|(_, (last, _))| *last >= span.first())
    }

    /// Whether every address of `span` has a value, be it one or several.
    pub fn covers(&self, span: Span<A>) -> bool {
        self.gaps(span).next().is_none()
    }

    /// Where the first span that shares addresses with `span` starts, if one reaches in from
    /// below, and the start of `span` otherwise.
    fn overlap_start(&self, span: Span<A>) -> A {
        let below = self.entries.range(..=span.first()).next_back();
        match below {
            Some((first, (last, _))) if *last >= span.first() => *first,
            _ => span.first(),
        }
    }

    /// The spans that share addresses with `span`, whole, ascending, with their values.
    pub fn overlapping(
        &self,
        span: Span<A>,
    ) -> impl DoubleEndedIterator<Item = (Span<A>, &V)> + Clone {
        self.entries
            .range(self.overlap_start(span)..=span.last())
            .map(|(first, (last, value))| (entry_span(*first, *last), value))
    }

    /// The addresses of `within` that have no value, as spans, ascending.
    pub fn gaps(&self, within: Span<A>) -> impl Iterator<Item = Span<A>> + Clone {
        Gaps::new(within, self.overlapping(within).map(|(span, _)| span))
    }

    /// The spans with their values, ascending.
    pub fn iter(
        &self,
    ) -> impl DoubleEndedIterator<Item = (Span<A>, &V)> + ExactSizeIterator + Clone {
        self.entries.iter().map(|(first, (last, value))| (entry_span(*first, *last), value))
    }

    /// The spans with their values to change, ascending.
    pub fn iter_mut(
        &mut self,
    ) -> impl DoubleEndedIterator<Item = (Span<A>, &mut V)> + ExactSizeIterator {
        self.entries.iter_mut().map(|(first, (last, value))| (entry_span(*first, *last), value))
    }

    /// The addresses that have a value.
    pub fn to_set(&self) -> SpanSet<A> {
        self.iter().map(|(span, _)| span).collect()
    }

    /// Gives `span` a value if no address of it has one yet.
    ///
    /// # Errors
    /// Names the first span in the way, and changes nothing.
    pub fn try_insert(&mut self, span: Span<A>, value: V) -> Result<(), Occupied<A>> {
        if self.overlaps(span) {
            let in_the_way = self.overlapping(span).next();
            let (by, _) = in_the_way.expect("something overlaps");
            return Err(Occupied { wanted: span, by });
        }
        self.entries.insert(span.first(), (span.last(), value));
        Ok(())
    }

    /// Takes exactly this span away and returns its value; `None`, and no change, if the map has
    /// no such span.
    pub fn remove_exact(&mut self, span: Span<A>) -> Option<V> {
        self.get_exact(span)?;
        self.entries.remove(&span.first()).map(|(_, value)| value)
    }

    /// Keeps the spans for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Span<A>, &mut V) -> bool) {
        self.entries.retain(|first, (last, value)| keep(entry_span(*first, *last), value));
    }

    /// Joins neighbours that touch and have equal values.
    pub fn coalesce(&mut self)
    where
        V: Eq,
    {
        let mut joined: Vec<(Span<A>, V)> = Vec::with_capacity(self.len());
        for (span, value) in core::mem::take(self) {
            match joined.last_mut() {
                Some((below, same)) if *same == value && below.touches(&span) => {
                    *below = entry_span(below.first(), span.last());
                }
                _ => joined.push((span, value)),
            }
        }
        self.entries =
            joined.into_iter().map(|(span, value)| (span.first(), (span.last(), value))).collect();
    }
}

impl<A: Address, V: Clone> SpanMap<A, V> {
    /// Gives every address of `span` this value, whatever was there; what reaches out of `span`
    /// is cut off and stays.
    pub fn insert(&mut self, span: Span<A>, value: V) {
        if self.overlaps(span) {
            self.carve(span, |_, _| ());
        }
        self.entries.insert(span.first(), (span.last(), value));
    }

    /// Takes the values of every address of `span` away and returns the pieces, ascending; what
    /// reaches out of `span` is cut off and stays.
    pub fn remove(&mut self, span: Span<A>) -> Vec<(Span<A>, V)> {
        let mut removed = Vec::new();
        if self.overlaps(span) {
            self.carve(span, |piece, value| removed.push((piece, value)));
        }
        removed
    }

    /// Cuts at both ends of `span`, then takes out what lies between, ascending.
    fn carve(&mut self, span: Span<A>, mut taken: impl FnMut(Span<A>, V)) {
        self.cut(span.first());
        if let Some(above) = span.last().checked_add(1) {
            self.cut(above);
        }
        while let Some((first, _)) = self.entries.range(span.first()..=span.last()).next() {
            let first = *first;
            let entry = self.entries.remove(&first);
            let (last, value) = entry.expect("the entry was just found");
            taken(entry_span(first, last), value);
        }
    }

    /// Makes a span that holds both `address` and the address below it into two.
    fn cut(&mut self, address: A) {
        let Some((span, value)) = self.get(address) else { return };
        let Some((below, above)) = span.split_at(address) else { return };
        let value = value.clone();
        if let Some((last, _)) = self.entries.get_mut(&below.first()) {
            *last = below.last();
        }
        self.entries.insert(above.first(), (above.last(), value));
    }
}

/// A span from an entry of the tree.
#[inline]
fn entry_span<A: Address>(first: A, last: A) -> Span<A> {
    Span::new(first, last).expect("every entry was a span")
}

impl<A: Address, V> Default for SpanMap<A, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Address, V> IntoIterator for SpanMap<A, V> {
    type Item = (Span<A>, V);
    type IntoIter = IntoSpans<A, V>;

    fn into_iter(self) -> IntoSpans<A, V> {
        IntoSpans(self.entries.into_iter())
    }
}

/// The spans of a map with their values, ascending.
#[derive(Debug)]
pub struct IntoSpans<A, V>(alloc::collections::btree_map::IntoIter<A, (A, V)>);

impl<A: Address, V> Iterator for IntoSpans<A, V> {
    type Item = (Span<A>, V);

    fn next(&mut self) -> Option<(Span<A>, V)> {
        let (first, (last, value)) = self.0.next()?;
        Some((entry_span(first, last), value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<A: Address, V: fmt::Debug> fmt::Debug for SpanMap<A, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl<A: Address> fmt::Display for Occupied<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} overlaps {}, which is taken", self.wanted, self.by)
    }
}

impl<A: Address> core::error::Error for Occupied<A> {}

#[cfg(test)]
mod tests;
