//! Sets of addresses, kept as spans.
//!
//! A set has one form: its spans neither overlap nor touch, so two sets with the same addresses
//! are equal.

use alloc::collections::BTreeMap;
use core::fmt;

use crate::{Address, Gaps, Span};

/// A set of addresses of the space `A`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpanSet<A> {
    /// First address to last address of each span.
    spans: BTreeMap<A, A>,
}

impl<A: Address> SpanSet<A> {
    /// The set of no addresses.
    pub const fn new() -> Self {
        Self { spans: BTreeMap::new() }
    }

    /// The set of every address of the space.
    pub fn whole() -> Self {
        Self::from(Span::whole())
    }

    /// Whether there are no addresses.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many bytes there are.
    pub fn length(&self) -> u128 {
        self.iter().map(|span| span.length()).sum()
    }

    /// The highest span that starts at or below `address`.
    fn at_or_below(&self, address: A) -> Option<Span<A>> {
        self.spans.range(..=address).next_back().map(member)
    }

    /// The span of the set that `address` is in.
    pub fn get(&self, address: A) -> Option<Span<A>> {
        self.at_or_below(address).filter(|span| span.contains(address))
    }

    /// Whether `address` is in the set.
    pub fn contains(&self, address: A) -> bool {
        self.get(address).is_some()
    }

    /// Whether every address of `span` is in the set.
    pub fn encloses(&self, span: &Span<A>) -> bool {
        // Spans of a set do not touch: one of them encloses it or none do together.
        self.at_or_below(span.first()).is_some_and(|member| member.encloses(span))
    }

    /// Whether any address of `span` is in the set.
    pub fn overlaps(&self, span: &Span<A>) -> bool {
        self.at_or_below(span.last()).is_some_and(|member| member.overlaps(span))
    }

    /// Adds the addresses of `span`.
    pub fn insert(&mut self, span: Span<A>) {
        let mut whole = span;
        if let Some(joined) = self.at_or_below(span.first()).and_then(|below| below.join(&span)) {
            whole = joined;
        }
        // The one below goes, too, if it was joined: it is the first that starts in `whole`.
        while let Some(next) = self.spans.range(whole.first()..).next().map(member) {
            let Some(joined) = whole.join(&next) else { break };
            self.spans.remove(&next.first());
            whole = joined;
        }
        self.spans.insert(whole.first(), whole.last());
    }

    /// Takes the addresses of `span` away.
    pub fn remove(&mut self, span: Span<A>) {
        while let Some(member) = self.at_or_below(span.last()).filter(|one| one.overlaps(&span)) {
            self.spans.remove(&member.first());
            for kept in member.minus(&span).into_iter().flatten() {
                self.spans.insert(kept.first(), kept.last());
            }
        }
    }

    /// The spans, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Span<A>> + ExactSizeIterator + Clone {
        self.spans.iter().map(member)
    }

    /// The spans that share addresses with `span`, whole, ascending.
    pub fn overlapping(&self, span: Span<A>) -> impl DoubleEndedIterator<Item = Span<A>> + Clone {
        let reaching_in = self.at_or_below(span.first()).filter(|member| member.overlaps(&span));
        let from = reaching_in.map_or(span.first(), |member| member.first());
        self.spans.range(from..=span.last()).map(member)
    }

    /// The addresses of `within` that are not in the set, as spans, ascending.
    pub fn gaps(&self, within: Span<A>) -> impl Iterator<Item = Span<A>> + Clone {
        Gaps::new(within, self.overlapping(within))
    }

    /// Every address of the space that is not in the set.
    #[must_use]
    pub fn complement(&self) -> Self {
        Self::from_canonical(self.gaps(Span::whole()))
    }

    /// The addresses in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.extend(other.iter());
        union
    }

    /// The addresses in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self::from_canonical(self.iter().flat_map(|mine| {
            other.overlapping(mine).filter_map(move |theirs| mine.intersection(&theirs))
        }))
    }

    /// The addresses of this set that are not in `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        Self::from_canonical(self.iter().flat_map(|mine| other.gaps(mine)))
    }

    /// Builds from spans that already neither overlap nor touch.
    fn from_canonical(spans: impl Iterator<Item = Span<A>>) -> Self {
        Self { spans: spans.map(|span| (span.first(), span.last())).collect() }
    }
}

/// A span from an entry of the tree.
fn member<A: Address>((first, last): (&A, &A)) -> Span<A> {
    Span::new(*first, *last).expect("every entry was a span")
}

impl<A: Address> Default for SpanSet<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Address> From<Span<A>> for SpanSet<A> {
    fn from(span: Span<A>) -> Self {
        Self::from_canonical(core::iter::once(span))
    }
}

impl<A: Address> FromIterator<Span<A>> for SpanSet<A> {
    fn from_iter<I: IntoIterator<Item = Span<A>>>(spans: I) -> Self {
        let mut set = Self::new();
        set.extend(spans);
        set
    }
}

impl<A: Address> Extend<Span<A>> for SpanSet<A> {
    fn extend<I: IntoIterator<Item = Span<A>>>(&mut self, spans: I) {
        spans.into_iter().for_each(|span| self.insert(span));
    }
}

impl<A: Address> fmt::Debug for SpanSet<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

/// `0x0-0xfff, 0x2000-0x2fff`, or `nothing`.
impl<A: Address> fmt::Display for SpanSet<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return write!(formatter, "nothing");
        }
        self.iter().enumerate().try_for_each(|(index, span)| {
            let separator = if index == 0 { "" } else { ", " };
            write!(formatter, "{separator}{span}")
        })
    }
}

#[cfg(test)]
mod tests;
