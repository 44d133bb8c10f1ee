//! Every finding is raised by a table that has what it tells of, and a table in order has none.

use std::collections::BTreeSet;

use super::all;
use crate::dmar::{Andd, Atsr, Drhd, Rhsa, ScopeKind, Scopes, Structure};
use crate::iort::Node;
use crate::ivrs::{Block, DeviceEntry};
use crate::made::{
    bus_unit, dmar, endpoint, iort, ivhd, ivmd, ivrs, rmr, rmrr, scopes, select, unit, viot,
};
use crate::{Content, PciFunction, PciFunctions, PciRange, Table, ViotKind, VirtioPci};
use crate::{Header, findings_on_host};

fn found(table: &Table) -> Vec<&'static str> {
    let (read, findings) = Table::read(&table.write()).expect("it has a header");
    assert_eq!(read.write(), table.write());
    findings.iter().map(|finding| finding.code.name).collect()
}

/// Checks that the table has this finding, and notes it.
#[track_caller]
fn check(seen: &mut BTreeSet<&'static str>, name: &'static str, table: &Table) {
    let found = found(table);
    assert!(found.contains(&name), "{name}: {found:?}");
    seen.insert(name);
}

fn with_bytes(table: &Table, change: impl FnOnce(&mut Vec<u8>)) -> Table {
    let mut bytes = table.write();
    change(&mut bytes);
    Table::read(&bytes).expect("it has a header").0
}

#[test]
fn a_table_in_order_has_no_findings() {
    let region = rmrr(0x7b00_0000, 0x7b7f_ffff, endpoint(2));
    assert_eq!(found(&dmar(vec![unit(), region])), [""; 0]);
    assert_eq!(found(&ivrs(vec![bus_unit(), ivmd(8, 8, 0x7b00_0000, 0x1000)])), [""; 0]);
    assert_eq!(found(&iort(6, vec![])), [""; 0]);
    let iommu = ViotKind::VirtioPci(VirtioPci { segment: 0, device: 8, reserved: [0; 8] });
    assert_eq!(found(&viot(vec![iommu])), [""; 0]);
    assert_eq!(found(&Table::new(Header::new(*b"SSDT", 2), Content::Other(vec![1]))), [""; 0]);
}

#[test]
fn every_finding_is_raised() {
    let mut seen = BTreeSet::new();
    any_table(&mut seen);
    intel(&mut seen);
    units_and_scopes(&mut seen);
    amd(&mut seen);
    amd_memory(&mut seen);
    arm(&mut seen);
    virtual_iommus(&mut seen);
    on_the_host(&mut seen);
    let names: BTreeSet<&str> = all().map(|code| code.name).collect();
    let missing: Vec<_> = names.difference(&seen).collect();
    assert!(missing.is_empty(), "no case raises {missing:?}");
    assert_eq!(names.len(), all().count(), "two findings have the same name");
}

#[test]
fn every_finding_says_what_is_wrong_and_what_becomes_of_it() {
    for code in all() {
        for text in [code.sentence, code.linux, code.xen] {
            assert!(
                text.ends_with('.') && text.starts_with(|it: char| it.is_uppercase() || it == '"'),
                "{}: {text:?}",
                code.name
            );
        }
    }
}

fn any_table(seen: &mut BTreeSet<&'static str>) {
    let plain = dmar(vec![unit()]);
    let length = |length: u32| {
        with_bytes(&plain, |bytes| bytes[4..8].copy_from_slice(&length.to_le_bytes()))
    };
    check(seen, "length-below-header", &length(20));
    check(seen, "length-beyond-file", &length(0x1000));
    check(seen, "bytes-behind", &with_bytes(&plain, |bytes| bytes.push(7)));
    check(seen, "checksum", &with_bytes(&plain, |bytes| bytes[9] ^= 1));
    check(seen, "fixed-part-short", &Table::new(Header::new(*b"DMAR", 1), Content::Other(vec![])));
    check(seen, "region-wraps", &ivrs(vec![bus_unit(), ivmd(8, 8, u64::MAX - 1, 0x1000)]));
    let region = |first, last| dmar(vec![unit(), rmrr(first, last, endpoint(2))]);
    check(seen, "region-below-1m", &region(0xe_d000, 0xe_ffff));
    check(seen, "region-over-msi", &region(0xfee0_0000, 0xfee0_0fff));
    check(seen, "region-above-4g", &region(1 << 33, (1 << 33) + 0xfff));
    let reserved = with_bytes(&plain, |bytes| bytes[40] = 1);
    check(seen, "reserved-not-zero", &reserved);
}

