//! Tables that Linux takes in place of its firmware's: an archive in front of its initial ramdisk.
//!
//! `Documentation/admin-guide/acpi/initrd_table_override.rst`: an uncompressed archive (cpio, "newc")
//! with files in `kernel/firmware/acpi`. A table there replaces firmware's of the same signature, OEM
//! id and OEM table id if its OEM revision is higher, and is added if firmware has none.

use crate::Table;

const FOLDER: &str = "kernel/firmware/acpi";
const REGULAR: u32 = 0o100_644;
/// Where another archive may follow.
const ALIGNMENT: usize = 512;

/// The archive, to be put right before an initial ramdisk or to be one.
pub fn upgrade(tables: &[Table]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (table, number) in tables.iter().zip(1..) {
        let name = table.header.signature.to_string().to_ascii_lowercase();
        entry(&mut bytes, number, &format!("{FOLDER}/{name}.aml"), REGULAR, &table.write());
    }
    entry(&mut bytes, 0, "TRAILER!!!", 0, &[]);
    bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    bytes
}

fn entry(bytes: &mut Vec<u8>, number: u32, name: &str, mode: u32, content: &[u8]) {
    let length = u32::try_from(content.len()).expect("a table is shorter than 4 GiB");
    let name_length = u32::try_from(name.len() + 1).expect("a name is short");
    // inode, mode, user, group, links, time, length, 4 device numbers, length of the name, checksum
    let fields = [number, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name_length, 0];
    bytes.extend(b"070701");
    for field in fields {
        bytes.extend(format!("{field:08x}").bytes());
    }
    for part in [name.as_bytes(), b"\0"] {
        bytes.extend(part);
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Content, Dmar, Header, Ivrs};

    #[test]
    fn tables_lie_behind_their_names() {
        let dmar = Table::new(Header::new(*b"DMAR", 1), Content::Dmar(Dmar::new(39, Vec::new())));
        let ivrs = Table::new(Header::new(*b"IVRS", 2), Content::Ivrs(Ivrs::new(0, Vec::new())));
        let archive = upgrade(&[dmar.clone(), ivrs.clone()]);
        assert_eq!(archive.len() % ALIGNMENT, 0);
        let mut at = 0;
        for (name, table) in
            [("kernel/firmware/acpi/dmar.aml", dmar), ("kernel/firmware/acpi/ivrs.aml", ivrs)]
        {
            let head = std::str::from_utf8(&archive[at..at + 110]).expect("digits");
            let field = |number: usize| {
                usize::from_str_radix(&head[6 + 8 * number..14 + 8 * number], 16).expect("a number")
            };
            assert_eq!((&head[..6], field(11)), ("070701", name.len() + 1));
            assert_eq!(&archive[at + 110..at + 110 + name.len()], name.as_bytes());
            let content = (at + 110 + name.len() + 1).next_multiple_of(4);
            assert_eq!(archive[content..content + field(6)], table.write());
            at = (content + field(6)).next_multiple_of(4);
        }
        assert_eq!(&archive[at + 110..at + 120], b"TRAILER!!!");
    }
}
