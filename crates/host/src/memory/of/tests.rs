//! Hosts made by hand, with tables and lists that agree and disagree.

use std::collections::BTreeSet;

use ringfence_addr::{Hpa, PciAddress, Span};
use ringfence_tables::{
    Block, Content, Dmar, Drhd, Header, Ivmd, Ivrs, Rmrr, Scope, ScopeKind, Scopes, Structure,
    Table,
};

use crate::fact::{Fact, Unknown};
use crate::function::{Class, Function, Header as Layout};
use crate::graphics;
use crate::host::{Host, Iommu};
use crate::memory::{HostMemory, IommuMaker, Owners, Region, RegionKind, Role};

fn at(text: &str) -> PciAddress {
    text.parse().expect("an address")
}

fn these(addresses: &[&str]) -> Owners {
    Owners::These(addresses.iter().map(|address| at(address)).collect())
}

fn span(text: &str) -> Span<Hpa> {
    text.parse().expect("a span")
}

/// A function of this class in this group.
fn function(address: &str, class: (u8, u8), group: u32) -> Function {
    let mut function = Function::new(at(address));
    let (base, sub) = class;
    function.identity.class = Fact::Known(Class { base, sub, interface: 0 });
    function.identity.vendor = Fact::Known(0x8086);
    function.header = Fact::Known(Layout::Endpoint);
    function.kernel_group = Fact::Known(Some(group));
    function
}

/// Graphics in group 1, USB in 2, a bridge to ISA in 3 with an SMBus, a bridge in 4 with a network
/// card in 5 behind.
fn host() -> Host {
    let mut bridge = function("00:1c.0", (6, 4), 4);
    bridge.header = Fact::Known(Layout::Bridge { secondary: 1, subordinate: 1 });
    let functions = [
        function("00:02.0", (3, 0), 1),
        function("00:14.0", (0x0c, 3), 2),
        function("00:1f.0", (6, 1), 3),
        function("00:1f.4", (0x0c, 5), 3),
        bridge,
        function("01:00.0", (2, 0), 5),
    ];
    Host {
        functions: functions.map(|function| (function.address, function)).into(),
        ..Host::default()
    }
}

/// A region of DMAR: where, and scopes as type, first bus and path.
type Reserved<'a> = (&'a str, &'a [(ScopeKind, u8, &'a [[u8; 2]])]);

fn dmar(regions: &[Reserved<'_>]) -> Vec<u8> {
    let structures = regions.iter().map(|(place, scopes)| {
        let place = span(place);
        let list = scopes.iter().map(|(kind, bus, path)| Scope::new(*kind, *bus, path));
        Structure::Rmrr(Rmrr {
            reserved: 0,
            segment: 0,
            base: place.first().get(),
            limit: place.last().get(),
            scopes: Scopes { list: list.collect(), rest: Vec::new() },
        })
    });
    // A unit for all, behind them so that it moves none.
    let unit = Structure::Drhd(Drhd {
        flags: 1,
        size: 0,
        segment: 0,
        base: 0xfed9_0000,
        scopes: Scopes::default(),
    });
    let content = Content::Dmar(Dmar::new(39, structures.chain([unit]).collect()));
    Table::new(Header::new(*b"DMAR", 1), content).write()
}

fn with_dmar(mut host: Host, regions: &[Reserved<'_>]) -> Host {
    host.table_bytes.insert("DMAR".to_owned(), Fact::Known(dmar(regions)));
    host
}

fn list(host: &mut Host, group: u32, lines: &[(&str, &str)]) {
    let line = |(place, kind): &(&str, &str)| {
        let place = span(place);
        format!("{:#018x} {:#018x} {kind}", place.first().get(), place.last().get())
    };
    let lines = lines.iter().chain(&[("0xfee00000-0xfeefffff", "msi")]).map(line);
    host.reserved_regions.insert(group, lines.collect());
}

/// Span and kind of every region, with its owners, but for the interrupts' window.
fn short(memory: &HostMemory) -> Vec<(String, RegionKind, Owners)> {
    let regions = memory.regions.iter().filter(|region| region.kind != RegionKind::Msi);
    regions.map(|it| (it.span.to_string(), it.kind, it.owners.clone())).collect()
}

/// What is to be said of it, but for the width of addresses.
fn remarks(memory: &HostMemory) -> Vec<&str> {
    let remarks = memory.remarks.iter().map(String::as_str);
    remarks.filter(|remark| !remark.starts_with("address width")).collect()
}

fn find<'a>(memory: &'a HostMemory, place: &str) -> &'a Region {
    let place = span(place);
    memory.regions.iter().find(|region| region.span == place).expect("the region")
}

