//! An IOMMU and the devices it translates for (IVHD).

use super::DeviceEntries;
use super::entry::DeviceEntry;
use crate::wire::{Wire, placed};

/// An IOMMU's block: types 0x10, 0x11 and 0x40.
///
/// Firmware states the same IOMMU in several types, for kernels of several ages; each uses one type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ivhd {
    /// The type.
    pub kind: u8,
    /// How it is to be set up.
    pub flags: u8,
    /// Its own requester id.
    pub device: u16,
    /// Offset of its capability in config space.
    pub capability: u16,
    /// Host-physical address of its registers.
    pub base: u64,
    /// The PCI segment.
    pub segment: u16,
    /// Its MSI number and unit id.
    pub info: u16,
    /// What it can do, in brief.
    pub attributes: u32,
    /// Copies of its extended feature registers; type 0x10 has none.
    pub features: Option<[u64; 2]>,
    /// The devices it translates for.
    pub entries: DeviceEntries,
}

impl Ivhd {
    pub(super) fn read(kind: u8, flags: u8, mut body: &[u8]) -> Option<Self> {
        let bytes = &mut body;
        Some(Self {
            kind,
            flags,
            device: Wire::take(bytes)?,
            capability: Wire::take(bytes)?,
            base: Wire::take(bytes)?,
            segment: Wire::take(bytes)?,
            info: Wire::take(bytes)?,
            attributes: Wire::take(bytes)?,
            features: match kind {
                0x10 => None,
                _ => Some([Wire::take(bytes)?, Wire::take(bytes)?]),
            },
            entries: Wire::take(bytes)?,
        })
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        self.device.put(bytes);
        self.capability.put(bytes);
        self.base.put(bytes);
        self.segment.put(bytes);
        self.info.put(bytes);
        self.attributes.put(bytes);
        for register in self.features.iter().flatten() {
            register.put(bytes);
        }
        self.entries.put(bytes);
    }

    /// Bytes of the block before its entries, type and length included.
    pub fn entries_at(&self) -> usize {
        if self.features.is_some() { 40 } else { 24 }
    }

    /// The entries, each with its offset in the block.
    pub fn placed(&self) -> impl Iterator<Item = (usize, &DeviceEntry)> {
        placed(&self.entries.list, self.entries_at())
    }

    /// The spans of requester ids that it translates for, first and last, as its entries state them.
    pub fn requesters(&self) -> Vec<(u16, u16)> {
        let mut spans = Vec::new();
        let mut range = None;
        for entry in &self.entries.list {
            match *entry {
                DeviceEntry::Short { kind: 1, .. } => spans.push((0, u16::MAX)),
                DeviceEntry::Short { kind: 2, device, .. }
                | DeviceEntry::Extended { kind: 0x46, device, .. }
                | DeviceEntry::Named { device, .. } => spans.push((device, device)),
                DeviceEntry::Special { device, .. } => spans.push((device, device)),
                DeviceEntry::Alias { kind: 0x42, device, alias, .. } => {
                    spans.extend([(device, device), (alias, alias)]);
                }
                DeviceEntry::Alias { device, alias, .. } => {
                    range = Some(device);
                    spans.push((alias, alias));
                }
                DeviceEntry::Short { kind: 3, device, .. }
                | DeviceEntry::Extended { device, .. } => range = Some(device),
                DeviceEntry::Short { kind: 4, device, .. } => {
                    let first = range.take();
                    spans.extend(first.filter(|first| *first <= device).map(|it| (it, device)));
                }
                _ => {}
            }
        }
        spans
    }
}
