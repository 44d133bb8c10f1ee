//! What one format of page tables has that another has not: its bits, and how far they reach.

use std::fmt;

use ringfence_addr::{Alignment, Hpa, Iova, Rights, Span};
use ringfence_refusal::Refusal;

use super::level::Level;
use crate::refusals;

/// What an entry of a table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Nothing is translated; so is whatever the format has no meaning for.
    Absent,
    /// Go on in this table of the level below.
    Table(Hpa),
    /// The memory that all of the entry leads to. Its rights: [`Format::rights`].
    Leaf(Hpa),
}

/// The fixed properties of a tree of tables, chosen when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The level of the topmost table. It never changes: an IOMMU is told of the topmost table and of
    /// its level by two fields, and would see one of them change before the other.
    pub top: Level,
    /// The highest level at which an entry may be a page.
    pub largest: Level,
    /// What can be translated.
    pub input: Span<Iova>,
    /// What it can be translated to.
    pub output: Span<Hpa>,
    /// Whether the IOMMU may remember that an address was *not* translated (caching mode, `NpCache`).
    /// Then a new mapping, too, is told to it by an invalidation.
    pub caches_absent: bool,
}

impl Shape {
    /// Whether whole pages of 4 KiB were named that can be translated.
    pub(crate) fn check_input(&self, span: Span<Iova>) -> Result<(), Refusal> {
        if !span.is_aligned(Alignment::PAGE_4K) {
            return Err(Refusal::new(&refusals::NOT_PAGES, span.to_string()));
        }
        if !self.input.encloses(&span) {
            let detail = format!("{span}; {} can be translated", self.input);
            return Err(Refusal::new(&refusals::OUTSIDE_APERTURE, detail));
        }
        Ok(())
    }

    /// Whether entries can name the memory that `span` is to lead to.
    pub(crate) fn check_output(&self, span: Span<Iova>, to: Hpa) -> Result<(), Refusal> {
        let Some(memory) = span.rebase(to).filter(|memory| self.output.encloses(memory)) else {
            let detail = format!("{span} to {to}; {} can be named", self.output);
            return Err(Refusal::new(&refusals::BEYOND_REACH, detail));
        };
        if !memory.is_aligned(Alignment::PAGE_4K) {
            return Err(Refusal::new(&refusals::NOT_PAGES, memory.to_string()));
        }
        Ok(())
    }
}

/// A format of page tables: 512 entries of 64 bits to a table, and what their bits mean.
pub trait Format: Clone + fmt::Debug + Send + Sync + 'static {
    /// What was chosen when the tree was made.
    fn shape(&self) -> &Shape;

    /// An entry of a table of `level` that is a page.
    fn leaf(&self, frame: Hpa, rights: Rights, level: Level) -> u64;

    /// An entry of a table of `level` that leads to `table`, which is of the level below, and takes
    /// no right away.
    fn table(&self, table: Hpa, level: Level) -> u64;

    /// What `entry` of a table of `level` says, as the IOMMU reads it.
    fn decode(&self, entry: u64, level: Level) -> Entry;

    /// The rights that an entry leaves. Those of a page are what the entries on the way to it have in
    /// common: `entries` is the bits of all of them that are set in each.
    fn rights(&self, entries: u64) -> Rights;
}

/// The bits of an address from 12 to 51, which both formats have in the same place.
pub(crate) const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// Physical address bits that an entry has room for.
pub(crate) const FRAME_BITS: u32 = 52;

/// All addresses of so many bits.
pub(crate) fn input_of(bits: u32) -> Span<Iova> {
    Span::new(Iova::new(0), Iova::new(lowest(bits))).expect("zero is the lowest")
}

/// All memory with addresses of so many bits, of those that an entry has room for.
pub(crate) fn output_of(bits: u32) -> Span<Hpa> {
    Span::new(Hpa::new(0), Hpa::new(lowest(bits.min(FRAME_BITS)))).expect("zero is the lowest")
}

fn lowest(bits: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS.saturating_sub(bits)).unwrap_or(0)
}

/// Rights from the two bits of an entry that say them.
#[inline]
pub(crate) fn rights_of(reads: bool, writes: bool) -> Rights {
    match (reads, writes) {
        (true, true) => Rights::READ_WRITE,
        (true, false) => Rights::READ,
        (false, true) => Rights::WRITE,
        (false, false) => Rights::NONE,
    }
}
