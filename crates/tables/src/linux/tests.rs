//! Tests of what Linux makes of tables, from its sources; real transcripts are compared elsewhere.

use super::*;
use crate::dmar::{Drhd, ScopeKind, Scopes, Structure};
use crate::ivrs::Block;
use crate::made::{
    bus_unit, dmar, endpoint, iort, ivhd, ivmd, ivrs, rmr, rmrr, scopes, select, unit,
};
use crate::{Content, Ivmd};

fn at(text: &str) -> PciAddress {
    text.parse().expect("an address")
}

fn endpoint_of(class: u32) -> PciFunction {
    PciFunction { class: Some(class), is_bridge: false, behind: None, physical: None }
}

/// A graphics device, a root port with a network card and its virtual function behind, an ISA bridge.
fn host() -> PciFunctions {
    let bridge = PciFunction { is_bridge: true, behind: Some((1, 1)), ..endpoint_of(0x06_0400) };
    let virtual_function = PciFunction { physical: Some(at("01:00.0")), ..endpoint_of(0x02_0000) };
    let by_address = [
        (at("00:02.0"), endpoint_of(0x03_0000)),
        (at("00:14.0"), endpoint_of(0x0c_0330)),
        (at("00:1c.0"), bridge),
        (at("00:1f.0"), endpoint_of(0x06_0100)),
        (at("01:00.0"), endpoint_of(0x02_0000)),
        (at("01:10.0"), virtual_function),
        (at("0001:00:00.0"), endpoint_of(0x02_0000)),
    ];
    PciFunctions { by_address: by_address.into(), keeps_boot_setup: true }
}

/// The regions of a function but for the MSI window, as the kernel prints them.
fn lines(linux: &AsLinux, function: &str) -> Vec<String> {
    let regions = linux.regions.get(&at(function)).into_iter().flatten();
    let kept = regions.filter(|it| !matches!(it.kind, LinuxKind::Msi | LinuxKind::SoftwareMsi));
    kept.map(|it| it.to_string().replace("0x0000000", "")).collect()
}

#[test]
fn graphics_and_usb_are_relaxable_and_others_direct() {
    let region = |device| rmrr(0x7b00_0000, 0x7b00_0fff, endpoint(device));
    let table = dmar(vec![unit(), region(2), region(0x14), region(0x1f)]);
    let linux = as_linux([&table], &host());
    assert_eq!(linux.off, None);
    for function in ["00:02.0", "00:14.0"] {
        assert_eq!(lines(&linux, function), ["07b000000 07b000fff direct-relaxable"]);
    }
    // An ISA bridge has the floppy's memory besides.
    let expected = ["000000000 000ffffff direct-relaxable", "07b000000 07b000fff direct"];
    assert_eq!(lines(&linux, "00:1f.0"), expected);
    assert_eq!(lines(&linux, "01:00.0"), [""; 0]);
    let all: Vec<String> = linux.regions.keys().map(ToString::to_string).collect();
    assert!(!all.contains(&"0001:00:00.0".to_owned()), "the unit is for segment 0: {all:?}");
}

#[test]
fn what_is_behind_a_bridge_shares_its_region() {
    let of_bridge = scopes(&[(ScopeKind::Bridge, 0, &[[0x1c, 0]])]);
    let table = dmar(vec![unit(), rmrr(0x7b00_0000, 0x7b00_0fff, of_bridge)]);
    let linux = as_linux([&table], &host());
    for function in ["00:1c.0", "01:00.0", "01:10.0"] {
        assert_eq!(lines(&linux, function), ["07b000000 07b000fff direct"], "{function}");
    }
}

#[test]
fn a_path_is_matched_from_the_root_and_one_hop_by_its_bus_too() {
    for (bus, hops, is_match) in [
        (0, &[[0x1c, 0], [0, 0]][..], true),
        (1, &[[0, 0]][..], true),
        (0, &[[0x1c, 1], [0, 0]][..], false),
        (1, &[[0, 0], [0, 0]][..], false),
    ] {
        let of = scopes(&[(ScopeKind::Endpoint, bus, hops)]);
        let table = dmar(vec![unit(), rmrr(0x7b00_0000, 0x7b00_0fff, of)]);
        let linux = as_linux([&table], &host());
        assert_eq!(lines(&linux, "01:00.0").len(), usize::from(is_match), "{bus} {hops:?}");
        assert_eq!(lines(&linux, "01:10.0"), [""; 0], "no scope matches a virtual function");
    }
}

#[test]
fn a_function_without_a_unit_has_no_regions() {
    let named = Drhd { flags: 0, size: 0, segment: 0, base: 0xfed9_0000, scopes: endpoint(2) };
    let region = rmrr(0x7b00_0000, 0x7b00_0fff, endpoint(0x14));
    let linux = as_linux([&dmar(vec![Structure::Drhd(named), region])], &host());
    assert_eq!(linux.regions.keys().map(ToString::to_string).collect::<Vec<_>>(), ["0000:00:02.0"]);
}

