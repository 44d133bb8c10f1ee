//! Device entries of an IOMMU's block.
//!
//! AMD specification, section 5.2.2.2: the two high bits of a type say how long an entry is; from
//! 0xf0 on a length stands in it.

use crate::wire::{Wire, split};

/// The entries of a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceEntries {
    /// In their order.
    pub list: Vec<DeviceEntry>,
    /// What follows and is no entry: nothing, unless the table is broken.
    pub rest: Vec<u8>,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceEntry {
    /// Four bytes: padding (0), all (1), one (2), a range's first (3) and last (4).
    Short {
        /// The type.
        kind: u8,
        /// The requester id.
        device: u16,
        /// Which special interrupts pass, and whether MSIs may.
        setting: u8,
    },
    /// 0x42, 0x43: one, or a range's first, that uses another's requester id.
    Alias {
        /// The type.
        kind: u8,
        /// The requester id.
        device: u16,
        /// As above.
        setting: u8,
        /// Reserved.
        reserved: u8,
        /// Whose id its requests carry.
        alias: u16,
        /// Reserved.
        reserved_too: u8,
    },
    /// 0x46, 0x47: one, or a range's first, with more settings.
    Extended {
        /// The type.
        kind: u8,
        /// The requester id.
        device: u16,
        /// As above.
        setting: u8,
        /// Bit 31: it must not use ATS.
        extended: u32,
    },
    /// 0x48: an I/O APIC or HPET.
    Special {
        /// Reserved.
        reserved: u16,
        /// As above.
        setting: u8,
        /// The I/O APIC's id, or the HPET's number.
        handle: u8,
        /// The requester id its requests carry.
        device: u16,
        /// 1: I/O APIC; 2: HPET.
        variety: u8,
    },
    /// Other types below 0x80 with eight bytes: padding (0x40), reserved.
    Long {
        /// The type.
        kind: u8,
        /// Everything behind it.
        body: [u8; 7],
    },
    /// 0xf0: a device of the ACPI name space.
    Named {
        /// The requester id.
        device: u16,
        /// As above.
        setting: u8,
        /// Its hardware id.
        hardware_id: [u8; 8],
        /// What it is compatible with.
        compatible_id: [u8; 8],
        /// 0: none; 1: a number; 2: text.
        unique_format: u8,
        /// Which of several.
        unique: Vec<u8>,
    },
    /// Reserved types from 0x80 to 0xef: 16 or 32 bytes.
    Reserved {
        /// The type.
        kind: u8,
        /// Everything behind it.
        body: Vec<u8>,
    },
}

impl DeviceEntry {
    /// The number of its type.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Short { kind, .. }
            | Self::Alias { kind, .. }
            | Self::Extended { kind, .. }
            | Self::Long { kind, .. }
            | Self::Reserved { kind, .. } => *kind,
            Self::Special { .. } => 0x48,
            Self::Named { .. } => 0xf0,
        }
    }

    fn parse(kind: u8, bytes: &mut &[u8]) -> Option<Self> {
        Some(match kind {
            ..0x40 => Self::Short { kind, device: Wire::take(bytes)?, setting: Wire::take(bytes)? },
            0x42 | 0x43 => Self::Alias {
                kind,
                device: Wire::take(bytes)?,
                setting: Wire::take(bytes)?,
                reserved: Wire::take(bytes)?,
                alias: Wire::take(bytes)?,
                reserved_too: Wire::take(bytes)?,
            },
            0x46 | 0x47 => Self::Extended {
                kind,
                device: Wire::take(bytes)?,
                setting: Wire::take(bytes)?,
                extended: Wire::take(bytes)?,
            },
            0x48 => Self::Special {
                reserved: Wire::take(bytes)?,
                setting: Wire::take(bytes)?,
                handle: Wire::take(bytes)?,
                device: Wire::take(bytes)?,
                variety: Wire::take(bytes)?,
            },
            0x40..0x80 => Self::Long { kind, body: Wire::take(bytes)? },
            0x80..0xf0 => {
                let length = (4 << (kind >> 6)) - 1;
                Self::Reserved { kind, body: split(bytes, length)?.to_vec() }
            }
            0xf0 => Self::Named {
                device: Wire::take(bytes)?,
                setting: Wire::take(bytes)?,
                hardware_id: Wire::take(bytes)?,
                compatible_id: Wire::take(bytes)?,
                unique_format: Wire::take(bytes)?,
                unique: {
                    let length = u8::take(bytes)?;
                    split(bytes, length.into())?.to_vec()
                },
            },
            _ => return None,
        })
    }
}

impl Wire for DeviceEntry {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut ahead = *bytes;
        let kind = u8::take(&mut ahead)?;
        let entry = Self::parse(kind, &mut ahead)?;
        *bytes = ahead;
        Some(entry)
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.kind());
        match self {
            Self::Short { device, setting, .. } => {
                device.put(bytes);
                setting.put(bytes);
            }
            Self::Alias { device, setting, reserved, alias, reserved_too, .. } => {
                device.put(bytes);
                bytes.extend([*setting, *reserved]);
                alias.put(bytes);
                reserved_too.put(bytes);
            }
            Self::Extended { device, setting, extended, .. } => {
                device.put(bytes);
                setting.put(bytes);
                extended.put(bytes);
            }
            Self::Special { reserved, setting, handle, device, variety } => {
                reserved.put(bytes);
                bytes.extend([*setting, *handle]);
                device.put(bytes);
                variety.put(bytes);
            }
            Self::Long { body, .. } => body.put(bytes),
            Self::Named { device, setting, hardware_id, compatible_id, unique_format, unique } => {
                device.put(bytes);
                setting.put(bytes);
                hardware_id.put(bytes);
                compatible_id.put(bytes);
                unique_format.put(bytes);
                bytes.push(u8::try_from(unique.len()).expect("its length stands in a byte"));
                unique.put(bytes);
            }
            Self::Reserved { body, .. } => body.put(bytes),
        }
    }
}

impl Wire for DeviceEntries {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut entries = Self::default();
        while let Some(entry) = DeviceEntry::take(bytes) {
            entries.list.push(entry);
        }
        entries.rest = Wire::take(bytes)?;
        Some(entries)
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        for entry in &self.list {
            entry.put(bytes);
        }
        self.rest.put(bytes);
    }
}
