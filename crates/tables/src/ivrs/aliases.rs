//! Requester ids that the table says stand for another.

use super::{DeviceEntry, Ivrs};

/// Requests of some functions carry the id of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alias {
    /// The PCI segment.
    pub segment: u16,
    /// The first function's requester id.
    pub first: u16,
    /// The last function's.
    pub last: u16,
    /// The id that their requests carry.
    pub to: u16,
}

impl Ivrs {
    /// All of them, in the order of the table.
    pub fn aliases(&self) -> Vec<Alias> {
        let mut aliases = Vec::new();
        for (_, ivhd) in self.ivhds() {
            let segment = ivhd.segment;
            let mut range = None;
            for entry in &ivhd.entries.list {
                match *entry {
                    DeviceEntry::Alias { kind: 0x42, device, alias, .. } => {
                        aliases.push(Alias { segment, first: device, last: device, to: alias });
                    }
                    DeviceEntry::Alias { device, alias, .. } => range = Some((device, alias)),
                    DeviceEntry::Short { kind: 4, device: last, .. } => {
                        let begun = range.take().filter(|(first, _)| *first <= last);
                        aliases.extend(begun.map(|(first, to)| Alias { segment, first, last, to }));
                    }
                    _ => {}
                }
            }
        }
        aliases
    }
}