const GRAPHICS: Reserved<'_> = ("0x9c000000-0xa07fffff", &[(ScopeKind::Endpoint, 0, &[[2, 0]])]);
const USB: Reserved<'_> = ("0x92b19000-0x92f18fff", &[(ScopeKind::Endpoint, 0, &[[0x14, 0]])]);

#[test]
fn tables_say_whose_regions_are_and_classes_what_linux_makes_of_them() {
    let network: Reserved<'_> =
        ("0xed000-0xeffff", &[(ScopeKind::Endpoint, 0, &[[0x1c, 0], [0, 0]])]);
    let behind: Reserved<'_> = ("0x7b000000-0x7b000fff", &[(ScopeKind::Bridge, 0, &[[0x1c, 0]])]);
    let memory = HostMemory::of(&with_dmar(host(), &[GRAPHICS, USB, network, behind]));
    let expected = [
        ("0x0-0xffffff", RegionKind::Relaxable, these(&["00:1f.0"])),
        ("0xed000-0xeffff", RegionKind::Direct, these(&["01:00.0"])),
        ("0x7b000000-0x7b000fff", RegionKind::Direct, these(&["01:00.0"])),
        ("0x92b19000-0x92f18fff", RegionKind::Relaxable, these(&["00:14.0"])),
        ("0x9c000000-0xa07fffff", RegionKind::Relaxable, these(&["00:02.0"])),
    ];
    let expected = expected.map(|(place, kind, owners)| (place.to_owned(), kind, owners));
    assert_eq!(short(&memory), expected);
    assert_eq!(find(&memory, GRAPHICS.0).role, Role::Graphics);
    assert_eq!(find(&memory, USB.0).role, Role::Usb);
    assert_eq!(find(&memory, USB.0).sources, ["DMAR+0x50"]);
    assert_eq!(find(&memory, "0xfee00000-0xfeefffff").sources, ["asserted: fixed on x86"]);
    assert_eq!(memory.iommu, Fact::Known(IommuMaker::Intel));
    assert_eq!(memory.address_bits, Fact::Known(39));
}

#[test]
fn what_is_one_thing_to_one_and_another_to_another_is_shared() {
    let both: Reserved<'_> = (
        "0x92b19000-0x92f18fff",
        &[(ScopeKind::Endpoint, 0, &[[0x14, 0]]), (ScopeKind::Endpoint, 0, &[[0x1f, 4]])],
    );
    let mut host = with_dmar(host(), &[both]);
    let check = |memory: &HostMemory| {
        let [relaxable, direct] = &memory.regions[..2] else { panic!("two regions") };
        assert_eq!(
            (relaxable.kind, &relaxable.owners),
            (RegionKind::Relaxable, &these(&["00:14.0"]))
        );
        assert_eq!(relaxable.shared, BTreeSet::from([at("00:1f.4")]));
        assert_eq!((direct.kind, &direct.owners), (RegionKind::Direct, &these(&["00:1f.4"])));
        assert_eq!(direct.shared, BTreeSet::from([at("00:14.0")]));
    };
    host.functions.remove(&at("00:1f.0"));
    check(&HostMemory::of(&host));
    list(&mut host, 2, &[(both.0, "direct-relaxable")]);
    list(&mut host, 3, &[(both.0, "direct")]);
    let memory = HostMemory::of(&host);
    check(&memory);
    assert_eq!(remarks(&memory), [""; 0]);
    // And in one group, whose list has both.
    host.functions.get_mut(&at("00:14.0")).expect("it is there").kernel_group =
        Fact::Known(Some(3));
    host.reserved_regions.clear();
    list(&mut host, 3, &[(both.0, "direct"), (both.0, "direct-relaxable")]);
    let memory = HostMemory::of(&host);
    check(&memory);
    assert_eq!(remarks(&memory), [""; 0]);
}

