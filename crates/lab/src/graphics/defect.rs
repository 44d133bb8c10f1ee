//! Ways in which hardware, or what firmware told it, can be wrong: one at a time.

/// What is broken about a graphics device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// So many entries can be written; from then on the page table stays as it is.
    EntriesLockAfter(u64),
    /// No entry goes back to what it was at the start.
    EntriesDoNotReturn,
    /// Translations are those of the start for ever.
    FlushIgnored,
    /// The lowest bit of one byte of the memory is always set.
    BitStuck {
        /// Bytes into the memory.
        offset: usize,
    },
    /// The IOMMU translates what the device reaches by its page table, and its domain has no such page:
    /// memory reads as zeros, writes are lost.
    Translated,
    /// There is less memory than GGC says, here and there alike; what is above WOPCM is others'.
    Smaller,
    /// GGC's mirror in BAR 0 has another size than config space.
    ControlDisagrees,
    /// BDSM's mirror in BAR 0 has another address than config space.
    DataDisagrees,
    /// STOLEN_RESERVED names memory that is not the device's.
    FirmwareOutside,
    /// BAR 0 reads as all ones and takes nothing, as what has lost its power does.
    Dead,
}

impl Defect {
    /// Whether it shows at once, so that no access may pass the model by.
    pub(super) fn shows_at_once(self) -> bool {
        matches!(self, Self::BitStuck { .. } | Self::Translated)
    }
}
