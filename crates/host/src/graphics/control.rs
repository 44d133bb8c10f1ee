//! How much memory firmware took, by GGC, and where it begins, by BDSM.

use std::num::NonZeroU64;

use ringfence_addr::{Address as _, Hpa, Span};

use super::{MEGABYTES, Platform, whole_megabytes};

const MIB: u64 = 1 << 20;

/// How GMS, the size of the device's memory, is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataCode {
    /// Bits 7:3, in 32 MiB.
    Low,
    /// Bits 7:3: 32 MiB up to 0x10, then 4 MiB steps from 8 MiB, and from 0x17 on from 36 MiB.
    Cherry,
    /// Bits 15:8, in 32 MiB.
    High,
    /// Bits 15:8: 32 MiB, and from 0xf0 on 4 MiB steps.
    HighFine,
    /// As `HighFine`, but only sizes up to 128 MiB.
    HighFew,
}

/// How GGMS, the size of the page table, is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageTableCode {
    /// Bits 9:8, in MiB.
    Megabytes,
    /// Bits 7:6: nothing, 2, 4 or 8 MiB.
    Power,
    /// The same in bits 9:8.
    PowerHigh,
}

impl Platform {
    /// How many bytes of its own the device has by GGC (16 bits; the rest of a double word is not
    /// looked at), 0 for none; `None` for a code that this design does not have.
    pub fn data_length(&self, control: u32) -> Option<u64> {
        let [low, high, ..] = control.to_le_bytes();
        let (low, high) = (u64::from(low >> 3), u64::from(high));
        match (self.data, low, high) {
            (DataCode::Low, 0..=0x10, _) => Some(low * 32 * MIB),
            (DataCode::Low, ..) => None,
            (DataCode::Cherry, 0..=0x10, _) => Some(low * 32 * MIB),
            (DataCode::Cherry, 0x11..=0x16, _) => Some((8 + 4 * (low - 0x11)) * MIB),
            (DataCode::Cherry, 0x17..=0x1d, _) => Some((36 + 4 * (low - 0x17)) * MIB),
            (DataCode::Cherry, ..) => None,
            (DataCode::High, ..) => Some(high * 32 * MIB),
            (DataCode::HighFew, _, 5..0xf0) => None,
            (DataCode::HighFine | DataCode::HighFew, _, 0..0xf0) => Some(high * 32 * MIB),
            (DataCode::HighFine | DataCode::HighFew, _, 0xf0..=0xfe) => {
                Some(4 * (high - 0xf0 + 1) * MIB)
            }
            (DataCode::HighFine | DataCode::HighFew, ..) => None,
        }
    }

    /// How many bytes the page table has by GGC, 0 for none; `None` for a code that this design does
    /// not have.
    pub fn page_table_length(&self, control: u32) -> Option<u64> {
        let code = match self.page_table {
            PageTableCode::Megabytes | PageTableCode::PowerHigh => control >> 8 & 3,
            PageTableCode::Power => control >> 6 & 3,
        };
        match (self.page_table, code) {
            (_, 0) if self.tells_in_config() => Some(0),
            (PageTableCode::Megabytes, 3) => None,
            (PageTableCode::Megabytes, _) => Some(u64::from(code) * MIB),
            (_, 1 | 2) if !self.tells_in_config() => None,
            (_, 0) => None,
            _ => Some(MIB << code),
        }
    }

    /// Where the device's memory begins by BDSM, `None` if firmware took none: the double word at
    /// [`super::DATA`], or those at [`super::DATA_LOW`] and [`super::DATA_HIGH`].
    pub fn data_first(&self, low: u32, high: u32) -> Option<Hpa> {
        if !self.wide_data {
            return whole_megabytes(low);
        }
        let address = u64::from(high) << 32 | u64::from(low & MEGABYTES);
        (address != 0).then(|| Hpa::new(address))
    }

    /// Whether BDSM has 64 bits and is at [`super::DATA_LOW`].
    pub fn has_wide_data(&self) -> bool {
        self.wide_data
    }

    /// The page table, which ends right below `data_first`; `None` if there is none or no address
    /// is that far below.
    pub fn page_table(&self, control: u32, data_first: Hpa) -> Option<Span<Hpa>> {
        let length = self.page_table_length(control)?;
        Span::from_parts(data_first.checked_sub(length)?, length)
    }

    /// The device's memory from `data_first` on; `None` if there is none.
    pub fn data(&self, control: u32, data_first: Hpa) -> Option<Span<Hpa>> {
        Span::from_parts(data_first, self.data_length(control)?)
    }

    /// Page table and memory by the mirrors in BAR 0, where config space does not say: from Meteor
    /// Lake on the memory begins 8 MiB above BGSM (`i915_gem_stolen.c`, `i915_gem_stolen_lmem_setup`).
    pub fn behind_bar(
        &self,
        control_mirror: u32,
        page_table_mirror: u64,
    ) -> Option<(Span<Hpa>, Option<Span<Hpa>>)> {
        if self.tells_in_config() {
            return None;
        }
        let length = NonZeroU64::new(self.page_table_length(control_mirror)?)?;
        let first = page_table_mirror & !(MIB - 1);
        let page_table = Span::from_length(Hpa::new(first), length)?;
        if first == 0 {
            return None;
        }
        let data_first = page_table.last().checked_add(1)?;
        Some((page_table, Span::from_parts(data_first, self.data_length(control_mirror)?)))
    }
}