#[test]
fn what_the_kernel_joined_is_parted_again() {
    let first: Reserved<'_> = ("0x7b000000-0x7b000fff", &[(ScopeKind::Endpoint, 0, &[[0x14, 0]])]);
    let second: Reserved<'_> = ("0x7b001000-0x7b001fff", &[(ScopeKind::Endpoint, 0, &[[0x14, 0]])]);
    let mut host = with_dmar(host(), &[first, second]);
    list(&mut host, 2, &[("0x7b000000-0x7b001fff", "direct-relaxable")]);
    let memory = HostMemory::of(&host);
    for (place, offset) in [(first.0, "DMAR+0x30"), (second.0, "DMAR+0x50")] {
        let region = find(&memory, place);
        assert_eq!(region.sources, [offset, "reserved_regions of group 2"]);
        assert_eq!(region.owners, these(&["00:14.0"]));
    }
    assert_eq!(remarks(&memory), [""; 0]);
    assert_eq!(short(&memory).len(), 2, "nothing is asserted where the kernel lists");
}

#[test]
fn lists_without_tables_are_of_their_group() {
    let mut host = host();
    host.table_bytes.insert("DMAR".to_owned(), Fact::Unknown(Unknown::NeedsRoot));
    host.iommus = Fact::Known(Vec::new());
    list(&mut host, 1, &[(GRAPHICS.0, "direct-relaxable")]);
    list(
        &mut host,
        3,
        &[("0x0-0xffffff", "direct-relaxable"), ("0x7b000000-0x7b000fff", "direct")],
    );
    let memory = HostMemory::of(&host);
    let among = |members: &[&str]| Owners::Among(members.iter().map(|one| at(one)).collect());
    let expected = [
        ("0x0-0xffffff", RegionKind::Relaxable, these(&["00:1f.0"])),
        ("0x7b000000-0x7b000fff", RegionKind::Direct, among(&["00:1f.0", "00:1f.4"])),
        ("0x9c000000-0xa07fffff", RegionKind::Relaxable, among(&["00:02.0"])),
    ];
    let expected = expected.map(|(place, kind, owners)| (place.to_owned(), kind, owners));
    assert_eq!(short(&memory), expected);
    assert_eq!(find(&memory, "0xfee00000-0xfeefffff").owners, Owners::All);
    assert_eq!(
        remarks(&memory),
        ["DMAR: not readable without root, so it is not known whose regions are"]
    );
    assert_eq!(memory.address_bits, Fact::default());
}

#[test]
fn disagreements_are_told() {
    let mut host = with_dmar(host(), &[USB, GRAPHICS]);
    list(&mut host, 1, &[("0x9c000000-0x9fffffff", "direct")]);
    list(&mut host, 2, &[("0x1000-0x1fff", "direct-relaxable")]);
    let memory = HostMemory::of(&host);
    assert_eq!(
        remarks(&memory),
        [
            "DMAR+0x30 states 0x92b19000-0x92f18fff for 0000:00:14.0, and the kernel does not list it for \
             group 2",
            "reserved_regions of group 2 has 0x1000-0x1fff, of which no table states 0x1000-0x1fff for \
             them",
            "DMAR+0x50 0x9c000000-0xa07fffff would be direct-relaxable, and reserved_regions of group 1 \
             has it as direct",
            "DMAR+0x50 states 0x9c000000-0xa07fffff, of which reserved_regions of group 1 has \
             0x9c000000-0x9fffffff alone",
        ]
    );
    assert_eq!(find(&memory, GRAPHICS.0).kind, RegionKind::Direct);
    // A list of a page was cut, and a line of it garbled.
    let lines: Vec<_> =
        (1..100).map(|at| format!("0x{at:016x}000 0x{at:016x}fff direct")).collect();
    host.reserved_regions.insert(2, lines);
    host.reserved_regions.insert(3, vec!["0x2 0x1 direct".to_owned()]);
    let memory = HostMemory::of(&host);
    for part in ["as long as the kernel makes it", "group 3: no region", "whose list was cut"] {
        assert!(memory.remarks.iter().any(|it| it.contains(part)), "{part}: {:?}", memory.remarks);
    }
}

