//! The ACPI tables of a tree.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;
use ringfence_tables::{Content, Table};

use crate::fact::Fact;
use crate::function::Function;
use crate::host::Host;

use super::functions::unknown;
use super::{Directory, Miss, Tree};

const TABLES: &str = "sys/firmware/acpi/tables";

/// The tables kept whole: what translates for whom, and what is reserved. Others may hold serial
/// numbers and licence keys.
const KEPT: &[&str] = &["DMAR", "IORT", "IVRS", "VIOT"];

/// Functions that are given an alias, at most: a table repeats itself when it has more than there are
/// requester ids.
const ALIASED_MAX: usize = 1 << 16;

/// Whether there is any of the tables that are kept.
pub(super) fn has_tables(tree: &impl Tree) -> bool {
    tree.names(TABLES).is_ok_and(|names| names.iter().any(|name| KEPT.contains(&&**name)))
}

/// Reads the names of all tables and the bytes of those that count.
pub(super) fn read(tree: &impl Tree, host: &mut Host) {
    let names = match tree.names(TABLES) {
        Ok(names) => names,
        // Firmware without ACPI.
        Err(Miss::Absent) if tree.names("sys/firmware").is_ok() => Vec::new(),
        Err(miss) => {
            host.tables = Fact::Unknown(unknown(miss));
            return;
        }
    };
    // `SSDT12` is the twelfth of its signature; `data` and `dynamic` are directories.
    let mut signatures: Vec<String> = names
        .iter()
        .filter_map(|name| name.get(..4))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()))
        .map(str::to_owned)
        .collect();
    signatures.dedup();
    let directory = tree.directory(TABLES);
    for name in KEPT.iter().filter(|name| signatures.iter().any(|it| it == *name)) {
        let bytes = directory.bytes(name);
        let bytes = bytes.map_or_else(|miss| Fact::Unknown(unknown(miss)), Fact::Known);
        host.table_bytes.insert((*name).to_owned(), bytes);
    }
    host.tables = Fact::Known(signatures);
    if let Some(Fact::Known(bytes)) = host.table_bytes.get("IVRS") {
        host.firmware_aliases = aliases(bytes, &host.functions);
    }
}

/// From functions to those whose requester ids they put on the bus, as an IVRS has it.
fn aliases(
    table: &[u8],
    functions: &BTreeMap<PciAddress, Function>,
) -> BTreeMap<PciAddress, PciAddress> {
    let stated = match Table::read(table) {
        Ok((Table { content: Content::Ivrs(ivrs), .. }, _)) => ivrs.aliases(),
        _ => Vec::new(),
    };
    let given = stated.iter().flat_map(|alias| {
        let place = |id| PciAddress::from_requester_id(alias.segment.into(), id);
        let aliased = functions.range(place(alias.first)..=place(alias.last));
        aliased.map(move |(from, _)| (*from, place(alias.to)))
    });
    given.take(ALIASED_MAX).filter(|(from, to)| from != to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IVRS with one IOMMU: an alias of one function, and one of a range.
    fn table() -> Vec<u8> {
        let entries = [
            [0x42, 0x08, 0x00, 0, 0, 0xa0, 0x00, 0].as_slice(),
            &[0x43, 0x00, 0x01, 0, 0, 0x00, 0x01, 0],
            &[0x04, 0x01, 0x01, 0],
        ];
        let entries = entries.concat();
        let mut table = b"IVRS".to_vec();
        table.resize(48, 0);
        table.extend([0x10, 0, u8::try_from(24 + entries.len()).expect("short"), 0]);
        table.extend([0; 20]);
        table.extend(entries);
        table[4] = u8::try_from(table.len()).expect("short");
        table
    }

    fn functions() -> BTreeMap<PciAddress, Function> {
        let at = |text: &str| text.parse().expect("an address");
        ["00:01.0", "01:00.0", "01:00.1", "02:00.0"]
            .map(at)
            .map(|address| (address, Function::new(address)))
            .into()
    }

    #[test]
    fn one_and_a_range_are_found() {
        let at = |text: &str| text.parse::<PciAddress>().expect("an address");
        let expected = [("00:01.0", "00:14.0"), ("01:00.1", "01:00.0")];
        let expected = expected.map(|(from, to)| (at(from), at(to)));
        assert_eq!(aliases(&table(), &functions()), expected.into());
    }

    #[test]
    fn a_table_cut_anywhere_gives_what_is_whole() {
        let whole = table();
        for length in 0..whole.len() {
            assert!(aliases(&whole[..length], &functions()).is_empty(), "{length}");
        }
    }
}
