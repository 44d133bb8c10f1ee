//! AMD's I/O page tables, version 1.
//!
//! AMD I/O Virtualization Technology (IOMMU) Specification, document 48882, revision 3.10: section
//! 2.2.3 (I/O page tables for host translations; page directory and page table entries), 3.4.6 (the
//! extended feature register).

use ringfence_addr::{Hpa, Rights};
use ringfence_refusal::Refusal;

use super::format::{Entry, FRAME, Format, Shape, input_of, output_of, rights_of};
use super::level::Level;
use crate::refusals;

/// `PR`: the entry is present.
const PRESENT: u64 = 1;
/// `Next Level`: 0 for a page of the level's own size, 7 for a page whose size its address encodes,
/// the level of the table pointed at otherwise.
const NEXT_LEVEL: u32 = 9;
const NEXT_LEVEL_MASK: u64 = 7;
/// `FC`: accesses snoop processor caches, whatever the device says of them.
const FORCE_COHERENT: u64 = 1 << 60;
/// `IR`: a device may read.
const READ: u64 = 1 << 61;
/// `IW`: a device may write.
const WRITE: u64 = 1 << 62;

/// `HATS`, in the extended feature register: 4 levels and so many more.
const EFR_HATS: u32 = 10;

/// The format of AMD's tables, with 1 to 6 levels; six translate 64 bits.
///
/// Pages are of 4 KiB, 2 MiB and 1 GiB. The format has every power of two between, each a run of equal
/// entries (`Next Level` 7); an invalidation then has to cover the run, and taking a page out of it
/// would rewrite all of it, for entries an IOMMU may or may not cache as one.
#[derive(Clone, Debug)]
pub struct AmdV1 {
    shape: Shape,
}

impl AmdV1 {
    /// What an IOMMU with this extended feature register walks, with so many levels; memory has
    /// addresses of `host_bits` (`PASize` in its IVRS). `caches_absent` is `NpCache` of its
    /// capability header.
    ///
    /// # Errors
    ///
    /// `RF0909` when it walks no tables with so many levels.
    pub fn from_features(
        features: u64,
        caches_absent: bool,
        levels: Level,
        host_bits: u32,
    ) -> Result<Self, Refusal> {
        let most = 4 + (features >> EFR_HATS & 3);
        if most == 7 || u64::from(levels.number()) > most {
            let detail = format!("{levels} levels; AMD's HATS says {}", most - 4);
            return Err(Refusal::new(&refusals::UNSUPPORTED, detail));
        }
        let largest = levels.min(Level::THREE);
        let (input, output) = (input_of(levels.bits()), output_of(host_bits));
        Ok(Self { shape: Shape { top: levels, largest, input, output, caches_absent } })
    }

    /// Tables of all that the format can have: memory of 52 bits.
    pub fn with_levels(levels: Level) -> Self {
        let six = 2 << EFR_HATS;
        Self::from_features(six, false, levels, u32::MAX).expect("there are six levels at most")
    }
}

impl Format for AmdV1 {
    #[inline]
    fn shape(&self) -> &Shape {
        &self.shape
    }

    #[inline]
    fn leaf(&self, frame: Hpa, rights: Rights, _level: Level) -> u64 {
        let reads = if rights.allows(Rights::READ) { READ } else { 0 };
        let writes = if rights.allows(Rights::WRITE) { WRITE } else { 0 };
        frame.get() & FRAME | reads | writes | FORCE_COHERENT | PRESENT
    }

    #[inline]
    fn table(&self, table: Hpa, level: Level) -> u64 {
        let next = u64::from(level.number() - 1) << NEXT_LEVEL;
        table.get() & FRAME | next | READ | WRITE | PRESENT
    }

