//! Every real table, as a host of nothing else, and with the functions of every real machine.

use std::collections::BTreeMap;

use ringfence_addr::{Address as _, Alignment, Iova, PciAddress, Span};
use ringfence_host::read::{self, Options, Snapshot};
use ringfence_host::{Fact, Header, Host, HostMemory, Owners, Region, RegionKind, Role};
use ringfence_tables::linux::group;
use ringfence_tables::{
    LinuxKind, LinuxRegion, PciFunction, PciFunctions, Table, as_linux, reserved_regions,
};

use crate::data;
use crate::tree::Tree;

/// A directory with one table is read for memory, and not for groups; so is a snapshot of it. Every
/// region of the table is told, graphics' as what Linux gives up.
pub(crate) fn every_table_alone_is_a_host() {
    let options = Options { tables_suffice: true, ..Options::default() };
    let (mut regions, mut graphics, mut counted) = (0, 0, BTreeMap::<String, usize>::new());
    for (name, signature, bytes) in data::tables() {
        let tree = Tree::new(&format!("table-{name}"));
        tree.write(&format!("sys/firmware/acpi/tables/{signature}"), &bytes);
        read::from_path(&tree.0).expect_err("without functions there are no groups");
        let host = read::from_path_with(&tree.0, options).expect("tables suffice");
        let (snapshot, taken) = Snapshot::take(&tree.0, options).expect("tables suffice");
        assert_eq!(taken, host, "{name}");
        tree.write("saved", snapshot.as_text());
        read::from_path(&tree.0.join("saved")).expect_err("without functions there are no groups");
        let saved = read::from_path_with(&tree.0.join("saved"), options).expect("tables suffice");
        assert_eq!(saved, host, "{name}");

        let memory = HostMemory::of(&host);
        assert!(memory.iommu.is_known(), "{name}");
        let (table, _) = Table::read(&bytes).expect("a table");
        for stated in reserved_regions([&table]) {
            regions += 1;
            let told: Vec<_> =
                memory.regions.iter().filter(|region| region.span == stated.span).collect();
            assert!(!told.is_empty(), "{name}: {}", stated.span);
            if told.iter().any(|region| region.role == Role::Graphics) {
                graphics += 1;
                assert!(told.iter().any(|it| it.kind == RegionKind::Relaxable), "{name}");
            }
        }
        *counted.entry(signature).or_default() += 1;
    }
    println!("{counted:?}, {regions} regions, {graphics} of graphics");
    assert!(regions >= 400 && graphics >= 200, "{regions} regions, {graphics} of graphics");
}

/// With the functions of real machines, what is told of each function is what Linux would list for
/// it, by a prediction that shares no code with this one.
pub(crate) fn what_is_told_is_what_linux_makes() {
    let mut compared = 0;
    let machines = data::files("topology/real", ".lspci.txt");
    assert!(machines.len() >= 9, "{} machines", machines.len());
    for (machine, listing) in machines {
        let mut host = read::from_bytes(listing).expect("a listing");
        // What a kernel listed and registers say is of another machine's tables.
        host.reserved_regions.clear();
        for function in host.functions.values_mut() {
            function.registers.clear();
        }
        let functions = functions(&host);
        for (name, signature, bytes) in data::tables() {
            let (table, _) = Table::read(&bytes).expect("a table");
            let linux = as_linux([&table], &functions);
            if linux.off.is_some() || signature == "IORT" {
                continue;
            }
            host.table_bytes = [(signature, Fact::Known(bytes))].into();
            let memory = HostMemory::of(&host);
            for (address, expected) in &linux.regions {
                if functions.by_address[address].is_bridge {
                    continue;
                }
                let own: Vec<_> = told(&memory, *address).collect();
                let (found, expected) = (group(&own), pages(expected));
                // Linux rounds the beginning of an unaligned IVMD up, and leaves its first page out.
                let is_rounded = name == "ivrs_x.bin"
                    && expected.iter().all(|line| {
                        found.iter().any(|it| it.kind == line.kind && it.span.encloses(&line.span))
                    });
                assert!(
                    found == expected || is_rounded,
                    "{machine} {name} {address}: {found:?}, not {expected:?}"
                );
                compared += 1;
            }
        }
    }
    println!("{compared} functions compared");
    assert!(compared > 10_000, "{compared}");
}

fn functions(host: &Host) -> PciFunctions {
    let by_address = host.functions.values().map(|function| {
        let behind = match function.header {
            Fact::Known(Header::Bridge { secondary, subordinate }) => {
                Some((secondary, subordinate))
            }
            _ => None,
        };
        let class = function.identity.class.known().map(|class| {
            u32::from(class.base) << 16 | u32::from(class.sub) << 8 | u32::from(class.interface)
        });
        let physical = function.physical_function.known().copied().flatten();
        let is_bridge = behind.is_some();
        (function.address, PciFunction { class, is_bridge, behind, physical })
    });
    PciFunctions { by_address: by_address.collect(), keeps_boot_setup: true }
}

/// What is told of a function, as Linux would list it.
fn told(memory: &HostMemory, address: PciAddress) -> impl Iterator<Item = LinuxRegion> {
    let own = memory.regions.iter().filter(move |region| {
        !matches!(region.owners, Owners::Unknown) && region.owners.may_include(address)
    });
    own.map(|region: &Region| LinuxRegion {
        span: outward(
            Span::new(Iova::new(region.span.first().get()), Iova::new(region.span.last().get()))
                .expect("it was a span"),
        ),
        kind: match region.kind {
            RegionKind::Relaxable => LinuxKind::Relaxable,
            RegionKind::Direct => LinuxKind::Direct,
            RegionKind::SoftwareMsi => LinuxKind::SoftwareMsi,
            RegionKind::Msi => LinuxKind::Msi,
            RegionKind::Reserved => LinuxKind::Reserved,
        },
    })
}

fn pages(regions: &[LinuxRegion]) -> Vec<LinuxRegion> {
    let whole: Vec<_> =
        regions.iter().map(|it| LinuxRegion { span: outward(it.span), kind: it.kind }).collect();
    group(&whole)
}

fn outward(span: Span<Iova>) -> Span<Iova> {
    assert!(span.last() < Iova::LAST);
    span.aligned_out(Alignment::PAGE_4K)
}
