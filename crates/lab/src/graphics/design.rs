//! Designs of graphics, as far as their stolen memory goes: a table.

use ringfence_addr::Hpa;

use super::entry::EntryFormat;

const MIB: usize = 1 << 20;

/// Where config space says where the memory begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataRegister {
    /// 32 bits at 0x5c.
    Low,
    /// 64 bits at 0xc0.
    Wide,
    /// Nowhere.
    Absent,
}

/// What BAR 2 is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behind {
    /// The aperture: what the page table names.
    PageTable,
    /// The memory itself, so many bytes in (`i915_gem_stolen_lmem_setup`).
    Memory {
        /// Bytes into BAR 2.
        at: usize,
    },
}

/// How the function can be reset by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResetBy {
    /// The capability of conventional PCI, Advanced Features.
    AdvancedFeatures,
    /// PCI Express.
    Express,
}

/// What firmware left in the memory for software, and software must leave there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Bytes into the memory.
    pub offset: usize,
    /// How many.
    pub bytes: usize,
}

/// One design, with memory of one size where firmware put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Design {
    /// What it is called.
    pub name: &'static str,
    /// Its device id.
    pub device: u16,
    /// Bytes of stolen memory (DSM).
    pub data_bytes: usize,
    /// Where that is.
    pub data: Hpa,
    /// How many bytes at its top firmware keeps (WOPCM).
    pub firmware_bytes: usize,
    /// What else is to stay.
    pub kept: &'static [Kept],
    /// Bytes of BAR 0.
    pub bar0_bytes: usize,
    /// Bytes of BAR 2.
    pub bar2_bytes: usize,
    /// Where in BAR 0 the page table begins. It goes on to the end.
    pub page_table_at: usize,
    /// GGC.
    pub(super) control: u16,
    /// Where config space says where the memory is.
    pub(super) data_register: DataRegister,
    pub(super) entries: EntryFormat,
    pub(super) behind: Behind,
    pub(super) reset_by: ResetBy,
    /// STOLEN_RESERVED.
    pub(super) firmware_register: u64,
    /// More registers in BAR 0.
    pub(super) registers: &'static [(usize, u32)],
}

impl Design {
    /// Bytes of the memory that software may use.
    pub fn usable_bytes(&self) -> usize {
        self.data_bytes - self.firmware_bytes
    }

    /// Bytes an entry of the page table has.
    pub fn entry_bytes(&self) -> usize {
        self.entries.bytes()
    }

    /// Whether the page table has to be used to reach the memory.
    pub fn has_aperture(&self) -> bool {
        self.behind == Behind::PageTable
    }
}

/// Where the power context is, and that it is in memory (`intel_rc6.c`, `RC6_CTX_BASE`, `RC6_LOCATION`).
const RC6_PLACE: usize = 0xd48;
const RC6_IN_MEMORY: (usize, u32) = (0xd40, 1);
/// Bay Trail's place of its power context (`VLV_PCBR`).
const PCBR: usize = 0x18_2120;

/// Generation 7: 32 MiB is the least, entries have 32 bits.
pub static HASWELL: Design = Design {
    name: "Haswell",
    device: 0x0412,
    data_bytes: 32 * MIB,
    data: Hpa::new(0x9e00_0000),
    firmware_bytes: MIB,
    kept: &[],
    bar0_bytes: 4 * MIB,
    bar2_bytes: 128 * MIB,
    page_table_at: 2 * MIB,
    // GGMS in bits 9:8: 2 MiB; GMS in bits 7:3: 32 MiB; bit 0 locks.
    control: 2 << 8 | 1 << 3 | 1,
    data_register: DataRegister::Low,
    entries: EntryFormat::Haswell,
    behind: Behind::PageTable,
    reset_by: ResetBy::AdvancedFeatures,
    // Base in bits 31:18, bit 5 clear: 1 MiB, bit 0 on.
    firmware_register: 0x9ff0_0000 | 1,
    registers: &[],
};

/// Generation 7 in a system on a chip: entries can be read-only, WOPCM's register has no address, and
/// firmware left a power context of 24 KiB in the memory (`vlv_rc6_init`).
pub static BAY_TRAIL: Design = Design {
    name: "Bay Trail",
    device: 0x0f31,
    data: Hpa::new(0x7b00_0000),
    kept: &[Kept { offset: 30 * MIB, bytes: 24 << 10 }],
    entries: EntryFormat::BayTrail,
    firmware_register: 1,
    registers: &[(PCBR, 0x7ce0_0000)],
    ..HASWELL
};

/// Generation 9: sizes in steps of 4 MiB, entries of 64 bits, a power context in the memory.
pub static SKYLAKE: Design = Design {
    name: "Skylake",
    device: 0x1912,
    data_bytes: 4 * MIB,
    data: Hpa::new(0x8b80_0000),
    firmware_bytes: MIB,
    kept: &[Kept { offset: 2 * MIB, bytes: 4096 }],
    bar0_bytes: 16 * MIB,
    bar2_bytes: 128 * MIB,
    page_table_at: 8 * MIB,
    // GMS in bits 15:8: 4 MiB; GGMS in bits 7:6: 8 MiB; bit 0 locks.
    control: 0xf0 << 8 | 3 << 6 | 1,
    data_register: DataRegister::Low,
    entries: EntryFormat::Wide39,
    behind: Behind::PageTable,
    reset_by: ResetBy::Express,
    // Base in bits 31:20, from there to the top.
    firmware_register: 0x8bb0_0000 | 1,
    registers: &[RC6_IN_MEMORY, (RC6_PLACE, 0x8ba0_0000)],
};

/// The same where firmware keeps all but 1 MiB: little to reach by traps.
pub static SKYLAKE_WITH_LITTLE: Design = Design {
    name: "Skylake with little",
    firmware_bytes: 3 * MIB,
    kept: &[Kept { offset: 0x1_0000, bytes: 4096 }],
    firmware_register: 0x8b90_0000 | 1,
    registers: &[RC6_IN_MEMORY, (RC6_PLACE, 0x8b81_0000)],
    ..SKYLAKE
};

/// Generation 12: addresses of 64 bits in registers; here the memory is above 4 GiB, so that half an
/// address is found out. The power context is in WOPCM, as `bxt_check_bios_rc6_setup` wants it.
pub static TIGER_LAKE: Design = Design {
    name: "Tiger Lake",
    device: 0x9a49,
    data: Hpa::new(0x4_7b80_0000),
    kept: &[],
    data_register: DataRegister::Wide,
    entries: EntryFormat::Wide46,
    // Base in bits 63:20, size in bits 8:7: 1 MiB.
    firmware_register: 0x4_7bb0_0000 | 1,
    registers: &[RC6_IN_MEMORY, (RC6_PLACE, 0x7bb8_0000), (RC6_PLACE + 4, 4)],
    ..SKYLAKE
};

/// From Meteor Lake on the memory is behind BAR 2, and BAR 0 alone says how much there is.
pub static METEOR_LAKE: Design = Design {
    name: "Meteor Lake",
    device: 0x7d55,
    data: Hpa::new(0x7b80_0000),
    bar2_bytes: 256 * MIB,
    data_register: DataRegister::Absent,
    behind: Behind::Memory { at: 8 * MIB },
    // The size in bits 8:7: 1 MiB, at the top wherever that is.
    firmware_register: 0x7bb0_0000 | 1,
    registers: &[RC6_IN_MEMORY, (RC6_PLACE, 0x7bb8_0000)],
    ..TIGER_LAKE
};
