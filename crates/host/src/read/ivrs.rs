//! The aliases that AMD's IVRS table states.
//!
//! AMD I/O Virtualization Technology Specification, section 5.2: blocks of type 0x10, 0x11 and 0x40
//! hold device entries; types 0x42 (one) and 0x43 (a range, which ends with an entry of type 4)
//! give requester ids another.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;

use crate::function::Function;

/// Where blocks begin, behind the table's header.
const BLOCKS: usize = 48;
/// Assignments, at most: a table repeats itself when it has more than there are requester ids.
const MOST: usize = 1 << 16;

/// From functions to those whose requester ids they put on the bus.
pub(super) fn aliases(
    table: &[u8],
    functions: &BTreeMap<PciAddress, Function>,
) -> BTreeMap<PciAddress, PciAddress> {
    let mut found = Found { functions, aliases: BTreeMap::new(), steps: 0 };
    let mut rest = table.get(BLOCKS..).unwrap_or_default();
    while let [kind, _, low, high, ..] = *rest {
        let length = usize::from(u16::from_le_bytes([low, high]));
        // A block of no length would be met for ever.
        let Some(block) = rest.get(..length).filter(|block| block.len() >= 4) else { break };
        let entries = match kind {
            0x10 => block.get(24..),
            0x11 | 0x40 => block.get(40..),
            _ => None,
        };
        if let Some(entries) = entries
            && let Some([low, high]) = block.get(16..18)
        {
            found.take(u16::from_le_bytes([*low, *high]).into(), entries);
        }
        rest = &rest[length..];
    }
    found.aliases
}

struct Found<'a> {
    functions: &'a BTreeMap<PciAddress, Function>,
    aliases: BTreeMap<PciAddress, PciAddress>,
    steps: usize,
}

impl Found<'_> {
    /// Takes the entries of one block.
    fn take(&mut self, domain: u32, mut entries: &[u8]) {
        let mut range = None;
        while let Some(&kind) = entries.first() {
            let length = match kind {
                // An ACPI device, whose name has a length.
                0xf0 => 22 + usize::from(entries.get(21).copied().unwrap_or_default()),
                _ => 4 << (kind >> 6),
            };
            let Some(entry) = entries.get(..length) else { return };
            let id = |at: usize| match entry.get(at..at + 2) {
                Some([low, high]) => u16::from_le_bytes([*low, *high]),
                _ => 0,
            };
            match kind {
                0x42 => self.assign(domain, id(1), id(1), id(5)),
                0x43 => range = Some((id(1), id(5))),
                0x04 => {
                    if let Some((first, to)) = range.take() {
                        self.assign(domain, first, id(1), to);
                    }
                }
                _ => {}
            }
            entries = &entries[length..];
        }
    }

    fn assign(&mut self, domain: u32, first: u16, last: u16, to: u16) {
        if first > last {
            return;
        }
        let to = PciAddress::from_requester_id(domain, to);
        let place = |id| PciAddress::from_requester_id(domain, id);
        for (from, _) in self.functions.range(place(first)..=place(last)) {
            if self.steps == MOST {
                return;
            }
            self.steps += 1;
            if *from != to {
                self.aliases.insert(*from, to);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> PciAddress {
        text.parse().expect("an address")
    }

    fn functions() -> BTreeMap<PciAddress, Function> {
        ["00:01.0", "01:00.0", "01:00.1", "02:00.0"]
            .map(address)
            .map(|address| (address, Function::new(address)))
            .into()
    }

    fn table(entries: &[u8]) -> Vec<u8> {
        let mut table = vec![0; BLOCKS];
        let length = u16::try_from(24 + entries.len()).expect("short").to_le_bytes();
        table.extend([0x10, 0, length[0], length[1]]);
        table.extend([0; 20]);
        table.extend(entries);
        table
    }

    #[test]
    fn one_and_a_range_are_found() {
        let entries = [
            [0x42, 0x08, 0x00, 0, 0, 0xa0, 0x00, 0].as_slice(),
            &[0x43, 0x00, 0x01, 0, 0, 0x00, 0x01, 0],
            &[0x04, 0x01, 0x01, 0],
        ];
        let found = aliases(&table(&entries.concat()), &functions());
        let expected = [("00:01.0", "00:14.0"), ("01:00.1", "01:00.0")];
        assert_eq!(found, expected.map(|(from, to)| (address(from), address(to))).into());
    }

    #[test]
    fn a_table_cut_anywhere_gives_what_is_before_the_cut() {
        let whole = table(&[0x42, 0x08, 0x00, 0, 0, 0xa0, 0x00, 0]);
        for length in 0..whole.len() {
            assert!(aliases(&whole[..length], &functions()).is_empty(), "{length}");
        }
        assert_eq!(aliases(&whole, &functions()).len(), 1);
    }
}