fn intel(seen: &mut BTreeSet<&'static str>) {
    let rest = |rest: &[u8]| {
        let mut table = dmar(vec![unit()]);
        if let Content::Dmar(dmar) = &mut table.content {
            dmar.rest = rest.to_vec();
        }
        table.seal();
        table
    };
    check(seen, "dmar-zero-length", &rest(&[1, 0, 0, 0]));
    check(seen, "dmar-past-end", &rest(&[1, 0, 40, 0]));
    let unknown = |kind| Structure::Unknown { kind, body: vec![0; 4] };
    check(seen, "dmar-structure-short", &dmar(vec![unit(), unknown(1)]));
    check(seen, "dmar-unknown-structure", &dmar(vec![unit(), unknown(99)]));
    check(seen, "dmar-address-width", &with_bytes(&dmar(vec![unit()]), |bytes| bytes[36] = 3));
    check(seen, "dmar-no-units", &dmar(vec![]));
    let region = |first, last, scopes| dmar(vec![unit(), rmrr(first, last, scopes)]);
    check(seen, "rmrr-unaligned", &region(0x2e00_0000, 0x2e00_0ffe, endpoint(4)));
    check(seen, "rmrr-inverted", &region(0x2e00_0000, 0x2dff_ffff, endpoint(4)));
    check(seen, "rmrr-beyond-width", &region(1 << 39, (1 << 39) + 0xfff, endpoint(4)));
    let two =
        [rmrr(0x1000_0000, 0x10ff_ffff, endpoint(2)), rmrr(0x10ff_f000, 0x1100_0fff, endpoint(3))];
    check(seen, "rmrr-overlap", &dmar([vec![unit()], two.to_vec()].concat()));
    check(seen, "rmrr-no-scope", &region(0x2e00_0000, 0x2e00_0fff, Scopes::default()));
    let pair = scopes(&[(ScopeKind::Endpoint, 0, &[[2, 0]]), (ScopeKind::Endpoint, 0, &[[3, 0]])]);
    check(seen, "rmrr-shared", &region(0x2e00_0000, 0x2e00_0fff, pair));
    let named = Structure::Drhd(Drhd {
        flags: 0,
        size: 0,
        segment: 0,
        base: 0xfed9_0000,
        scopes: endpoint(2),
    });
    let of_other = rmrr(0x2e00_0000, 0x2e00_0fff, endpoint(3));
    check(seen, "rmrr-no-unit", &dmar(vec![named, of_other]));
    let andd = Andd { reserved: [0; 3], number: 1, name: b"\\_SB.I2C0".to_vec() };
    check(seen, "andd-name", &dmar(vec![unit(), Structure::Andd(andd)]));
    let rhsa = Rhsa { reserved: 0, base: 0x1000, proximity: 0, tail: vec![] };
    check(seen, "rhsa-no-unit", &dmar(vec![unit(), Structure::Rhsa(rhsa)]));
    let atsr =
        Structure::Atsr(Atsr { flags: 1, reserved: 0, segment: 0, scopes: Scopes::default() });
    check(seen, "atsr-two-all-ports", &dmar(vec![unit(), atsr.clone(), atsr]));
}

fn units_and_scopes(seen: &mut BTreeSet<&'static str>) {
    let drhd =
        |flags, base, scopes| Structure::Drhd(Drhd { flags, size: 0, segment: 0, base, scopes });
    check(seen, "drhd-base", &dmar(vec![drhd(1, 0, Scopes::default())]));
    check(seen, "drhd-unaligned", &dmar(vec![drhd(1, 0xfed9_0800, Scopes::default())]));
    let first = drhd(0, 0xfed9_0000, endpoint(2));
    check(seen, "drhd-twice", &dmar(vec![first.clone(), unit()]));
    check(seen, "drhd-two-include-all", &dmar(vec![unit(), unit()]));
    check(seen, "drhd-include-all-not-last", &dmar(vec![unit(), first.clone()]));
    let second = drhd(0, 0xfed9_1000, endpoint(2));
    check(seen, "scope-two-units", &dmar(vec![first, second]));
    let with = |scopes| dmar(vec![drhd(0, 0xfed9_0000, scopes)]);
    check(seen, "scope-broken", &with(Scopes { rest: vec![1, 0, 0], ..endpoint(2) }));
    check(seen, "scope-no-path", &with(scopes(&[(ScopeKind::Endpoint, 0, &[])])));
    check(seen, "scope-path", &with(scopes(&[(ScopeKind::Endpoint, 0, &[[0x20, 0]])])));
    check(seen, "scope-unknown", &with(scopes(&[(ScopeKind::Unknown(9), 0, &[[2, 0]])])));
    let twice = [(ScopeKind::Endpoint, 0, &[[2, 0]][..]); 2];
    check(seen, "scope-twice", &with(scopes(&twice)));
}

