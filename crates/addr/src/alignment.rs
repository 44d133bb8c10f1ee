//! Alignments: powers of two by construction.

use core::fmt;

/// A power of two of bytes that addresses and lengths can be multiples of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alignment(u64);

impl Alignment {
    /// Every address is aligned to one byte.
    pub const ONE: Self = Self(1);
    /// The page of 4 KiB.
    pub const PAGE_4K: Self = Self(1 << 12);
    /// The page of 2 MiB.
    pub const PAGE_2M: Self = Self(1 << 21);
    /// The page of 1 GiB.
    pub const PAGE_1G: Self = Self(1 << 30);

    /// An alignment of `bytes`, or `None` if that is not a power of two.
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes.is_power_of_two() { Some(Self(bytes)) } else { None }
    }

    /// The alignment in bytes.
    #[inline]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The bits of an address that are zero where it is aligned.
    #[inline]
    pub const fn mask(self) -> u64 {
        self.0 - 1
    }
}

impl fmt::Display for Alignment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}", self.0)
    }
}

impl fmt::Debug for Alignment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Alignment({:#x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_are_alignments() {
        for bytes in (0..4096).chain([u64::MAX, u64::MAX - 1, (1 << 63) - 1, (1 << 63) + 1]) {
            assert_eq!(Alignment::new(bytes).is_some(), bytes.count_ones() == 1, "{bytes}");
        }
        assert_eq!(Alignment::new(1 << 63).map(Alignment::mask), Some((1 << 63) - 1));
    }

    #[test]
    fn the_pages_are_what_they_are_called() {
        assert_eq!(Alignment::PAGE_4K.bytes(), 4 * 1024);
        assert_eq!(Alignment::PAGE_2M.bytes(), 2 * 1024 * 1024);
        assert_eq!(Alignment::PAGE_1G.bytes(), 1024 * 1024 * 1024);
        assert_eq!(Alignment::ONE.mask(), 0);
    }
}