#[test]
fn without_functions_tables_say_what_they_can() {
    let far: Reserved<'_> = ("0xed000-0xeffff", &[(ScopeKind::Endpoint, 0, &[[0x1c, 0], [0, 0]])]);
    let memory = HostMemory::of(&with_dmar(Host::default(), &[GRAPHICS, USB, far]));
    let expected = [
        ("0xed000-0xeffff", RegionKind::Direct, Owners::Unknown),
        ("0x92b19000-0x92f18fff", RegionKind::Direct, these(&["00:14.0"])),
        ("0x9c000000-0xa07fffff", RegionKind::Relaxable, these(&["00:02.0"])),
    ];
    let expected = expected.map(|(place, kind, owners)| (place.to_owned(), kind, owners));
    assert_eq!(short(&memory), expected);
    let asserted = "asserted: no class code was read";
    assert_eq!(find(&memory, GRAPHICS.0).sources, ["DMAR+0x30", asserted]);
    let told = "DMAR+0x70 0xed000-0xeffff: where 0000:00:1c.0/00.0 leads was not read";
    assert!(memory.remarks.iter().any(|remark| remark == told), "{:?}", memory.remarks);
    // On a host that was read, a path to nothing is one to nothing.
    let mut host = with_dmar(host(), &[far]);
    host.functions.remove(&at("00:1c.0"));
    let memory = HostMemory::of(&host);
    assert_eq!(find(&memory, far.0).owners, these(&[]));
    assert!(memory.remarks.iter().any(|it| it.ends_with("is no function here")));
}

#[test]
fn amd_keeps_what_ivrs_has_and_hypertransports_window() {
    let ivmd = |first, last, start| Block::Ivmd(Ivmd::unity(first, last, start, 0x1000));
    let blocks = vec![
        ivmd(0, 0xfff, 0x9e00_0000),
        ivmd(0x14 << 3, 0x14 << 3, 0x9f00_0000),
        ivmd(0, 0xffff, 0xa000_0000),
    ];
    // 64 bits virtual, 48 physical.
    let table = Table::new(Header::new(*b"IVRS", 2), Content::Ivrs(Ivrs::new(0x20_3000, blocks)));
    let mut host = host();
    host.table_bytes.insert("IVRS".to_owned(), Fact::Known(table.write()));
    let memory = HostMemory::of(&host);
    let expected = [
        ("0x9e000000-0x9e000fff", RegionKind::Direct, Owners::Range(at("00:00.0"), at("0f:1f.7"))),
        ("0x9f000000-0x9f000fff", RegionKind::Direct, these(&["00:14.0"])),
        ("0xa0000000-0xa0000fff", RegionKind::Direct, Owners::All),
        ("0xfd00000000-0xffffffffff", RegionKind::Reserved, Owners::All),
    ];
    let expected = expected.map(|(place, kind, owners)| (place.to_owned(), kind, owners));
    assert_eq!(short(&memory), expected);
    assert_eq!(memory.iommu, Fact::Known(IommuMaker::Amd));
    assert_eq!(memory.address_bits, Fact::Known(64));
    assert!(memory.regions[0].owners.may_include(at("05:00.0")));
    assert!(!memory.regions[0].owners.may_include(at("10:00.0")));
    // What the units say themselves counts for more.
    let unit = |features| Iommu { name: "ivhd0".to_owned(), functions: Fact::default(), features };
    host.iommus = Fact::Known(vec![unit(Fact::Known(1 << 10)), unit(Fact::Known(2 << 10))]);
    assert_eq!(HostMemory::of(&host).address_bits, Fact::Known(57));
}

