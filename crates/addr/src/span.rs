//! Spans of addresses in one space.
//!
//! A span names its first and its last address, so it is never empty, cannot wrap, and can end
//! with the last address of its space: the three things a start and a length get wrong.

use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;

use crate::{Address, Alignment, ParseSpanError};

/// The addresses `first..=last` of the space `A`.
///
/// Prints as the kernel does: `0x1000-0x1fff`. Spans are ordered by their first address, then by
/// their last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span<A> {
    first: A,
    last: A,
}

impl<A: Address> Span<A> {
    /// The span `first..=last`, or `None` if `first` is above `last`.
    #[inline]
    pub fn new(first: A, last: A) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The span of `length` bytes from `first`, or `None` if the space ends before it.
    #[inline]
    pub fn from_length(first: A, length: NonZeroU64) -> Option<Self> {
        Some(Self { first, last: first.checked_add(length.get() - 1)? })
    }

    /// The span of `length` bytes from `first`, or `None` if that is empty or the space ends
    /// before it. For parts that come from a wire; where empty and wrapping need different
    /// answers, use [`Span::from_length`].
    #[inline]
    pub fn from_parts(first: A, length: u64) -> Option<Self> {
        Self::from_length(first, NonZeroU64::new(length)?)
    }

    /// The span of this one address.
    #[inline]
    pub fn of(address: A) -> Self {
        Self { first: address, last: address }
    }

    /// Every address of the space.
    #[inline]
    pub fn whole() -> Self {
        Self { first: A::FIRST, last: A::LAST }
    }

    /// The lowest address.
    #[inline]
    pub fn first(&self) -> A {
        self.first
    }

    /// The highest address, which is part of the span.
    #[inline]
    pub fn last(&self) -> A {
        self.last
    }

    /// How far the last address is above the first: one less than the length, which always fits.
    #[inline]
    fn reach(&self) -> u64 {
        self.last.get() - self.first.get()
    }

    /// How many bytes there are.
    #[inline]
    pub fn length(&self) -> u128 {
        u128::from(self.reach()) + 1
    }

    /// How many bytes there are, or `None` for the whole of a 64-bit space, whose length is 2^64.
    #[inline]
    pub fn length_u64(&self) -> Option<NonZeroU64> {
        self.reach().checked_add(1).and_then(NonZeroU64::new)
    }

    /// Whether `address` is in the span.
    #[inline]
    pub fn contains(&self, address: A) -> bool {
        self.first <= address && address <= self.last
    }

    /// Whether every address of `other` is in the span.
    #[inline]
    pub fn encloses(&self, other: &Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether the two share an address.
    #[inline]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether one starts right after the other ends. Spans that overlap do not touch.
    #[inline]
    pub fn touches(&self, other: &Self) -> bool {
        self.last.checked_add(1) == Some(other.first)
            || other.last.checked_add(1) == Some(self.first)
    }

    /// The addresses in both, or `None` if there are none.
    #[inline]
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// The addresses of this span below `other`, and those above it.
    #[inline]
    #[must_use]
    pub fn minus(&self, other: &Self) -> [Option<Self>; 2] {
        let below = other.first.checked_sub(1).map(|last| self.last.min(last));
        let above = other.last.checked_add(1).map(|first| self.first.max(first));
        [
            below.and_then(|last| Self::new(self.first, last)),
            above.and_then(|first| Self::new(first, self.last)),
        ]
    }

    /// The one span of both, or `None` if addresses of neither lie between them.
    #[inline]
    #[must_use]
    pub fn join(&self, other: &Self) -> Option<Self> {
        (self.overlaps(other) || self.touches(other))
            .then(|| Self { first: self.first.min(other.first), last: self.last.max(other.last) })
    }

    /// The span below `address` and the span from it on, or `None` unless both have addresses.
    #[inline]
    pub fn split_at(&self, address: A) -> Option<(Self, Self)> {
        if address > self.last {
            return None;
        }
        let below = Self::new(self.first, address.checked_sub(1)?)?;
        Some((below, Self { first: address, last: self.last }))
    }

    /// How far into the span `address` is, or `None` if it is outside.
    #[inline]
    pub fn offset_of(&self, address: A) -> Option<u64> {
        if address > self.last { None } else { address.offset_from(self.first) }
    }

    /// The `length` bytes that start `offset` bytes into the span, or `None` if they are not all
    /// in it.
    #[inline]
    #[must_use]
    pub fn subspan(&self, offset: u64, length: NonZeroU64) -> Option<Self> {
        let part = Self::from_length(self.first.checked_add(offset)?, length)?;
        (part.last <= self.last).then_some(part)
    }

    /// The span of the same length from `to` on, in another space or the same one, or `None` if
    /// that space ends before it.
    #[inline]
    pub fn rebase<B: Address>(&self, to: B) -> Option<Span<B>> {
        Some(Span { first: to, last: to.checked_add(self.reach())? })
    }

    /// Whether the span starts and ends at multiples of `alignment`.
    #[inline]
    pub fn is_aligned(&self, alignment: Alignment) -> bool {
        self.first.is_aligned(alignment) && self.last.get() & alignment.mask() == alignment.mask()
    }

    /// The smallest aligned span around this one. Where the space ends first, it ends there.
    #[inline]
    #[must_use]
    pub fn aligned_out(&self, alignment: Alignment) -> Self {
        let last = A::try_new(self.last.get() | alignment.mask()).unwrap_or(A::LAST);
        Self { first: self.first.align_down(alignment), last }
    }

    /// The largest aligned span inside this one, or `None` if there is none.
    #[inline]
    #[must_use]
    pub fn aligned_in(&self, alignment: Alignment) -> Option<Self> {
        let mask = alignment.mask();
        let last = if self.last.get() & mask == mask {
            self.last
        } else {
            self.last.align_down(alignment).checked_sub(1)?
        };
        Self::new(self.first.align_up(alignment)?, last)
    }
}

impl<A: Address> fmt::Display for Span<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}-{:#x}", self.first.get(), self.last.get())
    }
}

impl<A: Address> fmt::Debug for Span<A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}({self})", A::NAME)
    }
}

impl<A: Address> FromStr for Span<A> {
    type Err = ParseSpanError;

    /// Reads what [`fmt::Display`] prints: `0x1000-0x1fff`.
    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        crate::text::span(text)
    }
}

#[cfg(test)]
mod tests;
