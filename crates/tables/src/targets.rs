//! What a fuzzer runs: each reader over any bytes, which must give the same bytes back.

use crate::{Content, E820Extension, Header, Table, linux, read_reservations, read_zero_page};
use crate::{PciFunction, PciFunctions, as_linux, as_xen, findings_on_host, reserved_regions};
use ringfence_addr::PciAddress;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("tables_dmar", |bytes| table(*b"DMAR", bytes)),
    ("tables_ivrs", |bytes| table(*b"IVRS", bytes)),
    ("tables_iort", |bytes| table(*b"IORT", bytes)),
    ("tables_viot", |bytes| table(*b"VIOT", bytes)),
    ("tables_maps", maps),
];

/// Runs the target of this name, as fuzzers do.
///
/// # Panics
///
/// There is none, or it panics, which it must not.
pub fn run_target(name: &str, bytes: &[u8]) {
    let found = TARGETS.iter().find(|(each, _)| *each == name);
    found.unwrap_or_else(|| panic!("there is no target `{name}`")).1(bytes);
}

/// The bytes as they are, and as the body of a table with a right header.
fn table(signature: [u8; 4], bytes: &[u8]) {
    let Ok((given, _)) = Table::read(bytes) else { return };
    check(&given, bytes);
    let mut bytes = bytes.to_vec();
    bytes[..4].copy_from_slice(&signature);
    let length = u32::try_from(bytes.len()).expect("inputs are short");
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    let (mut made, _) = Table::read(&bytes).expect("it has a header");
    check(&made, &bytes);
    made.seal();
    let sealed = made.write();
    assert_eq!(Table::read(&sealed).expect("it was read before").0, made, "sealing changed more");
    check(&made, &sealed);
}

fn check(table: &Table, bytes: &[u8]) {
    assert_eq!(table.write(), bytes, "writing gives other bytes");
    assert!(table.findings().iter().all(|it| it.offset <= bytes.len()), "beyond the table");
    assert!(table.outline().iter().all(|it| it.offset <= bytes.len()), "beyond the table");
    let host = functions();
    let regions = reserved_regions([table]);
    for region in &regions {
        for address in host.by_address.keys() {
            region.devices.iter().for_each(|devices| _ = devices.include(*address, &host));
        }
    }
    for list in as_linux([table], &host).regions.values() {
        assert_eq!(&linux::group(list), list, "a list is not in the kernel's order");
    }
    _ = (as_xen(table), findings_on_host(table, &host));
}

/// A small host: a root bus with a bridge, a graphics device and others.
fn functions() -> PciFunctions {
    let endpoint = |class| PciFunction { class, is_bridge: false, behind: None, physical: None };
    let bridge = PciFunction {
        class: Some(0x06_0400),
        is_bridge: true,
        behind: Some((1, 2)),
        physical: None,
    };
    let all = [
        (0x0010, endpoint(Some(0x03_0000))),
        (0x00a0, endpoint(Some(0x0c_0330))),
        (0x00e0, bridge),
        (0x00f8, endpoint(Some(0x06_0100))),
        (0x0100, endpoint(None)),
    ];
    let at = |id| PciAddress::from_requester_id(0, id);
    let by_address = all.into_iter().map(|(id, function)| (at(id), function)).collect();
    PciFunctions { by_address, keeps_boot_setup: true }
}

fn maps(bytes: &[u8]) {
    if let Ok(extension) = E820Extension::read(bytes) {
        assert_eq!(extension.write(), bytes[..extension.write().len()], "other bytes");
    }
    let mut page = bytes.to_vec();
    page.resize(page.len().max(4096), 0);
    _ = read_zero_page(&page);
    let header = Header::new(*b"SSDT", 2);
    if let Ok(found) =
        read_reservations(&Table::new(header.clone(), Content::Other(bytes.to_vec())))
    {
        let again = crate::reserve(header, &found);
        let read = read_reservations(&again).expect("what we write we read");
        assert_eq!(read, found, "a reservation changed");
    }
}