    #[inline]
    fn decode(&self, entry: u64, level: Level) -> Entry {
        if entry & PRESENT == 0 {
            return Entry::Absent;
        }
        let frame = entry & FRAME;
        let next = entry >> NEXT_LEVEL & NEXT_LEVEL_MASK;
        if next == 0 {
            let is_page = level <= self.shape.largest && frame & level.mask() == 0;
            return if is_page { Entry::Leaf(Hpa::new(frame)) } else { Entry::Absent };
        }
        // Levels may be skipped, and sizes encoded; no such entry is ever written here.
        let is_next = next == u64::from(level.number() - 1);
        if is_next { Entry::Table(Hpa::new(frame)) } else { Entry::Absent }
    }

    #[inline]
    fn rights(&self, entries: u64) -> Rights {
        rights_of(entries & READ != 0, entries & WRITE != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits as 2.2.3 draws them: IW 62, IR 61, FC 60, address 51:12, Next Level 11:9, PR 0.
    #[test]
    fn entries_have_the_bits_of_the_specification() {
        let format = AmdV1::with_levels(Level::SIX);
        let frame = Hpa::new(0x000f_edcb_a987_6000);
        let leaf = |rights| format.leaf(frame, rights, Level::ONE);
        assert_eq!(leaf(Rights::READ_WRITE), 0x700f_edcb_a987_6001);
        assert_eq!(leaf(Rights::READ), 0x300f_edcb_a987_6001);
        assert_eq!(leaf(Rights::WRITE), 0x500f_edcb_a987_6001);
        let large = format.leaf(Hpa::new(0x1_2340_0000), Rights::READ_WRITE, Level::TWO);
        assert_eq!(large, 0x7000_0001_2340_0001);
        let table = |level| format.table(frame, level);
        assert_eq!(table(Level::TWO), 0x600f_edcb_a987_6201);
        assert_eq!(table(Level::SIX), 0x600f_edcb_a987_6a01);
        assert_eq!(format.table(Hpa::new(0), Level::TWO), 0x6000_0000_0000_0201, "frame 0 (I20)");
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let format = AmdV1::with_levels(Level::FOUR);
        for level in [Level::ONE, Level::TWO, Level::THREE] {
            for rights in [Rights::READ, Rights::WRITE, Rights::READ_WRITE] {
                for frame in [0, 1 << 30, 0x000f_ffff_c000_0000] {
                    let entry = format.leaf(Hpa::new(frame), rights, level);
                    assert_eq!(format.decode(entry, level), Entry::Leaf(Hpa::new(frame)));
                    assert_eq!(format.rights(entry), rights);
                }
            }
        }
        for level in [Level::TWO, Level::THREE, Level::FOUR] {
            let entry = format.table(Hpa::new(0), level);
            assert_eq!(format.decode(entry, level), Entry::Table(Hpa::new(0)));
        }
        assert_eq!(format.decode(0, Level::ONE), Entry::Absent);
    }

    #[test]
    fn entries_that_are_never_written_translate_nothing() {
        let format = AmdV1::with_levels(Level::FOUR);
        let skips_a_level = format.table(Hpa::new(0x1000), Level::TWO);
        assert_eq!(format.decode(skips_a_level, Level::FOUR), Entry::Absent);
        let encodes_its_size = format.leaf(Hpa::new(0x7000), Rights::READ, Level::ONE) | 7 << 9;
        assert_eq!(format.decode(encodes_its_size, Level::ONE), Entry::Absent);
        let too_large = format.leaf(Hpa::new(0), Rights::READ, Level::FOUR);
        assert_eq!(format.decode(too_large, Level::FOUR), Entry::Absent);
    }

    #[test]
    fn levels_that_are_not_offered_are_refused() {
        let of = |features, levels| AmdV1::from_features(features, false, levels, 48);
        let refusal = of(1 << 10, Level::SIX).expect_err("HATS is 1: five levels");
        assert_eq!(refusal.code(), &refusals::UNSUPPORTED);
        assert!(of(3 << 10, Level::FOUR).is_err(), "3 is reserved");
        let qemu = of(0x29d3, Level::SIX).expect("QEMU's AMD IOMMU walks six levels");
        assert_eq!(qemu.shape().input, Span::whole());
    }

    use ringfence_addr::Span;
}
