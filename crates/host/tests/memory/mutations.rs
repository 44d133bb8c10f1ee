//! Hosts of any bytes: memory is told, whatever they say, and in time.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ringfence_addr::{Hpa, PciAddress, Span};
use ringfence_host::{Class, Fact, Function, Header, Host, HostMemory};
use ringfence_tables::{Content, Dmar, Header as TableHeader, Rmrr, Scope, ScopeKind, Scopes};
use ringfence_tables::{Structure, Table};

/// A table of this signature with anything behind its header.
fn table() -> impl Strategy<Value = (String, Fact<Vec<u8>>)> {
    let signature = prop_oneof![Just("DMAR"), Just("IVRS"), Just("IORT"), Just("VIOT")];
    let pieces = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..40),
        // What begins like a region, an IOMMU or a node.
        (0_u8..7, 0_u8..70).prop_map(|(kind, length)| vec![kind, 0, length, 0]),
        (0x10_u8..0x24, 0_u8..70).prop_map(|(kind, length)| vec![kind, 8, length, 0]),
        Just(vec![1, 8, 0, 0, 0, 0, 2, 0]),
        Just(vec![0; 8]),
    ];
    (signature, proptest::collection::vec(pieces, 0..40)).prop_map(|(signature, pieces)| {
        let mut bytes = signature.as_bytes().to_vec();
        bytes.extend([0, 4, 0, 0]);
        bytes.resize(36, 1);
        bytes.extend(pieces.concat());
        (signature.to_owned(), Fact::Known(bytes))
    })
}

fn function() -> impl Strategy<Value = Function> {
    let class = prop_oneof![Just((3, 0)), Just((6, 0)), Just((6, 1)), Just((6, 4)), Just((12, 3))];
    let registers = proptest::collection::btree_map(
        prop_oneof![Just(0x50_u16), Just(0x5c), Just(0xc0), Just(0xc4), Just(0xbc), Just(0xb4)],
        any::<u32>().prop_map(Fact::Known),
        0..6,
    );
    let device = prop_oneof![Just(0x9a49), Just(0x1912), Just(0x22b0), Just(0x0126), any::<u16>()];
    (0_u16..0x400, class, any::<[u8; 2]>(), 0_u32..4, registers, device).prop_map(
        |(id, (base, sub), [secondary, subordinate], group, registers, device)| {
            let mut function = Function::new(PciAddress::from_requester_id(0, id));
            function.identity.vendor = Fact::Known(0x8086);
            function.identity.device = Fact::Known(device);
            function.identity.class = Fact::Known(Class { base, sub, interface: 0 });
            let bridge = Header::Bridge { secondary, subordinate };
            function.header = Fact::Known(if sub == 4 { bridge } else { Header::Endpoint });
            function.kernel_group = Fact::Known(Some(group));
            function.registers = registers;
            function
        },
    )
}

/// A line of the kernel's list.
fn line() -> impl Strategy<Value = String> {
    let kind = prop_oneof![Just("direct"), Just("direct-relaxable"), Just("msi"), Just("reserved")];
    (any::<u64>(), any::<u64>(), 0_u32..64, kind).prop_map(|(one, other, shift, kind)| {
        format!("{:#x} {:#x} {kind}", one >> shift, other >> shift)
    })
}

/// What is told makes sense whatever was read.
pub(crate) fn any_host_has_some_memory() {
    let host = (
        proptest::collection::vec(table(), 0..3),
        proptest::collection::vec(function(), 0..12),
        proptest::collection::btree_map(0_u32..4, proptest::collection::vec(line(), 0..6), 0..4),
    );
    let host = host.prop_map(|(tables, functions, reserved_regions)| Host {
        functions: functions.into_iter().map(|function| (function.address, function)).collect(),
        table_bytes: tables.into_iter().collect(),
        reserved_regions,
        ..Host::default()
    });
    let mut runner =
        TestRunner::new(Config { cases: 4000, failure_persistence: None, ..Config::default() });
    let run = runner.run(&host, |host| {
        let memory = HostMemory::of(&host);
        prop_assert_eq!(&HostMemory::of(&host), &memory);
        for region in &memory.regions {
            prop_assert!(!region.sources.is_empty());
        }
        // Every line that is one is told, whole, for every function of its group.
        for (group, lines) in &host.reserved_regions {
            let own = |function: &&Function| function.kernel_group == Fact::Known(Some(*group));
            for member in host.functions.values().filter(own) {
                for place in lines.iter().filter_map(|line| place(line)) {
                    let mut rest = ringfence_addr::SpanSet::from(place);
                    for region in &memory.regions {
                        if region.owners.may_include(member.address)
                            || region.shared.contains(&member.address)
                            || region.sources.iter().any(|it| it.starts_with("reserved_regions"))
                        {
                            let pages = region.span.aligned_out(ringfence_addr::Alignment::PAGE_4K);
                            rest.remove(pages);
                        }
                    }
                    prop_assert!(rest.is_empty(), "{place} of group {group}: {rest}");
                }
            }
        }
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
}

fn place(line: &str) -> Option<Span<Hpa>> {
    let mut numbers = line
        .split(' ')
        .map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok().map(Hpa::new));
    Span::new(numbers.next()??, numbers.next()??)
}

/// Tens of thousands of regions, each for a bridge with two thousand functions behind, and as many lists: it
/// ends, with no more owners than hosts have.
pub(crate) fn a_large_table_takes_no_time() {
    let scope = Scope::new(ScopeKind::Bridge, 0, &[[1, 0]]);
    let region = |at: u64| {
        Structure::Rmrr(Rmrr {
            reserved: 0,
            segment: 0,
            base: at << 12,
            limit: at << 12 | 0xfff,
            scopes: Scopes { list: vec![scope.clone()], rest: Vec::new() },
        })
    };
    let content = Content::Dmar(Dmar::new(39, (1..30_000).map(region).collect()));
    let bytes = Table::new(TableHeader::new(*b"DMAR", 1), content).write();
    let mut host = Host::default();
    for id in (8_u16..9).chain(0x100..0x8ff) {
        let mut function = Function::new(PciAddress::from_requester_id(0, id));
        let bridge = Header::Bridge { secondary: 1, subordinate: 8 };
        function.header = Fact::Known(if id == 8 { bridge } else { Header::Endpoint });
        function.kernel_group = Fact::Known(Some(id.into()));
        let line = format!("{:#x} {:#x} direct", u64::from(id) << 12, u64::from(id) << 13);
        host.reserved_regions.insert(id.into(), vec![line; 20]);
        host.functions.insert(function.address, function);
    }
    host.table_bytes.insert("DMAR".to_owned(), Fact::Known(bytes));
    let memory = HostMemory::of(&host);
    assert!(memory.remarks.len() < 200, "{} remarks", memory.remarks.len());
    assert!(memory.regions.len() >= 29_999, "{} regions", memory.regions.len());
}
