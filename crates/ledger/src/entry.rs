//! An entry of a [`crate::table::Table`], in one word.
//!
//! ```text
//!  0..30  the mapping's number and one; all ones: nobody may have it
//!     31  whether it is live
//! 32..33  rights
//! 34..62  the frame of memory that its first page leads to; all ones: the mapping has to be asked
//!     63  it is a table, of which the other bits are the number
//! ```
//!
//! 0 is nothing. Invariant `I20`: frame 0 and bus address 0 are as good as any other.

use ringfence_addr::{Gpa, Rights, Span};

use crate::frames::FRAME_BYTES;

const TABLE: u64 = 1 << 63;
const LIVE: u64 = 1 << 31;
const NUMBER: u64 = LIVE - 1;
const RIGHTS_SHIFT: u32 = 32;
const FRAME_SHIFT: u32 = 34;
/// Frames from here on, 2 TiB, do not fit.
const FAR: u64 = (1 << 29) - 1;

/// Nobody may have it.
pub(crate) const RESERVED: u64 = NUMBER;

/// Mappings have numbers below this one.
pub(crate) const NUMBERS_MAX: u32 = (1 << 31) - 2;

/// A table.
#[inline]
pub(crate) fn table(number: usize) -> u64 {
    TABLE | number as u64
}

/// The table that an entry is.
#[inline]
pub(crate) fn below(entry: u64) -> Option<usize> {
    if entry & TABLE == 0 { None } else { usize::try_from(entry & !TABLE).ok() }
}

/// The number of the mapping that an entry, which is no table, is of.
#[inline]
pub(crate) fn mapping(entry: u64) -> Option<u32> {
    let number = u32::try_from(entry & NUMBER).ok()?.checked_sub(1)?;
    (number < NUMBERS_MAX).then_some(number)
}

/// Where a mapping leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lead {
    /// The frame, unless it is [`FAR`].
    frame: u64,
    pub(crate) rights: Rights,
}

impl Lead {
    /// Where one of `memory` leads, whose owner is the first of the holder's targets; one of others is
    /// to be asked.
    #[inline]
    pub(crate) fn new(memory: Span<Gpa>, is_first: bool, rights: Rights) -> Self {
        let [first, last] = [memory.first(), memory.last()].map(|it| it.get() / FRAME_BYTES);
        Self { frame: if is_first && last < FAR { first } else { FAR }, rights }
    }

    /// The entry for its first page; it is not live.
    #[inline]
    pub(crate) fn entry(self, number: u32) -> u64 {
        let rights = u64::from(self.rights.allows(Rights::READ))
            | u64::from(self.rights.allows(Rights::WRITE)) << 1;
        self.frame << FRAME_SHIFT | rights << RIGHTS_SHIFT | (u64::from(number) + 1)
    }

    /// What the entry of a page has more than that of the page before.
    #[inline]
    pub(crate) fn step(self) -> u64 {
        if self.frame == FAR { 0 } else { 1 << FRAME_SHIFT }
    }

    /// The live mapping that an entry, which is no table, is of, and where its page at `within` leads.
    #[inline]
    pub(crate) fn live(entry: u64, within: u64) -> Option<(u32, Self)> {
        if entry & (LIVE | TABLE) != LIVE {
            return None;
        }
        let rights = match entry >> RIGHTS_SHIFT & 3 {
            0 => Rights::NONE,
            1 => Rights::READ,
            2 => Rights::WRITE,
            _ => Rights::READ_WRITE,
        };
        let frame = entry >> FRAME_SHIFT & FAR;
        let frame = if frame == FAR { FAR } else { frame + within };
        Some((mapping(entry)?, Self { frame, rights }))
    }

    /// The address of its page, unless the mapping has to be asked.
    #[inline]
    pub(crate) fn memory(self) -> Option<u64> {
        (self.frame != FAR).then_some(self.frame * FRAME_BYTES)
    }

    /// The same entry, live or not.
    #[inline]
    pub(crate) fn with_live(entry: u64, is_live: bool) -> u64 {
        entry & !LIVE | u64::from(is_live) << 31
    }
}
