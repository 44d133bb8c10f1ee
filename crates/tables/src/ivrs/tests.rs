//! Tests of IVRS.

use super::*;
use crate::made::{bus_unit, ivhd, ivmd, ivrs, select};
use crate::{Content, Header, Table, codes};

fn every_entry() -> Vec<DeviceEntry> {
    let short = |kind, device| DeviceEntry::Short { kind, device, setting: 0xd7 };
    let alias = |kind, device, alias| DeviceEntry::Alias {
        kind,
        device,
        setting: 0,
        reserved: 1,
        alias,
        reserved_too: 2,
    };
    vec![
        short(0, 0),
        short(1, 0),
        short(2, 8),
        short(3, 0x100),
        short(4, 0x1ff),
        DeviceEntry::Long { kind: 0x40, body: [1, 2, 3, 4, 5, 6, 7] },
        alias(0x42, 0x208, 0x200),
        alias(0x43, 0x300, 0x3ff),
        short(4, 0x307),
        DeviceEntry::Extended { kind: 0x46, device: 0x400, setting: 0, extended: 1 << 31 },
        DeviceEntry::Extended { kind: 0x47, device: 0x500, setting: 0, extended: 0 },
        short(4, 0x5ff),
        DeviceEntry::Special { reserved: 0, setting: 0, handle: 4, device: 0xa0, variety: 1 },
        DeviceEntry::Named {
            device: 0xa5,
            setting: 0,
            hardware_id: *b"AMDI0020",
            compatible_id: [0; 8],
            unique_format: 2,
            unique: b"\\_SB.FUR0".to_vec(),
        },
        DeviceEntry::Reserved { kind: 0x81, body: vec![9; 15] },
        DeviceEntry::Reserved { kind: 0xc1, body: vec![9; 31] },
    ]
}

#[test]
fn every_entry_reads_back_as_itself() {
    for kind in [0x10, 0x11, 0x40] {
        let table = ivrs(vec![ivhd(kind, every_entry()), ivmd(0, 0xfff, 0x2000, 0x1000)]);
        let (read, _) = Table::read(&table.write()).expect("it has a header");
        assert_eq!(read, table);
        let Content::Ivrs(read) = read.content else { panic!("it is an IVRS") };
        let Block::Ivhd(read) = &read.blocks[0] else { panic!("it is an IOMMU") };
        assert_eq!(read.entries.list, every_entry());
    }
}

#[test]
fn a_memory_block_is_where_the_specification_has_it() {
    let bytes = ivrs(vec![ivmd(8, 0x10, 0x7b00_0000, 0x1000)]).write();
    let block = [
        [0x22, 7, 32, 0, 8, 0, 0x10, 0].as_slice(),
        &[0; 8],
        &[0, 0, 0, 0x7b, 0, 0, 0, 0],
        &[0, 0x10, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(bytes[48..], block.concat());
}

#[test]
fn aliases_and_devices_are_those_stated() {
    let Block::Ivhd(unit) = ivhd(0x11, every_entry()) else { panic!("it is one") };
    let spans = unit.requesters();
    for expected in [(0, 0xffff), (8, 8), (0x100, 0x1ff), (0x200, 0x200), (0x3ff, 0x3ff)] {
        assert!(spans.contains(&expected), "{expected:x?} in {spans:x?}");
    }
    for expected in [(0x300, 0x307), (0x400, 0x400), (0x500, 0x5ff), (0xa0, 0xa0), (0xa5, 0xa5)] {
        assert!(spans.contains(&expected), "{expected:x?} in {spans:x?}");
    }
    let table = Ivrs::new(0, vec![Block::Ivhd(unit)]);
    let alias = |first, last, to| Alias { segment: 0, first, last, to };
    assert_eq!(table.aliases(), [alias(0x208, 0x208, 0x200), alias(0x300, 0x307, 0x3ff)]);
}

#[test]
fn a_range_that_begins_nowhere_is_of_nobody() {
    let ends = [(4, 7), (3, 9), (4, 8)];
    let list = ends.map(|(kind, device)| DeviceEntry::Short { kind, device, setting: 0 });
    let Block::Ivhd(unit) = ivhd(0x10, list.into()) else { panic!("it is one") };
    assert_eq!(unit.requesters(), []);
}

#[test]
fn what_is_cut_is_kept_as_it_is() {
    let whole = ivrs(vec![bus_unit(), ivhd(0x11, vec![select(8)])]).write();
    for length in 48..whole.len() {
        let (table, _) = Table::read(&whole[..length]).expect("it has a header");
        assert_eq!(table.write(), whole[..length], "{length}");
    }
}

/// As many regions as fit into the largest table that is read: each looked up among all blocks would be
/// minutes.
#[test]
fn a_large_table_takes_no_time() {
    let regions = (0..30_000_u64).map(|at| Block::Ivmd(Ivmd::unity(0, 0xfff, at << 12, 0x1000)));
    let ivrs = Ivrs::new(0, regions.collect());
    let table = Table::new(Header::new(*b"IVRS", 2), Content::Ivrs(ivrs));
    let findings = table.findings();
    let missing = findings.iter().filter(|one| *one.code == codes::IVMD_NO_UNIT).count();
    assert_eq!(missing, 30_000, "no IOMMU is there");
}
