//! Entries of the page table, as each design reads them.

use ringfence_addr::Hpa;

/// How a design lays out an entry (`gt/intel_gtt.h`, `i915_reg.h`, `gt/intel_ggtt.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryFormat {
    /// 32 bits: address 38:32 in bits 10:4 (`HSW_GTT_ADDR_ENCODE`).
    Haswell,
    /// 32 bits: address 39:32 in bits 11:4 (`GEN6_PTE_ADDR_ENCODE`); writable only with bit 1
    /// (`BYT_PTE_WRITEABLE`).
    BayTrail,
    /// 64 bits: address 38:12.
    Wide39,
    /// 64 bits: address 45:12 (`GEN12_GGTT_PTE_ADDR_MASK`); bit 1 means local memory
    /// (`GEN12_GGTT_PTE_LM`), which no integrated graphics before Meteor Lake has.
    Wide46,
}

/// What an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Translation {
    /// The first address of the page.
    pub(super) page: Hpa,
    /// Whether it may be written.
    pub(super) is_writable: bool,
}

impl EntryFormat {
    /// Bytes an entry has.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Haswell | Self::BayTrail => 4,
            Self::Wide39 | Self::Wide46 => 8,
        }
    }

    /// What `entry` names, `None` for nothing.
    pub(super) fn decode(self, entry: u64) -> Option<Translation> {
        if entry & 1 == 0 {
            return None;
        }
        let low = entry & 0xffff_f000;
        let (address, is_writable) = match self {
            Self::Haswell => (low | (entry & 0x7f0) << 28, true),
            Self::BayTrail => (low | (entry & 0xff0) << 28, entry & 2 != 0),
            Self::Wide39 => (entry & 0x7f_ffff_f000, true),
            Self::Wide46 if entry & 2 != 0 => return None,
            Self::Wide46 => (entry & 0x3fff_ffff_f000, true),
        };
        Some(Translation { page: Hpa::new(address), is_writable })
    }

    /// The entry that names a page, as firmware writes it.
    pub(super) fn encode(self, page: Hpa) -> u64 {
        let page = page.get();
        match self {
            Self::Haswell => page & 0xffff_f000 | page >> 28 & 0x7f0 | 1,
            Self::BayTrail => page & 0xffff_f000 | page >> 28 & 0xff0 | 3,
            Self::Wide39 | Self::Wide46 => page | 1,
        }
    }
}