/// A host with Tiger Lake's graphics, whose memory is at 0x9c000000-0xa07fffff.
fn tiger_lake() -> Host {
    let mut host = host();
    let mut bridge = function("00:00.0", (6, 0), 0);
    let registers = [
        (graphics::BRIDGE_DATA, 0x9c80_0001),
        (graphics::BRIDGE_PAGE_TABLE, 0x9c00_0001),
        (graphics::TOP_LOW, 0xa080_0001),
    ];
    bridge.registers = registers.map(|(offset, value)| (offset, Fact::Known(value))).into();
    host.functions.insert(bridge.address, bridge);
    let own = host.functions.get_mut(&at("00:02.0")).expect("graphics");
    own.identity.device = Fact::Known(0x9a49);
    let registers = [
        (graphics::CONTROL, 0x02c1),
        (graphics::DATA_LOW, 0x9c80_0001),
        (graphics::DATA_HIGH, 0),
        (graphics::OP_REGION, 0x8b5e_0018),
    ];
    own.registers = registers.map(|(offset, value)| (offset, Fact::Known(value))).into();
    with_dmar(host, &[GRAPHICS])
}

fn set(host: &mut Host, function: &str, offset: u16, value: u32) {
    let function = host.functions.get_mut(&at(function)).expect("a function");
    function.registers.insert(offset, Fact::Known(value));
}

#[test]
fn registers_confirm_what_was_reserved() {
    let memory = HostMemory::of(&tiger_lake());
    let stolen = memory.stolen[&at("00:02.0")].known().expect("its registers are there");
    assert_eq!(stolen.generation, 12);
    assert_eq!(stolen.page_table, Some(span("0x9c000000-0x9c7fffff")));
    assert_eq!(stolen.data, Some(span("0x9c800000-0xa07fffff")));
    assert_eq!(stolen.span(), Some(span(GRAPHICS.0)));
    assert_eq!(stolen.firmware, Fact::Unknown(Unknown::NotInSource));
    assert_eq!(stolen.op_region, Fact::Known(Some(Hpa::new(0x8b5e_0018))));
    let registers = ["GGC 0x50 = 0x02c1", "BDSM 0xc0 = 0x0:9c800001", "ASLS 0xfc = 0x8b5e0018"];
    assert_eq!(stolen.registers, registers);
    assert_eq!(remarks(&memory), [""; 0]);
    let told = "registers of 0000:00:02.0: GGC 0x50 = 0x02c1, BDSM 0xc0 = 0x0:9c800001, \
                ASLS 0xfc = 0x8b5e0018";
    assert_eq!(find(&memory, GRAPHICS.0).sources, ["DMAR+0x30", told]);
}

