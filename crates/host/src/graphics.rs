//! Memory of Intel's integrated graphics, decoded from registers: pure functions, whoever read them.
//!
//! ```text
//!  … │ GSM: page table │ DSM: the device's own, "stolen" memory … │ WOPCM │ TOLUD, then PCI
//!    BGSM              BDSM
//! ```
//!
//! Encodings are those of the datasheets of each generation as Linux 6.12 applies them:
//! `arch/x86/kernel/early-quirks.c` and `drivers/gpu/drm/i915/gem/i915_gem_stolen.c`.

mod control;
mod entry;
mod firmware;
mod keep;
mod platform;

pub use entry::{FLUSH, FLUSH_NOW};
pub use firmware::{OddFirmware, protected_area};
pub use keep::Keep;
pub use platform::Platform;

use ringfence_addr::Hpa;

/// GGC in config space: how much memory the device has. One double word, the register is its lower
/// half.
pub const CONTROL: u16 = 0x50;
/// BDSM up to generation 10: where the device's memory begins.
pub const DATA: u16 = 0x5c;
/// BDSM from generation 11 on, lower half.
pub const DATA_LOW: u16 = 0xc0;
/// BDSM from generation 11 on, upper half.
pub const DATA_HIGH: u16 = 0xc4;
/// PAVPC's mirror from generation 9 on: what firmware keeps at the top, as [`BRIDGE_PROTECTED`].
pub const PROTECTED: u16 = 0xf0;
/// ASLS: where the OpRegion is.
pub const OP_REGION: u16 = 0xfc;

/// In BAR 0: a mirror of GGC, the only one of Meteor Lake.
pub const CONTROL_MIRROR: u64 = 0x10_8040;
/// In BAR 0: a mirror of BDSM, 64 bits from generation 11 on.
pub const DATA_MIRROR: u64 = 0x10_80c0;
/// In BAR 0: a mirror of BGSM, 64 bits.
pub const PAGE_TABLE_MIRROR: u64 = 0x10_8100;
/// In BAR 0: what firmware keeps of the device's memory (`STOLEN_RESERVED`), 64 bits from
/// generation 11 on.
pub const FIRMWARE: u64 = 0x10_82c0;

/// Of the host bridge: what firmware keeps at the top of the device's memory (PAVPC): base in bits
/// 31:20, size in bits 8:7, bit 0 on.
pub const BRIDGE_PROTECTED: u16 = 0x58;
/// Of the host bridge: the first address above memory the processor can use from 4 GiB on, low
/// half (TOUUD).
pub const TOP_HIGH_LOW: u16 = 0xa8;
/// The upper half of TOUUD.
pub const TOP_HIGH_HIGH: u16 = 0xac;
/// Of the host bridge: a copy of BDSM.
pub const BRIDGE_DATA: u16 = 0xb0;
/// Of the host bridge: a copy of BGSM.
pub const BRIDGE_PAGE_TABLE: u16 = 0xb4;
/// Of the host bridge: the first address above memory below 4 GiB (TOLUD).
pub const TOP_LOW: u16 = 0xbc;

/// What is kept of a graphics function's config space.
pub(crate) const OF_GRAPHICS: &[u16] = &[CONTROL, DATA, DATA_LOW, DATA_HIGH, PROTECTED, OP_REGION];
/// What is kept of the host bridge's.
pub(crate) const OF_HOST_BRIDGE: &[u16] =
    &[BRIDGE_PROTECTED, TOP_HIGH_LOW, TOP_HIGH_HIGH, BRIDGE_DATA, BRIDGE_PAGE_TABLE, TOP_LOW];

/// Addresses in registers count whole MiB; below are lock bits and the like.
pub(crate) const MEGABYTES: u32 = !0xf_ffff;

/// The address in a register of 32 bits that counts whole MiB, `None` for none.
pub fn whole_megabytes(register: u32) -> Option<Hpa> {
    Some(register & MEGABYTES).filter(|address| *address != 0).map(|it| Hpa::new(it.into()))
}

/// The OpRegion's address by ASLS, `None` if firmware made none.
pub fn op_region(register: u32) -> Option<Hpa> {
    (register != 0 && register != u32::MAX).then(|| Hpa::new(register.into()))
}

#[cfg(test)]
mod tests;
