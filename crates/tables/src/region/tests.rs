//! Tests of regions in one shape.

use super::*;
use crate::Block;
use crate::dmar::Andd;
use crate::made::{bus_unit, dmar, endpoint, iort, ivhd, ivrs, rmr, rmrr, scopes, select, unit};

fn shown(table: &Table) -> Vec<String> {
    let regions = reserved_regions([table]);
    let show = |region: &ReservedRegion| {
        let devices: Vec<String> = region.devices.iter().map(ToString::to_string).collect();
        let (span, kind, rights) = (region.span, region.kind, region.rights);
        format!("{span} {kind} {rights} {:#x} [{}]", region.offset, devices.join(", "))
    };
    regions.iter().map(show).collect()
}

#[test]
fn dmar_names_devices_by_paths() {
    let of = scopes(&[
        (ScopeKind::Endpoint, 0, &[[0x1c, 4], [0, 0]]),
        (ScopeKind::Bridge, 0, &[[0x1d, 0]]),
        (ScopeKind::Namespace, 0, &[[0x15, 0]]),
        (ScopeKind::IoApic, 0, &[[0x1f, 0]]),
    ]);
    let mut of = of;
    of.list[2].enumeration = 7;
    let name = Andd { reserved: [0; 3], number: 7, name: b"\\_SB.I2C0\0".to_vec() };
    let table = dmar(vec![
        unit(),
        rmrr(0x7b00_0000, 0x7b7f_ffff, endpoint(2)),
        rmrr(0x1000_0000, 0x1000_0fff, of),
        rmrr(0x2000, 0x1fff, endpoint(3)),
        Structure::Andd(name),
    ]);
    let expected = [
        "0x10000000-0x10000fff rmrr rw 0x60 [0000:00:1c.4/00.0, 0000:00:1d.0 and behind, \\\\_SB.I2C0]",
        "0x7b000000-0x7b7fffff rmrr rw 0x40 [0000:00:02.0]",
    ];
    assert_eq!(shown(&table), expected);
}

#[test]
fn ivrs_names_devices_by_requester_ids() {
    let block = |kind, flags, first, last, start| {
        let ivmd = Ivmd { kind, flags, last, ..Ivmd::unity(first, first, start, 1) };
        Block::Ivmd(ivmd)
    };
    let table = ivrs(vec![
        ivhd(0x10, vec![select(8), select(8), select(0x18)]),
        block(0x20, 7, 0, 0, 0x1000_0000),
        block(0x21, 8, 0x10, 0, 0x2000_0000),
        block(0x22, 3, 0, 0xfff, 0x3000_0000),
        block(0x23, 7, 2, 0x40, 0x4000_0000),
        block(0x21, 6, 8, 0, 0x5000_0000),
        block(0x22, 7, 9, 8, 0x6000_0000),
    ]);
    let expected = [
        "0x10000000-0x10000000 ivmd-unity rw 0x54 [all]",
        "0x20000000-0x20000000 ivmd-exclusion rw 0x74 [0000:00:02.0]",
        "0x30000000-0x30000000 ivmd-unity r- 0x94 [0000:00:00.0-0000:0f:1f.7]",
        "0x40000000-0x40000000 ivmd-unity rw 0xb4 [0000:00:01.0, 0000:00:03.0]",
        "0x60000000-0x60000000 ivmd-unity rw 0xf4 []",
    ];
    assert_eq!(shown(&table), expected);
    let pages = reserved_regions([&table])[0].pages();
    assert_eq!(pages.to_string(), "0x10000000-0x10000fff");
}

#[test]
fn iort_names_devices_by_their_streams() {
    let far = rmr(4, 0x2_0000, &[(0x6100_0000, 0x1_0000)]);
    let table = iort(6, vec![rmr(3, 0x20, &[(0x6000_0000, 0x1_0000), (0, 0)]), far]);
    let expected = [
        "0x60000000-0x6000ffff rmr rw 0xdc [0000:00:04.0]",
        "0x61000000-0x6100ffff rmr rw 0x134 [streams 0x20000-0x20000]",
    ];
    assert_eq!(shown(&table), expected);
}

#[test]
fn a_function_is_meant_by_its_path_its_bus_or_its_number() {
    let at = |text: &str| text.parse::<PciAddress>().expect("an address");
    let behind = |bridge: PciAddress| (bridge == at("00:1d.0")).then_some((2, 4));
    let path = |device: u8, and_behind| Devices::Path {
        path: ScopePath { segment: 0, start_bus: 0, hops: vec![[device, 0]] },
        and_behind,
    };
    for (devices, function, expected) in [
        (path(2, false), "00:02.0", Some(true)),
        (path(2, false), "00:03.0", Some(false)),
        (path(0x1d, true), "03:00.0", Some(true)),
        (path(0x1d, true), "05:00.0", Some(false)),
        (path(0x1d, false), "03:00.0", Some(false)),
        (path(0x1d, true), "0001:03:00.0", Some(false)),
        (path(0x1c, true), "03:00.0", None),
        (Devices::Requesters { segment: 0, first: 0x10, last: 0x17 }, "00:02.7", Some(true)),
        (Devices::Requesters { segment: 1, first: 0x10, last: 0x17 }, "00:02.7", Some(false)),
        (Devices::Namespace("\\_SB.X".to_owned()), "00:02.0", Some(false)),
    ] {
        assert_eq!(devices.include(at(function), &behind), expected, "{devices} {function}");
    }
}

#[test]
fn a_region_stands_at_its_own_number_on_the_bus() {
    let table = ivrs(vec![bus_unit(), crate::made::ivmd(8, 8, 0x1800, 0x1000)]);
    let region = &reserved_regions([&table])[0];
    let on_bus: Span<ringfence_addr::Iova> = region.on_bus().expect("it fits");
    assert_eq!(on_bus.to_string(), "0x1000-0x2fff");
}