fn amd(seen: &mut BTreeSet<&'static str>) {
    let rest = |rest: &[u8]| {
        let mut table = ivrs(vec![bus_unit()]);
        if let Content::Ivrs(ivrs) = &mut table.content {
            ivrs.rest = rest.to_vec();
        }
        table.seal();
        table
    };
    check(seen, "ivrs-zero-length", &rest(&[0x10, 0, 0, 0]));
    check(seen, "ivrs-past-end", &rest(&[0x10, 0, 40, 0]));
    let unknown = |kind| Block::Unknown { kind, flags: 0, body: vec![0; 4] };
    check(seen, "ivrs-block-short", &ivrs(vec![bus_unit(), unknown(0x21)]));
    check(seen, "ivrs-unknown-block", &ivrs(vec![bus_unit(), unknown(0x51)]));
    check(seen, "ivrs-no-units", &ivrs(vec![]));
    let changed = |change: fn(&mut crate::Ivhd)| {
        let Block::Ivhd(mut ivhd) = bus_unit() else { unreachable!("it is one") };
        change(&mut ivhd);
        ivrs(vec![Block::Ivhd(ivhd)])
    };
    check(seen, "ivhd-base", &changed(|ivhd| ivhd.base = 0));
    check(seen, "ivhd-unaligned", &changed(|ivhd| ivhd.base = 0x1000));
    check(seen, "ivhd-entry-broken", &changed(|ivhd| ivhd.entries.rest = vec![0x42, 1]));
    let unit = |entry| ivrs(vec![ivhd(0x11, vec![entry])]);
    let short = |kind, device| DeviceEntry::Short { kind, device, setting: 0 };
    check(
        seen,
        "ivhd-entry-unknown",
        &unit(DeviceEntry::Reserved { kind: 0x80, body: vec![0; 15] }),
    );
    check(seen, "ivhd-entry-unknown", &unit(short(9, 0)));
    check(seen, "ivhd-range", &unit(short(3, 8)));
    check(seen, "ivhd-range", &unit(short(4, 8)));
    check(seen, "ivhd-range", &ivrs(vec![ivhd(0x11, vec![short(3, 8), short(4, 7)])]));
    check(seen, "ivhd-range", &ivrs(vec![ivhd(0x11, vec![short(3, 8), select(9), short(4, 16)])]));
    let special =
        DeviceEntry::Special { reserved: 0, setting: 0, handle: 1, device: 0xa0, variety: 3 };
    check(seen, "ivhd-special", &unit(special));
}

fn amd_memory(seen: &mut BTreeSet<&'static str>) {
    let changed = |change: fn(&mut crate::Ivmd)| {
        let mut ivmd = crate::Ivmd::unity(8, 16, 0x7b00_0000, 0x1000);
        change(&mut ivmd);
        ivrs(vec![bus_unit(), Block::Ivmd(ivmd)])
    };
    check(seen, "ivmd-size", &changed(|ivmd| ivmd.tail = vec![0; 8]));
    check(seen, "reserved-not-zero", &changed(|ivmd| ivmd.reserved[5] = 1));
    check(seen, "ivmd-empty", &changed(|ivmd| ivmd.length = 0));
    check(seen, "ivmd-length", &changed(|ivmd| ivmd.length = 1));
    check(seen, "ivmd-unaligned", &changed(|ivmd| ivmd.start += 0x800));
    check(seen, "ivmd-flags", &changed(|ivmd| ivmd.flags = 6));
    check(seen, "ivmd-exclusion", &changed(|ivmd| ivmd.flags = 8));
    check(seen, "ivmd-rights", &changed(|ivmd| ivmd.flags = 3));
    check(seen, "ivmd-range", &changed(|ivmd| ivmd.last = 8));
    check(seen, "ivmd-beyond-last-device", &changed(|ivmd| ivmd.last = 0xfff));
    check(seen, "ivmd-per-iommu", &changed(|ivmd| ivmd.kind = 0x23));
    check(seen, "ivmd-hypertransport", &changed(|ivmd| ivmd.start = 0xfe_0000_0000));
    check(seen, "ivmd-no-unit", &changed(|ivmd| ivmd.segment = 1));
    let overlapping = |other| ivrs(vec![bus_unit(), ivmd(8, 8, 0x7b00_0000, 0x2000), other]);
    check(seen, "ivmd-overlap", &overlapping(ivmd(8, 16, 0x7b00_1000, 0x1000)));
    let excluded = crate::Ivmd { flags: 8, ..crate::Ivmd::unity(8, 8, 0x7b00_0000, 0x1000) };
    check(seen, "ivmd-overlap-excluded", &overlapping(Block::Ivmd(excluded)));
    check(seen, "ivmd-no-iommu", &changed(|ivmd| (ivmd.kind, ivmd.device) = (0x23, 99)));
    for other in [ivmd(9, 16, 0x7b00_1000, 0x1000), ivmd(8, 8, 0x7b00_0000, 0x2000)] {
        assert_eq!(found(&overlapping(other)), [""; 0], "no device has two that differ");
    }
}

