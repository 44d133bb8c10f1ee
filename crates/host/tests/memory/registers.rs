//! Graphics of real machines: one whose registers were published, and others whose kernels printed
//! where the memory is, with registers made from that.

use std::fmt::Write as _;

use ringfence_addr::{Hpa, PciAddress, Span};
use ringfence_host::read::{self, Options, Snapshot};
use ringfence_host::{Fact, Host, HostMemory, RegionKind, Role, Unknown};
use ringfence_tables::{
    Content, Dmar, Drhd, Header, Rmrr, Scope, ScopeKind, Scopes, Structure, Table,
};

use crate::data::{self, span};
use crate::tree::Tree;

const GRAPHICS: PciAddress = PciAddress::from_requester_id(0, 0x10);
const MIB: u64 = 1 << 20;

/// Config space of graphics with its memory at `data` and a page table of 8 MiB, and of the host
/// bridge beside it. The device has 64 bits of BDSM from Ice Lake on.
fn config(device: u16, data: Span<Hpa>) -> [Vec<u8>; 2] {
    let first = data.first().get();
    let length = u64::try_from(data.length()).expect("short") / MIB;
    let size = if length.is_multiple_of(32) { length / 32 } else { 0xf0 + length / 4 - 1 };
    let put = |bytes: &mut Vec<u8>, at: usize, value: u64, length: usize| {
        bytes[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
    };
    let mut own = vec![0; 256];
    put(&mut own, 0x00, 0x8086 | u64::from(device) << 16, 4);
    put(&mut own, 0x08, 0x0300_0000, 4);
    put(&mut own, 0x10, 0x6000_0000_0004, 8);
    put(&mut own, 0x18, 0x4000_0000_000c, 8);
    put(&mut own, 0x50, size << 8 | 3 << 6 | 1, 2);
    let is_wide = matches!(device >> 8, 0x9a | 0x46 | 0xa7 | 0x4c | 0x8a);
    put(&mut own, if is_wide { 0xc0 } else { 0x5c }, first | 1, 4);
    put(&mut own, 0xfc, 0x8b5e_0018, 4);
    let mut bridge = vec![0; 256];
    put(&mut bridge, 0x00, 0x9a14_8086, 4);
    put(&mut bridge, 0x08, 0x0600_0000, 4);
    put(&mut bridge, 0xb0, first | 1, 4);
    put(&mut bridge, 0xb4, (first - 8 * MIB) | 1, 4);
    put(&mut bridge, 0xbc, data.last().get() + 2, 4);
    [bridge, own]
}

/// As `lspci -nnxxx` prints them.
fn listing(config: &[Vec<u8>; 2]) -> String {
    let heads =
        ["00:00.0 Host bridge [0600]: [8086:9a14]", "00:02.0 VGA compatible [0300]: [8086:9a49]"];
    let mut text = String::new();
    for (head, bytes) in heads.iter().zip(config) {
        _ = writeln!(text, "{head}");
        for (at, line) in (0..).step_by(16).zip(bytes.chunks(16)) {
            _ = write!(text, "{at:02x}:");
            for byte in line {
                _ = write!(text, " {byte:02x}");
            }
            _ = writeln!(text);
        }
        _ = writeln!(text);
    }
    text
}

fn check(name: &str, host: &Host, data: Span<Hpa>) {
    let memory = HostMemory::of(host);
    let stolen = memory.stolen[&GRAPHICS].known().unwrap_or_else(|| panic!("{name}: unknown"));
    assert_eq!(stolen.data, Some(data), "{name}");
    assert_eq!(stolen.op_region, Fact::Known(Some(Hpa::new(0x8b5e_0018))), "{name}");
    let whole = stolen.span().expect("there is memory");
    assert_eq!(whole.last(), data.last(), "{name}");
    assert_eq!(whole.length() - data.length(), u128::from(8 * MIB), "{name}");
    let region = memory.regions.iter().find(|it| it.role == Role::Graphics).expect("a region");
    assert_eq!((region.span, region.kind), (whole, RegionKind::Relaxable), "{name}");
    let told =
        memory.remarks.iter().filter(|remark| remark.contains("TOLUD") || remark.contains("GSM"));
    assert_eq!(told.count(), 0, "{name}: {:?}", memory.remarks);
}

/// Every address a kernel printed, of the generation it was of.
pub(crate) fn graphics_is_found() {
    let mut found = 0;
    let boards = data::files("host/acrn-boards", ".iomem_info.txt").into_iter();
    let logs = data::files("host/dmesg", ".txt").into_iter();
    for (name, text) in boards.chain(logs) {
        let text = String::from_utf8_lossy(&text).into_owned();
        let printed = text.lines().find_map(|line| {
            let iomem = line.split_once(" : Graphics Stolen Memory").map(|(place, _)| place.trim());
            let log = line.split_once("Reserving Intel graphics memory at [mem ");
            iomem.or(log.and_then(|(_, place)| place.strip_suffix(']')))
        });
        let Some((first, last)) = printed.and_then(|place| place.split_once('-')) else { continue };
        let number = |text: &str| {
            u64::from_str_radix(text.trim_start_matches("0x"), 16).expect("hexadecimal")
        };
        let data = Span::new(Hpa::new(number(first)), Hpa::new(number(last))).expect("a span");
        let device = match name.get(..3) {
            Some("whl") => 0x3ea0,
            Some("cfl") => 0x3e9b,
            Some("adl" | "nuc") => 0x46a6,
            Some("x37") => 0xa788,
            _ => 0x9a49,
        };
        let host =
            read::from_bytes(listing(&config(device, data)).into_bytes()).expect("a listing");
        check(&name, &host, data);
        found += 1;
    }
    assert!(found >= 8, "{found} machines");
}

/// An Alder Lake whose config space was published whole: its registers say the same in all places.
pub(crate) fn published_registers_agree() {
    let listings = data::files("topology/real", "gl9755-hex-xxxx.lspci.txt");
    let (_, listing) = listings.into_iter().next().expect("the listing");
    let memory = HostMemory::of(&read::from_bytes(listing).expect("a listing"));
    let stolen = memory.stolen[&GRAPHICS].known().expect("registers");
    assert_eq!(stolen.generation, 12);
    assert_eq!(stolen.page_table, Some(span("0x70000000-0x707fffff")));
    assert_eq!(stolen.data, Some(span("0x70800000-0x747fffff")));
    assert_eq!(stolen.firmware, Fact::Known(Some(span("0x74600000-0x747fffff"))));
    assert_eq!(stolen.op_region, Fact::Known(Some(Hpa::new(0x6594_0018))));
    assert_eq!(memory.remarks, Vec::<String>::new());
}

/// A host read by root, and all that is planned with from its snapshot; read by another, it says what
/// it lacks.
pub(crate) fn a_snapshot_has_it() {
    let data = span("0x9c800000-0xa07fffff");
    let tree = Tree::new("snapshot");
    let functions = "sys/bus/pci/devices";
    for (address, bytes) in ["0000:00:00.0", "0000:00:02.0"].iter().zip(config(0x9a49, data)) {
        tree.write(&format!("{functions}/{address}/config"), bytes);
    }
    let resource = "0x0000600000000000 0x0000600000ffffff 0x0000000000140204\n\
                    0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                    0x0000400000000000 0x000040000fffffff 0x000000000014220c\n";
    tree.write(&format!("{functions}/0000:00:02.0/resource"), resource);
    tree.write("sys/class/iommu/dmar0/intel-iommu/cap", "1c0000c40660462\n");
    tree.write("sys/class/iommu/dmar1/intel-iommu/cap", "d2008c40660462\n");
    tree.write("sys/firmware/acpi/tables/DMAR", dmar());
    let (snapshot, live) = Snapshot::take(&tree.0, Options::default()).expect("a host");
    let host = snapshot.read().expect("it was just made");
    assert_eq!(host, live);
    check("snapshot", &host, data);
    let memory = HostMemory::of(&host);
    assert_eq!(memory.address_bits, Fact::Known(39));
    assert_eq!(memory.remarks, Vec::<String>::new());
    let Fact::Known(bars) = &host.functions[&GRAPHICS].bars else { panic!("no BARs") };
    let spans: Vec<_> = bars.iter().map(|bar| bar.span().expect("placed").to_string()).collect();
    assert_eq!(spans, ["0x600000000000-0x600000ffffff", "0x400000000000-0x40000fffffff"]);

    // As somebody else than root reads it.
    for address in ["0000:00:00.0", "0000:00:02.0"] {
        let path = tree.0.join(format!("{functions}/{address}/config"));
        let bytes = std::fs::read(&path).expect("config space");
        std::fs::write(path, &bytes[..64]).expect("less of it");
    }
    let (snapshot, _) = Snapshot::take(&tree.0, Options::default()).expect("a host");
    let memory = HostMemory::of(&snapshot.read().expect("it was just made"));
    assert_eq!(memory.stolen[&GRAPHICS], Fact::Unknown(Unknown::NeedsRoot));
}

/// A table that reserves page table and memory for graphics.
fn dmar() -> Vec<u8> {
    let scope = Scope::new(ScopeKind::Endpoint, 0, &[[2, 0]]);
    let unit = Drhd { flags: 1, size: 0, segment: 0, base: 0xfed9_0000, scopes: Scopes::default() };
    let region = Rmrr {
        reserved: 0,
        segment: 0,
        base: 0x9c00_0000,
        limit: 0xa07f_ffff,
        scopes: Scopes { list: vec![scope], rest: Vec::new() },
    };
    let structures = vec![Structure::Drhd(unit), Structure::Rmrr(region)];
    Table::new(Header::new(*b"DMAR", 1), Content::Dmar(Dmar::new(39, structures))).write()
}
