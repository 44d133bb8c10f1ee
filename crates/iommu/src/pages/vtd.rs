//! Intel VT-d's second-stage tables.
//!
//! Intel Virtualization Technology for Directed I/O, Architecture Specification, revision 4.1:
//! section 3.7 (second-stage translation), 9.8 (second-stage paging entries), 10.4.2 and 10.4.3 (the
//! registers `CAP_REG` and `ECAP_REG`).

use ringfence_addr::{Hpa, Rights};
use ringfence_refusal::Refusal;

use super::format::{Entry, FRAME, Format, Shape, input_of, output_of, rights_of};
use super::level::Level;
use crate::refusals;

/// `R`: a device may read. An entry with neither `R` nor `W` is not present.
const READ: u64 = 1;
/// `W`: a device may write.
const WRITE: u64 = 1 << 1;
/// `PS`, at levels 2 and 3: the entry is a page.
const PAGE_SIZE: u64 = 1 << 7;
/// `SNP`: accesses snoop processor caches, whatever the device says of them.
const SNOOP: u64 = 1 << 11;

/// `CAP_REG`: `SAGAW` (which numbers of levels), `MGAW` (address bits, less one), `SLLPS` (sizes of
/// large pages), `CM` (caching mode).
const CAP_SAGAW: u32 = 8;
const CAP_MGAW: u32 = 16;
const CAP_LARGE_2M: u64 = 1 << 34;
const CAP_LARGE_1G: u64 = 1 << 35;
const CAP_CACHING_MODE: u64 = 1 << 7;
/// `ECAP_REG`: `SC`, snoop control: whether `SNP` may be set.
const ECAP_SNOOP_CONTROL: u64 = 1 << 7;

/// The format of VT-d's second stage, with 3, 4 or 5 levels.
#[derive(Clone, Debug)]
pub struct VtdSecondStage {
    shape: Shape,
    always: u64,
}

impl VtdSecondStage {
    /// What an IOMMU with these registers walks, with so many levels; memory has addresses of
    /// `host_bits` (`HAW` in its DMAR).
    ///
    /// # Errors
    ///
    /// `RF0909` when it walks no tables with so many levels.
    pub fn from_registers(
        cap: u64,
        ecap: u64,
        levels: Level,
        host_bits: u32,
    ) -> Result<Self, Refusal> {
        if !Self::levels(cap).any(|level| level == levels) {
            let offers: Vec<String> = Self::levels(cap).map(|level| level.to_string()).collect();
            let detail = format!("{levels} levels; VT-d offers {}", offers.join(", "));
            return Err(Refusal::new(&refusals::UNSUPPORTED, detail));
        }
        let address_bits = (cap >> CAP_MGAW & 0x3f) as u32 + 1;
        let largest = match (cap & CAP_LARGE_2M != 0, cap & CAP_LARGE_1G != 0) {
            (true, true) => Level::THREE,
            (true, false) => Level::TWO,
            (false, _) => Level::ONE,
        };
        Ok(Self {
            shape: Shape {
                top: levels,
                largest,
                input: input_of(address_bits.min(levels.bits())),
                output: output_of(host_bits),
                caches_absent: cap & CAP_CACHING_MODE != 0,
            },
            always: if ecap & ECAP_SNOOP_CONTROL != 0 { SNOOP } else { 0 },
        })
    }

    /// Tables of all that three levels upwards can have: pages up to 1 GiB, memory of 52 bits.
    ///
    /// # Errors
    ///
    /// `RF0909` unless there are 3 to 5 levels.
    pub fn with_levels(levels: Level) -> Result<Self, Refusal> {
        let cap = 0b0_1110 << CAP_SAGAW | 56 << CAP_MGAW | CAP_LARGE_2M | CAP_LARGE_1G;
        Self::from_registers(cap, ECAP_SNOOP_CONTROL, levels, u32::MAX)
    }

    /// The numbers of levels that an IOMMU with this `CAP_REG` offers, ascending.
    pub fn levels(cap: u64) -> impl Iterator<Item = Level> {
        let offered = [(1, Level::THREE), (2, Level::FOUR), (3, Level::FIVE)];
        offered
            .into_iter()
            .filter(move |(bit, _)| cap >> CAP_SAGAW & 1 << bit != 0)
            .map(|(_, level)| level)
    }
}

impl Format for VtdSecondStage {
    #[inline]
    fn shape(&self) -> &Shape {
        &self.shape
    }

    #[inline]
    fn leaf(&self, frame: Hpa, rights: Rights, level: Level) -> u64 {
        let reads = if rights.allows(Rights::READ) { READ } else { 0 };
        let writes = if rights.allows(Rights::WRITE) { WRITE } else { 0 };
        let size = if level == Level::ONE { 0 } else { PAGE_SIZE };
        frame.get() & FRAME | reads | writes | size | self.always
    }