fn arm(seen: &mut BTreeSet<&'static str>) {
    check(seen, "iort-nodes", &with_bytes(&iort(6, vec![]), |bytes| bytes[36] = 9));
    check(seen, "iort-nodes", &with_bytes(&iort(6, vec![]), |bytes| bytes[40] = 4));
    let changed = |change: fn(&mut Node)| {
        let mut node = rmr(3, 0x20, &[(0x6000_0000, 0x1_0000)]);
        change(&mut node);
        iort(6, vec![node])
    };
    check(seen, "iort-unknown-node", &changed(|node| node.kind = 99));
    check(seen, "iort-mappings", &changed(|node| node.mapping_count = 99));
    check(seen, "iort-output", &changed(|node| node.body[24] = 0x31));
    check(seen, "iort-ids", &changed(|node| node.body[16..24].fill(0xff)));
    check(seen, "iort-same-id", &changed(|node| node.id = 1));
    check(seen, "rmr-needs-dsm", &changed(|_| {}));
    check(seen, "rmr-no-mapping", &changed(|node| node.mapping_count = 0));
    check(seen, "rmr-not-smmu", &changed(|node| node.body[24] = 0x74));
    check(seen, "rmr-no-descriptors", &changed(|node| node.body[4] = 0));
    let pieces = |pieces: &[(u64, u64)]| iort(6, vec![rmr(3, 0x20, pieces)]);
    check(seen, "rmr-revision", &iort(3, vec![rmr(3, 0x20, &[(0x6000_0000, 0x1_0000)])]));
    check(seen, "rmr-unaligned", &pieces(&[(0x6000_0800, 0x1_0000)]));
    check(seen, "rmr-over-software-msi", &pieces(&[(0x0800_0000, 0x1_0000)]));
    check(seen, "rmr-empty", &pieces(&[(0x6000_0000, 0)]));
    check(seen, "region-wraps", &pieces(&[(!0xffff, 0x2_0000)]));
    check(seen, "rmr-overlap", &pieces(&[(0x6000_0000, 0x2_0000), (0x6001_0000, 0x1_0000)]));
}

fn virtual_iommus(seen: &mut BTreeSet<&'static str>) {
    let iommu = ViotKind::VirtioPci(VirtioPci { segment: 0, device: 8, reserved: [0; 8] });
    let range = |first, output| {
        let range = PciRange {
            endpoint: 0,
            first_segment: 0,
            last_segment: 0,
            first,
            last: 0xff,
            output,
            reserved: [0; 6],
        };
        viot(vec![iommu.clone(), ViotKind::PciRange(range)])
    };
    assert_eq!(found(&range(0, 48)), [""; 0]);
    check(seen, "viot-range", &range(0x100, 48));
    check(seen, "viot-output", &range(0, 64));
    check(seen, "viot-unknown-node", &viot(vec![ViotKind::Unknown(9)]));
    check(seen, "viot-nodes", &with_bytes(&viot(vec![iommu]), |bytes| bytes[36] = 2));
}

fn on_the_host(seen: &mut BTreeSet<&'static str>) {
    let function =
        |is_bridge| PciFunction { class: Some(0x02_0000), is_bridge, behind: None, physical: None };
    let at = |text: &str| text.parse().expect("an address");
    let by_address = [(at("00:02.0"), function(true)), (at("00:03.0"), function(false))].into();
    let functions = PciFunctions { by_address, keeps_boot_setup: true };
    let mut names = |scopes| -> Vec<&'static str> {
        let table = dmar(vec![unit(), rmrr(0x2e00_0000, 0x2e00_0fff, scopes)]);
        let findings = findings_on_host(&table, &functions);
        let names: Vec<_> = findings.iter().map(|finding| finding.code.name).collect();
        seen.extend(&names);
        names
    };
    assert_eq!(names(endpoint(3)), [""; 0]);
    assert_eq!(names(endpoint(4)), ["scope-no-device"]);
    assert_eq!(names(endpoint(2)), ["scope-kind"]);
    assert_eq!(names(scopes(&[(ScopeKind::Bridge, 0, &[[3, 0]])])), ["scope-kind"]);
}
