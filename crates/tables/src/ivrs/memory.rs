//! Memory with a meaning to devices (IVMD).

use crate::wire::Wire;

/// Bytes of a memory block as the specification has it.
pub(crate) const IVMD_BYTES: usize = 32;

/// Flags of a memory block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IvmdFlags;

impl IvmdFlags {
    /// Mapped at the same number.
    pub const UNITY: u8 = 1;
    /// Devices may read.
    pub const READ: u8 = 2;
    /// Devices may write.
    pub const WRITE: u8 = 4;
    /// Not translated at all.
    pub const EXCLUSION: u8 = 8;
}

/// A memory block: for all devices (0x20), one (0x21), a range (0x22), all of one IOMMU (0x23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ivmd {
    /// The type.
    pub kind: u8,
    /// [`IvmdFlags`].
    pub flags: u8,
    /// The requester id, the first of a range, or the IOMMU's.
    pub device: u16,
    /// The last requester id of a range; the offset of an IOMMU's capability.
    pub last: u16,
    /// The PCI segment, as Linux reads it; reserved in the specification.
    pub segment: u16,
    /// Reserved.
    pub reserved: [u8; 6],
    /// Host-physical address of the first byte.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// What else there is.
    pub tail: Vec<u8>,
}

impl Ivmd {
    /// A region that devices `first` to `last` of segment 0 may read and write at its own number.
    pub fn unity(first: u16, last: u16, start: u64, length: u64) -> Self {
        let kind = if first == last { 0x21 } else { 0x22 };
        let flags = IvmdFlags::UNITY | IvmdFlags::READ | IvmdFlags::WRITE;
        let last = if first == last { 0 } else { last };
        let (reserved, tail) = ([0; 6], Vec::new());
        Self { kind, flags, device: first, last, segment: 0, reserved, start, length, tail }
    }

    pub(super) fn read(kind: u8, flags: u8, mut body: &[u8]) -> Option<Self> {
        let bytes = &mut body;
        Some(Self {
            kind,
            flags,
            device: Wire::take(bytes)?,
            last: Wire::take(bytes)?,
            segment: Wire::take(bytes)?,
            reserved: Wire::take(bytes)?,
            start: Wire::take(bytes)?,
            length: Wire::take(bytes)?,
            tail: Wire::take(bytes)?,
        })
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        self.device.put(bytes);
        self.last.put(bytes);
        self.segment.put(bytes);
        self.reserved.put(bytes);
        self.start.put(bytes);
        self.length.put(bytes);
        self.tail.put(bytes);
    }

    /// Whether it is excluded from translation, whatever its other flags say.
    pub fn is_exclusion(&self) -> bool {
        self.flags & IvmdFlags::EXCLUSION != 0
    }

    /// Whether it is mapped at the same number.
    pub fn is_unity(&self) -> bool {
        self.flags & IvmdFlags::UNITY != 0
    }

    /// The requester ids it is for, first and last; none for all devices of an IOMMU, or where the
    /// last is below the first.
    pub fn requesters(&self) -> Option<(u16, u16)> {
        match self.kind {
            0x20 => Some((0, u16::MAX)),
            0x21 => Some((self.device, self.device)),
            0x22 => (self.device <= self.last).then_some((self.device, self.last)),
            _ => None,
        }
    }
}
