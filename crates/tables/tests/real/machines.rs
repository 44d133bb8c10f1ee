//! Tables of real machines.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_tables::{Content, Devices, RegionKind, reserved_regions};

use crate::data::{bytes, machines};

/// All parse, as what they are, and give their bytes back.
pub(crate) fn round_trip() {
    let index: Vec<serde_json::Value> =
        serde_json::from_slice(&bytes("acpi", "index.json")).expect("an index");
    let tables = machines();
    assert_eq!(tables.len(), index.len(), "a table is missing in the index or in the folder");
    for (name, given, table, _) in &tables {
        assert_eq!(&table.write(), given, "{name}");
        let mut sealed = table.clone();
        sealed.seal();
        assert_eq!(sealed.write(), *given, "{name}: length and checksum were right before");
        let is_known = matches!(
            (&table.content, &name[..4]),
            (Content::Dmar(_), "DMAR") | (Content::Ivrs(_), "IVRS")
        );
        assert!(is_known, "{name} was not understood");
    }
    for entry in &index {
        let file = entry["file"].as_str().expect("a name");
        let (_, _, table, _) = tables.iter().find(|(name, ..)| name == file).expect("it is there");
        assert_eq!(table.header.signature.to_string(), entry["sig"].as_str().expect("a signature"));
        assert_eq!(u64::from(table.header.revision), entry["rev"].as_u64().expect("a revision"));
    }
}

fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    bytes[at..at + length].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn place(bytes: &[u8], at: usize, length: usize) -> usize {
    usize::try_from(number(bytes, at, length)).expect("a length")
}

/// Walks structures by their length and nothing else: first and last byte, and how many scopes.
fn walked(bytes: &[u8]) -> Vec<(u64, u64, usize)> {
    let mut found = Vec::new();
    let mut at = 48;
    while at < bytes.len() {
        let length = place(bytes, at + 2, 2);
        let inside = &bytes[at..at + length];
        if bytes.starts_with(b"DMAR") && inside[0] == 1 {
            let (mut scope, mut scopes) = (24, 0);
            while scope < length {
                scope += usize::from(inside[scope + 1]);
                scopes += 1;
            }
            found.push((number(inside, 8, 8), number(inside, 16, 8), scopes));
        }
        if bytes.starts_with(b"IVRS") && matches!(inside[0], 0x20..=0x23) {
            let (start, size) = (number(inside, 16, 8), number(inside, 24, 8));
            found.push((start, start + size - 1, 1));
        }
        at += length;
    }
    found.sort_unstable();
    found
}

/// What this crate makes of a table is what is there.
pub(crate) fn naive_count() {
    for (name, bytes, table, _) in machines() {
        let regions = reserved_regions([&table]);
        let mut made: Vec<(u64, u64, usize)> = regions
            .iter()
            .map(|it| (it.span.first().get(), it.span.last().get(), it.devices.len()))
            .collect();
        made.sort_unstable();
        assert_eq!(made, walked(&bytes), "{name}");
    }
}

/// What the notes on the whole corpus say must hold for any part of it.
pub(crate) fn statistics() {
    let mut widths = BTreeMap::new();
    let (mut with_memory, mut blocks, mut dmar_tables, mut with_rmrr) = (0, 0, 0, 0);
    let mut regions_of_dmar = 0;
    let mut graphics_sizes: BTreeMap<u64, usize> = BTreeMap::new();
    for (name, _, table, _) in machines() {
        let regions = reserved_regions([&table]);
        match &table.content {
            Content::Dmar(dmar) => {
                *widths.entry(dmar.address_bits()).or_insert(0) += 1;
                dmar_tables += 1;
                with_rmrr += usize::from(!regions.is_empty());
                regions_of_dmar += regions.len();
                for region in &regions {
                    assert_eq!(region.kind, RegionKind::Rmrr);
                    assert_eq!(region.pages(), region.span, "{name}: no real RMRR is unaligned");
                    assert!(region.span.last().get() < 1 << 32, "{name}: none is above 4 GiB");
                    if is_graphics(&region.devices) {
                        let bytes = region.span.length_u64().expect("a part of the space").get();
                        *graphics_sizes.entry(bytes >> 20).or_default() += 1;
                    }
                }
            }
            Content::Ivrs(ivrs) => {
                with_memory += usize::from(!regions.is_empty());
                blocks += ivrs.ivmds().count();
                for (_, ivmd) in ivrs.ivmds() {
                    assert!(matches!(ivmd.flags, 7 | 8), "{name}: flags {:#x}", ivmd.flags);
                }
            }
            _ => panic!("{name}: another kind of table"),
        }
    }
    println!(
        "{dmar_tables} DMAR, {with_rmrr} with {regions_of_dmar} RMRRs, widths {widths:?}, \
         IGD sizes in MiB {graphics_sizes:?}; {with_memory} IVRS with {blocks} IVMDs"
    );
    for (bits, most) in [(39, 283), (36, 34), (46, 12)] {
        assert!(widths.get(&bits).is_none_or(|count| *count <= most), "{widths:?}");
    }
    assert!(widths.keys().all(|bits| (36..=57).contains(bits)), "{widths:?}");
    assert!(with_memory <= 8 && blocks <= 13, "{with_memory} tables, {blocks} blocks");
    assert!(regions_of_dmar <= 524 && with_rmrr <= 324, "{with_rmrr}, {regions_of_dmar}");
    assert!(graphics_sizes.values().sum::<usize>() <= 266, "{graphics_sizes:?}");
    // The page table and a multiple of 32 MiB of memory, for all but one in the whole corpus.
    let odd = graphics_sizes.iter().filter(|(mib, _)| ![2, 4, 8].contains(&(*mib % 32)));
    assert!(odd.map(|(_, count)| count).sum::<usize>() <= 1, "{graphics_sizes:?}");
}

fn is_graphics(devices: &[Devices]) -> bool {
    devices.iter().any(|one| one.to_string() == "0000:00:02.0")
}

/// Checksums, lengths and formats of real tables are in order; what is odd about them is of few kinds.
pub(crate) fn findings() {
    let mut histogram: BTreeMap<&str, (usize, BTreeSet<String>)> = BTreeMap::new();
    for (name, _, _, findings) in machines() {
        for finding in findings {
            let entry = histogram.entry(finding.code.name).or_default();
            entry.0 += 1;
            entry.1.insert(name.clone());
        }
    }
    for (code, (count, tables)) in &histogram {
        println!("{code}: {count} in {} tables", tables.len());
    }
    // Of 524 regions on 338 hosts, 75 on 72 hosts are of several devices; 5 are below 1 MiB.
    let at_most = [("rmrr-shared", 75, 72), ("region-below-1m", 5, 5)];
    for (code, findings, tables) in at_most {
        let within = |it: &(usize, BTreeSet<String>)| it.0 <= findings && it.1.len() <= tables;
        assert!(histogram.get(code).is_none_or(within), "{code}: {:?}", histogram.get(code));
    }
    let broken = [
        "length-below-header",
        "length-beyond-file",
        "bytes-behind",
        "checksum",
        "fixed-part-short",
        "rmrr-unaligned",
        "rmrr-inverted",
        "rmrr-overlap",
        "region-wraps",
        "dmar-structure-short",
        "ivrs-block-short",
    ];
    for code in broken {
        assert!(!histogram.contains_key(code), "{code}: {:?}", histogram[code]);
    }
}