#[test]
fn some_tables_leave_the_host_without_its_iommu() {
    let with = |structure| dmar(vec![unit(), structure]);
    let at_zero = Drhd { flags: 0, size: 0, segment: 0, base: 0, scopes: Scopes::default() };
    let bridge_as_endpoint = rmrr(0x1000_0000, 0x1000_0fff, endpoint(0x1c));
    let mut narrow = dmar(vec![unit()]);
    let mut cut = dmar(vec![unit()]);
    if let (Content::Dmar(narrow), Content::Dmar(cut)) = (&mut narrow.content, &mut cut.content) {
        (narrow.width, cut.rest) = (3, vec![1, 0, 99, 0]);
    }
    let mut wrong_sum = ivrs(vec![bus_unit()]);
    wrong_sum.header.checksum ^= 1;
    for (table, why) in [
        (narrow, "Invalid DMAR haw"),
        (cut, "Record passes table end"),
        (dmar(vec![]), "No DMAR devices found"),
        (with(Structure::Drhd(at_zero)), "DMAR reported at address 0"),
        (with(bridge_as_endpoint), "Device scope type does not match for 0000:00:1c.0"),
        (wrong_sum, "IVRS invalid checksum"),
    ] {
        let linux = as_linux([&table], &host());
        assert_eq!(linux.off.as_deref(), Some(why));
        assert!(linux.regions.is_empty());
    }
    assert!(as_linux([], &host()).off.is_some());
}

#[test]
fn amd_rounds_up_takes_exclusions_for_unity_and_forgets_whole_iommus() {
    let exclusion = Ivmd { flags: 8, ..Ivmd::unity(0x10, 0x10, 0x2000_0000, 1) };
    let per_unit = Ivmd { kind: 0x23, last: 0x40, ..Ivmd::unity(3, 3, 0x3000_0000, 0x1000) };
    let nothing = Ivmd { flags: 6, ..Ivmd::unity(0x10, 0x10, 0x4000_0000, 0x1000) };
    let elsewhere = Ivmd { segment: 1, ..Ivmd::unity(0x10, 0x10, 0x5000_0000, 0x1000) };
    let mut blocks = vec![bus_unit(), ivmd(0x10, 0x10, 0x1000_0800, 0x800)];
    blocks.extend([exclusion, per_unit, nothing, elsewhere].map(Block::Ivmd));
    let linux = as_linux([&ivrs(blocks)], &host());
    let expected = [
        "010001000 010001fff direct",
        "020000000 020000fff direct",
        "0x000000fd00000000 0x000000ffffffffff reserved",
    ];
    assert_eq!(lines(&linux, "00:02.0"), expected);
    assert!(!linux.regions.contains_key(&at("01:00.0")), "no block names bus 1");
}

#[test]
fn amd_uses_the_last_type_of_the_first_iommu() {
    let table = ivrs(vec![ivhd(0x10, vec![select(0x10)]), ivhd(0x11, vec![select(0xa0)])]);
    let linux = as_linux([&table], &host());
    assert_eq!(linux.regions.keys().map(ToString::to_string).collect::<Vec<_>>(), ["0000:00:14.0"]);
}

#[test]
fn amd_takes_memory_of_the_first_iommu_for_a_type_of_iommu() {
    let memory =
        || Block::Ivmd(Ivmd { kind: 0x23, last: 0x40, ..Ivmd::unity(2, 2, 0x1000, 0x1000) });
    let linux = as_linux([&ivrs(vec![bus_unit(), memory()])], &host());
    assert_eq!(linux.off.as_deref(), Some("no IOMMU of a type that is supported"));
    let again = ivrs(vec![bus_unit(), memory(), ivhd(0x11, vec![select(0x10)])]);
    assert_eq!(as_linux([&again], &host()).off, None);
}

#[test]
fn arm_reserves_only_where_the_boot_setup_is_kept() {
    let table = |revision| {
        iort(revision, vec![rmr(3, 0x10, &[(0x6000_0800, 0x1000), (0x6100_0000, 0x2_0000)])])
    };
    let linux = as_linux([&table(6)], &host());
    let expected = ["060000000 060001fff direct", "061000000 06101ffff direct"];
    assert_eq!(lines(&linux, "00:02.0"), expected);
    assert_eq!(lines(&linux, "00:14.0"), [""; 0]);
    assert_eq!(lines(&as_linux([&table(4)], &host()), "00:02.0"), [""; 0], "an old revision");
    let moved = PciFunctions { keeps_boot_setup: false, ..host() };
    assert_eq!(lines(&as_linux([&table(6)], &moved), "00:02.0"), [""; 0]);
}

#[test]
fn a_groups_list_is_sorted_and_merged_by_kind() {
    let made = |first, last, kind| region(first, last, kind).expect("it is one");
    let list = group(&[
        made(0x3000, 0x3fff, LinuxKind::Direct),
        made(0x1000, 0x1fff, LinuxKind::Direct),
        made(0x2000, 0x2fff, LinuxKind::Direct),
        made(0x1800, 0x27ff, LinuxKind::Relaxable),
        made(0x1000, 0x10ff, LinuxKind::Msi),
        made(0x5000, 0x5fff, LinuxKind::Direct),
    ]);
    let expected = [
        made(0x1000, 0x3fff, LinuxKind::Direct),
        made(0x1000, 0x10ff, LinuxKind::Msi),
        made(0x1800, 0x27ff, LinuxKind::Relaxable),
        made(0x5000, 0x5fff, LinuxKind::Direct),
    ];
    assert_eq!(list, expected);
}
