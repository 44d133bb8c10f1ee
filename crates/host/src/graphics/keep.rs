//! What firmware left in the device's memory for whoever drives it: places registers still name.
//!
//! Most of what firmware leaves is at the top, where [`super::FIRMWARE`] says (WOPCM). These are the
//! others. All of it is as Linux 6.12 reads it (`drivers/gpu/drm/i915/gt/intel_rc6.c`), except the last.

use std::num::NonZeroU64;

use ringfence_addr::{Address as _, Alignment, Hpa, Span};

use super::Platform;

/// A register of BAR 0 that names a place in the device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// What is there, for people.
    pub what: &'static str,
    /// The register: an address of 32 bits, whose lowest twelve say something else.
    pub register: u64,
    /// A register and the bits of it that are all on if the place means anything.
    pub only_if: Option<(u64, u32)>,
    length: NonZeroU64,
}

const fn kib(count: u64) -> NonZeroU64 {
    NonZeroU64::new(count << 10).expect("some")
}

/// `VLV_PCBR`: what the processor's power management saves of the device; 24 KiB (`vlv_rc6_init`).
const BAY_TRAIL: &[Keep] =
    &[Keep { what: "power context (PCBR)", register: 0x18_2120, only_if: None, length: kib(24) }];

/// The same; 32 KiB (`chv_rc6_init`).
const CHERRY_TRAIL: &[Keep] = &[Keep { length: kib(32), ..BAY_TRAIL[0] }];

/// `RC6_CTX_BASE`, which means something with `RC6_CTX_IN_DRAM` of `RC6_LOCATION` on. How long it is
/// is not published; Linux, too, takes it for a page (`bxt_check_bios_rc6_setup`).
const RC6: Keep = Keep {
    what: "power context (RC6_CTX_BASE)",
    register: 0xd48,
    only_if: Some((0xd40, 1)),
    length: kib(4),
};

const NINE: &[Keep] = &[RC6];

/// From generation 11 on firmware sets 0xdc8 as well, which nobody documents; that it does and that
/// it names a place in the device's memory was seen by those who moved that memory (EVE, PR 6432).
const ELEVEN: &[Keep] =
    &[RC6, Keep { what: "firmware's own (0xdc8)", register: 0xdc8, only_if: None, length: kib(4) }];

impl Platform {
    /// What firmware may have left there.
    pub fn keeps(&self) -> &'static [Keep] {
        match self.generation {
            7 if self.is_bay_trail() => BAY_TRAIL,
            8 if self.is_cherry_trail() => CHERRY_TRAIL,
            9 | 10 => NINE,
            11.. => ELEVEN,
            _ => &[],
        }
    }
}

impl Keep {
    /// The whole pages it takes of `data`, the device's memory, by its register; `None` if the
    /// register names no place there.
    pub fn area(&self, value: u32, data: Span<Hpa>) -> Option<Span<Hpa>> {
        let first = Hpa::new(value.into()).align_down(Alignment::PAGE_4K);
        if first.get() == 0 {
            return None;
        }
        Span::from_length(first, self.length)?.intersection(&data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_names_whole_pages_of_the_memory_or_nothing() {
        let data = Span::from_parts(Hpa::new(0x8c00_0000), 64 << 20).expect("memory");
        let keep = |device| Platform::of_device(device).expect("a design").keeps();
        let page = |first| Span::from_parts(Hpa::new(first), 4096);
        assert_eq!(keep(0x1912)[0].area(0x8f7f_f010, data), page(0x8f7f_f000));
        for value in [0, 0xfff, 0x8bff_f000, 0x9000_0000] {
            assert_eq!(keep(0x1912)[0].area(value, data), None, "{value:#x}");
        }
        let context = keep(0x0f31)[0].area(0x8c10_0000, data);
        assert_eq!(context, Span::from_parts(Hpa::new(0x8c10_0000), 24 << 10));
        assert_eq!(keep(0x22b0)[0].area(0x8fff_f000, data), page(0x8fff_f000), "cut at the end");
        assert!(keep(0x0412).is_empty());
    }
}
