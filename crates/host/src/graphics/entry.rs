//! Entries of the graphics page table (GGTT): which page of memory an address of the aperture is.
//!
//! The table is in the upper half of BAR 0, an entry for each page from address 0 on (Linux 6.12,
//! `drivers/gpu/drm/i915/gt/intel_ggtt.c`, `ggtt_probe_common` and the `pte_encode` of each
//! generation).

use std::num::NonZeroU64;

use ringfence_addr::{Address as _, Alignment, Hpa};

use super::Platform;

/// In BAR 0: writing [`FLUSH_NOW`] there makes the device forget entries it remembered
/// (`GFX_FLSH_CNTL_GEN6`, `i915_reg.h`).
pub const FLUSH: u64 = 0x10_1008;
/// What is written to [`FLUSH`].
pub const FLUSH_NOW: u32 = 1;

/// The entry means something.
const VALID: u64 = 1;
/// Of Bay Trail alone: the page can be written.
const WRITABLE: u64 = 2;

impl Platform {
    /// How long an entry is, in bytes.
    pub fn entry_bytes(&self) -> NonZeroU64 {
        let bytes = if self.generation < 8 { 4 } else { 8 };
        NonZeroU64::new(bytes).expect("it is not zero")
    }

    /// The entry that says `page`, not cached; `None` if none can: the page does not begin on a
    /// page boundary, or is higher than entries of this design reach.
    pub fn entry(&self, page: Hpa) -> Option<u64> {
        let (address, bits) = (page.get(), self.entry_address_bits());
        if !page.is_aligned(Alignment::PAGE_4K) || address >> bits != 0 {
            return None;
        }
        if self.generation >= 8 {
            return Some(address | VALID);
        }
        // Bits 39:32 of the address are bits 11:4 of the entry.
        let folded = (address & 0xffff_f000) | (address >> 28 & 0xff0);
        let writable = if self.is_bay_trail() { WRITABLE } else { 0 };
        Some(folded | VALID | writable)
    }

    /// How many bits of an address an entry has room for.
    fn entry_address_bits(&self) -> u32 {
        match self.generation {
            6 => 40,
            7 => 39,
            8..=11 => 39,
            _ => 46,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(device: u16, page: u64) -> Option<u64> {
        Platform::of_device(device).expect("a design").entry(Hpa::new(page))
    }

    #[test]
    fn entries_are_those_of_each_generation() {
        // Sandy Bridge, Haswell, Bay Trail, Skylake, Tiger Lake.
        assert_eq!(entry(0x0102, 0x8c00_0000), Some(0x8c00_0001));
        assert_eq!(entry(0x0102, 0x12_8c00_0000), Some(0x8c00_0121));
        assert_eq!(entry(0x0412, 0x8c00_1000), Some(0x8c00_1001));
        assert_eq!(entry(0x0f31, 0x7c00_0000), Some(0x7c00_0003));
        assert_eq!(entry(0x1912, 0x12_8c00_0000), Some(0x12_8c00_0001));
        assert_eq!(entry(0x9a49, 0x2000_8c00_0000), Some(0x2000_8c00_0001));
    }

    #[test]
    fn what_no_entry_can_say_has_none() {
        for (device, page) in [(0x0102, 0x8c00_0800), (0x0102, 1 << 40), (0x1912, 1 << 39)] {
            assert_eq!(entry(device, page), None, "{device:#x}: {page:#x}");
        }
    }
}
