//! Levels of page tables, and which entry of a table an address falls into.

use std::fmt;

use ringfence_addr::{Address, Alignment, Hpa, Iova, Span};

/// How many entries a table has.
pub const ENTRIES: usize = 512;
/// How many address bits one level decides.
const INDEX_BITS: u32 = 9;
const PAGE_BITS: u32 = 12;

/// A level of tables: the entries of level 1 are pages of 4 KiB, those of level 2 cover 2 MiB.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// Pages of 4 KiB.
    pub const ONE: Self = Self(1);
    /// Entries of 2 MiB.
    pub const TWO: Self = Self(2);
    /// Entries of 1 GiB; three levels translate 39 bits.
    pub const THREE: Self = Self(3);
    /// Entries of 512 GiB; four levels translate 48 bits.
    pub const FOUR: Self = Self(4);
    /// Five levels translate 57 bits.
    pub const FIVE: Self = Self(5);
    /// Six levels translate all 64 bits; the topmost table uses 128 of its entries.
    pub const SIX: Self = Self(6);

    /// The level with this number, or `None` unless it is 1 to 6.
    pub const fn new(number: u8) -> Option<Self> {
        if matches!(number, 1..=6) { Some(Self(number)) } else { None }
    }

    /// 1 to 6.
    #[inline]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The level whose tables the entries of this one point at.
    #[inline]
    pub const fn below(self) -> Option<Self> {
        if self.0 > 1 { Some(Self(self.0 - 1)) } else { None }
    }

    /// How many address bits a tree with this topmost level translates, 64 at most.
    #[inline]
    pub const fn bits(self) -> u32 {
        let bits = self.shift() + INDEX_BITS;
        if bits > u64::BITS { u64::BITS } else { bits }
    }

    /// The size of what one entry covers.
    #[inline]
    pub fn size(self) -> Alignment {
        Alignment::new(1 << self.shift()).expect("one bit is a power of two")
    }

    #[inline]
    const fn shift(self) -> u32 {
        // Constructors leave nothing above 6, so that this is at most 57.
        PAGE_BITS + INDEX_BITS * (self.0 as u32 - 1)
    }

    /// Which entry of a table of this level `iova` falls into.
    #[inline]
    pub(crate) const fn index(self, iova: Iova) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "nine bits fit everywhere")]
        let index = (iova.get() >> self.shift()) as usize;
        index % ENTRIES
    }

    #[inline]
    pub(crate) const fn mask(self) -> u64 {
        (1 << self.shift()) - 1
    }

    /// What the entry that `iova` falls into covers.
    #[inline]
    pub(crate) fn around(self, iova: Iova) -> Span<Iova> {
        let (first, last) = (iova.get() & !self.mask(), iova.get() | self.mask());
        Span::new(Iova::new(first), Iova::new(last)).expect("bits were cleared, and set")
    }

    /// Whether `span`, which lies in one entry, is all of it.
    #[inline]
    pub(crate) fn is_whole(self, span: Span<Iova>) -> bool {
        span.first().get() & self.mask() == 0 && span.last().get() & self.mask() == self.mask()
    }

    /// The pieces of `span` that fall into one entry each, ascending, with the entry's index.
    #[inline]
    pub(crate) fn parts(self, span: Span<Iova>) -> impl Iterator<Item = (usize, Span<Iova>)> {
        let mut rest = Some(span);
        std::iter::from_fn(move || {
            let first = rest?.first();
            let last = Iova::new(first.get() | self.mask()).min(span.last());
            let part = Span::new(first, last)?;
            rest = last.checked_add(1).and_then(|next| Span::new(next, span.last()));
            Some((self.index(first), part))
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Level({})", self.0)
    }
}

/// How far memory is from the device's addresses for it: the same for every page of one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Distance(u64);

impl Distance {
    /// From `iova` to `frame`, either way.
    #[inline]
    pub(crate) fn between(iova: Iova, frame: Hpa) -> Self {
        Self(frame.get().wrapping_sub(iova.get()))
    }

    /// Where `iova` leads, for addresses of the mapping whose distance this is.
    #[inline]
    pub(crate) fn apply(self, iova: Iova) -> Hpa {
        Hpa::new(iova.get().wrapping_add(self.0))
    }

    /// Whether what is aligned to an entry of `level` is so on both sides.
    #[inline]
    pub(crate) fn keeps(self, level: Level) -> bool {
        self.0 & level.mask() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u64, last: u64) -> Span<Iova> {
        Span::new(Iova::new(first), Iova::new(last)).expect("first <= last")
    }

    #[test]
    fn levels_cover_what_the_specifications_say() {
        let bits = (1..=6).filter_map(Level::new).map(Level::bits);
        assert_eq!(bits.collect::<Vec<_>>(), [21, 30, 39, 48, 57, 64]);
        assert_eq!((Level::new(0), Level::new(7)), (None, None));
        assert_eq!(Level::TWO.size(), Alignment::PAGE_2M);
        assert_eq!(Level::SIX.index(Iova::new(u64::MAX)), 127);
    }

    #[test]
    fn parts_tile_a_span_up_to_the_last_address_there_is() {
        for whole in [span(!0x2fff, u64::MAX), span(0, 0x1f_ffff), span(0x1ff_000, 0x200_fff)] {
            for level in (1..=6).filter_map(Level::new) {
                let parts: Vec<_> = level.parts(whole).collect();
                let ends = (parts[0].1.first(), parts[parts.len() - 1].1.last());
                assert_eq!(ends, (whole.first(), whole.last()));
                for (index, part) in &parts {
                    assert_eq!(level.index(part.last()), *index, "{part} is in one entry");
                }
                assert!(parts.windows(2).all(|two| two[0].1.touches(&two[1].1)));
            }
        }
        assert_eq!(Level::SIX.parts(Span::whole()).count(), 128);
    }
}