#[test]
fn registers_that_disagree_are_told() {
    for (function, offset, value, told) in [
        (
            "00:00.0",
            graphics::TOP_LOW,
            0xa100_0000,
            "its memory ends before at 0xa0800000, and TOLUD says 0xa1000000",
        ),
        (
            "00:00.0",
            graphics::BRIDGE_PAGE_TABLE,
            0x9c40_0001,
            "its memory has its page table at 0x9c000000, and the host bridge's BGSM says 0x9c400000",
        ),
        (
            "00:02.0",
            graphics::CONTROL,
            0x01c1,
            "its registers say 0x9c000000-0x9e7fffff, and DMAR+0x30 has 0x9c000000-0xa07fffff",
        ),
        ("00:02.0", graphics::CONTROL, 0xffc1, "Tiger Lake has no such sizes as GGC 0xffc1 says"),
        ("00:02.0", graphics::DATA_LOW, 0x1, "GGC 0x02c1 has memory, and BDSM no place"),
    ] {
        let mut host = tiger_lake();
        set(&mut host, function, offset, value);
        let memory = HostMemory::of(&host);
        let told = format!("0000:00:02.0: {told}");
        assert!(memory.remarks.contains(&told), "{told}: {:?}", memory.remarks);
    }
    // What nobody reserved is reserved all the same.
    let mut host = tiger_lake();
    host.table_bytes.insert("DMAR".to_owned(), Fact::Known(dmar(&[USB])));
    let memory = HostMemory::of(&host);
    let region = find(&memory, GRAPHICS.0);
    assert_eq!((region.kind, region.role), (RegionKind::Relaxable, Role::Graphics));
    assert_eq!(
        remarks(&memory),
        ["0000:00:02.0: its registers say 0x9c000000-0xa07fffff, and nobody reserved it"]
    );
}

#[test]
fn registers_that_were_not_read_are_unknown() {
    let of = |device: u16, change: &dyn Fn(&mut Function)| {
        let mut host = tiger_lake();
        let own = host.functions.get_mut(&at("00:02.0")).expect("graphics");
        own.identity.device = Fact::Known(device);
        change(own);
        HostMemory::of(&host).stolen.remove(&at("00:02.0")).expect("graphics")
    };
    let not_root: &dyn Fn(&mut Function) = &|own| {
        own.registers.insert(graphics::CONTROL, Fact::Unknown(Unknown::NeedsRoot));
    };
    assert_eq!(of(0x9a49, not_root), Fact::Unknown(Unknown::NeedsRoot));
    let asleep: &dyn Fn(&mut Function) = &|own| {
        own.registers.clear();
        own.pcie = Fact::Unknown(Unknown::Asleep);
    };
    assert_eq!(of(0x9a49, asleep), Fact::Unknown(Unknown::Asleep));
    for device in [0x7d55, 0x0042] {
        assert_eq!(of(device, &|_| {}), Fact::Unknown(Unknown::NotInSource), "{device:#x}");
    }
}

#[test]
fn an_smmus_page_is_where_linux_puts_it() {
    let mut host = Host { iommus: Fact::default(), ..host() };
    host.reserved_regions.insert(1, vec!["0x08000000 0x080fffff msi".to_owned()]);
    host.reserved_regions.insert(2, vec!["0x08000000 0x080fffff msi".to_owned()]);
    let memory = HostMemory::of(&host);
    let [region] = &memory.regions[..] else { panic!("one region: {:?}", memory.regions) };
    assert_eq!((region.kind, &region.owners), (RegionKind::SoftwareMsi, &Owners::All));
    assert_eq!(memory.address_bits, Fact::default());
    // Of an SMMU alone nothing is listed, but it is known what Linux would do.
    let unit = |name: &str| Iommu {
        name: name.to_owned(),
        functions: Fact::default(),
        features: Fact::default(),
    };
    for (name, maker, kinds) in [
        ("smmu3.0x0000000009050000", IommuMaker::Arm, &[RegionKind::SoftwareMsi][..]),
        ("virtio0", IommuMaker::Virtio, &[]),
        ("dmar0", IommuMaker::Intel, &[RegionKind::Msi]),
        ("ivhd0", IommuMaker::Amd, &[RegionKind::Reserved, RegionKind::Msi]),
    ] {
        let iommus = Fact::Known(vec![unit(name)]);
        let memory = HostMemory::of(&Host { iommus, ..Host::default() });
        assert_eq!(memory.iommu, Fact::Known(maker), "{name}");
        let mut found: Vec<_> = memory.regions.iter().map(|region| region.kind).collect();
        found.sort_unstable_by(|one, other| other.cmp(one));
        assert_eq!(found, kinds, "{name}");
    }
}
