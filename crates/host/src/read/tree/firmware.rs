//! The ACPI tables of a tree.

use crate::fact::Fact;
use crate::host::Host;
use crate::read::ivrs;

use super::functions::unknown;
use super::{Directory, Miss, Tree};

const TABLES: &str = "sys/firmware/acpi/tables";

/// The tables kept whole: what translates for whom, and what is reserved. Others may hold serial
/// numbers and licence keys.
const KEPT: &[&str] = &["DMAR", "IORT", "IVRS", "VIOT"];

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
        host.firmware_aliases = ivrs::aliases(bytes, &host.functions);
    }
}