    #[inline]
    fn table(&self, table: Hpa, _level: Level) -> u64 {
        table.get() & FRAME | READ | WRITE
    }

    #[inline]
    fn decode(&self, entry: u64, level: Level) -> Entry {
        if entry & (READ | WRITE) == 0 {
            return Entry::Absent;
        }
        if level == Level::ONE {
            return Entry::Leaf(Hpa::new(entry & FRAME));
        }
        if entry & PAGE_SIZE == 0 {
            return Entry::Table(Hpa::new(entry & FRAME));
        }
        // A page where none can be: the IOMMU finds a reserved bit set, and translates nothing.
        if level > self.shape.largest || entry & FRAME & level.mask() != 0 {
            return Entry::Absent;
        }
        Entry::Leaf(Hpa::new(entry & FRAME))
    }

    #[inline]
    fn rights(&self, entries: u64) -> Rights {
        rights_of(entries & READ != 0, entries & WRITE != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits as 9.8 draws them: HPA 51:12, SNP 11, PS 7, W 1, R 0.
    #[test]
    fn entries_have_the_bits_of_the_specification() {
        let format = VtdSecondStage::with_levels(Level::FIVE).expect("five levels");
        let frame = Hpa::new(0x000f_edcb_a987_6000);
        let leaf = |rights, level| format.leaf(frame, rights, level);
        assert_eq!(leaf(Rights::READ_WRITE, Level::ONE), 0x000f_edcb_a987_6803);
        assert_eq!(leaf(Rights::READ, Level::ONE), 0x000f_edcb_a987_6801);
        assert_eq!(leaf(Rights::WRITE, Level::ONE), 0x000f_edcb_a987_6802);
        let large = |frame, level| format.leaf(Hpa::new(frame), Rights::READ_WRITE, level);
        assert_eq!(large(0x1_2340_0000, Level::TWO), 0x1_2340_0883);
        assert_eq!(large(0x1_4000_0000, Level::THREE), 0x1_4000_0883);
        assert_eq!(format.table(frame, Level::FIVE), 0x000f_edcb_a987_6003);
        assert_eq!(format.table(Hpa::new(0), Level::TWO), 3, "frame 0 is as good as any (I20)");
    }

    #[test]
    fn without_snoop_control_the_bit_is_reserved_and_stays_clear() {
        let cap = 0x80d2_008c_222f_0606;
        let format = VtdSecondStage::from_registers(cap, 0xf0_0f4a, Level::FOUR, 39);
        let format = format.expect("QEMU's VT-d walks four levels");
        assert_eq!(format.leaf(Hpa::new(0x1000), Rights::READ, Level::ONE), 0x1001);
        assert_eq!(format.shape().input, input_of(48));
        assert_eq!(format.shape().output, output_of(39));
        assert!(!format.shape().caches_absent && format.shape().largest == Level::THREE);
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let format = VtdSecondStage::with_levels(Level::FOUR).expect("four levels");
        for level in [Level::ONE, Level::TWO, Level::THREE] {
            for rights in [Rights::READ, Rights::WRITE, Rights::READ_WRITE] {
                for frame in [0, 1 << 30, 0x000f_ffff_c000_0000] {
                    let entry = format.leaf(Hpa::new(frame), rights, level);
                    assert_eq!(format.decode(entry, level), Entry::Leaf(Hpa::new(frame)));
                    assert_eq!(format.rights(entry), rights);
                }
            }
        }
        let entry = format.table(Hpa::new(0), Level::TWO);
        assert_eq!(format.decode(entry, Level::TWO), Entry::Table(Hpa::new(0)));
        assert_eq!(format.decode(0, Level::ONE), Entry::Absent);
    }

    #[test]
    fn what_the_iommu_takes_for_reserved_translates_nothing() {
        let format = VtdSecondStage::with_levels(Level::FOUR).expect("four levels");
        assert_eq!(format.decode(0x1000 | PAGE_SIZE | 3, Level::TWO), Entry::Absent);
        assert_eq!(format.decode(PAGE_SIZE | 3, Level::FOUR), Entry::Absent);
    }

    #[test]
    fn levels_that_are_not_offered_are_refused() {
        let refused = VtdSecondStage::from_registers(0x80d2_008c_222f_0606, 0, Level::FIVE, 39);
        let refusal = refused.expect_err("QEMU's VT-d has no five levels");
        assert_eq!(refusal.code(), &refusals::UNSUPPORTED);
        assert_eq!(refusal.detail(), "5 levels; VT-d offers 3, 4");
        assert!(VtdSecondStage::with_levels(Level::TWO).is_err());
    }
}
