//! What Linux 6.12 printed when it was booted with odd tables, beside what is predicted.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;
use ringfence_tables::linux::group;
use ringfence_tables::{Finding, PciFunction, PciFunctions, Table, as_linux};

use crate::data::bytes;

/// The groups of a transcript: members, and the lines of `reserved_regions`.
fn groups(transcript: &str) -> Vec<(Vec<PciAddress>, Vec<String>)> {
    let mut groups: Vec<(Vec<PciAddress>, Vec<String>)> = Vec::new();
    for line in transcript.lines() {
        if let Some((_, members)) = line.split_once(" devs=").filter(|_| line.starts_with("GROUP"))
        {
            let members = members.split_whitespace();
            groups.push((members.map(|it| it.parse().expect("an address")).collect(), Vec::new()));
        } else if line.starts_with("0x") {
            groups.last_mut().expect("lines stand below a group").1.push(line.trim().to_owned());
        }
    }
    groups
}

/// The machines were QEMU's, with these functions on bus 0.
fn functions(classes: &[(&str, u32)]) -> PciFunctions {
    let function =
        |class| PciFunction { class: Some(class), is_bridge: false, behind: None, physical: None };
    let at = |text: &str| text.parse().expect("an address");
    let by_address: BTreeMap<_, _> =
        classes.iter().map(|(text, class)| (at(text), function(*class))).collect();
    PciFunctions { by_address, keeps_boot_setup: true }
}

fn compare(table: &str, transcript: &str, functions: &PciFunctions) {
    let (table, _) = Table::read(&bytes("acpi-lab", table)).expect("it has a header");
    let transcript = bytes("acpi-lab", transcript);
    let groups = groups(&String::from_utf8_lossy(&transcript));
    assert!(!groups.is_empty(), "the transcript lists no group");
    let linux = as_linux([&table], functions);
    assert_eq!(linux.off, None);
    let listed: Vec<PciAddress> = groups.iter().flat_map(|(members, _)| members.clone()).collect();
    assert_eq!(linux.regions.keys().copied().collect::<Vec<_>>(), listed, "who has an IOMMU");
    for (members, lines) in &groups {
        let regions = group(members.iter().flat_map(|member| &linux.regions[member]));
        let predicted: Vec<String> = regions.iter().map(ToString::to_string).collect();
        assert_eq!(&predicted, lines, "{members:?}");
    }
}

pub(crate) fn odd_dmar() {
    let functions = functions(&[
        ("00:00.0", 0x06_0000),
        ("00:02.0", 0x03_0000),
        ("00:03.0", 0x02_0000),
        ("00:04.0", 0x0c_0330),
        ("00:1f.0", 0x06_0100),
        ("00:1f.2", 0x01_0601),
        ("00:1f.3", 0x0c_0500),
    ]);
    compare("dmar_odd.bin", "out.odd.golden.txt", &functions);
}

pub(crate) fn ivrs() {
    let functions = functions(&[
        ("00:00.0", 0x06_0000),
        ("00:01.0", 0x08_0600),
        ("00:02.0", 0x03_0000),
        ("00:03.0", 0x02_0000),
        ("00:04.0", 0x0c_0330),
        ("00:1f.0", 0x06_0100),
        ("00:1f.2", 0x01_0601),
        ("00:1f.3", 0x0c_0500),
    ]);
    compare("ivrs_x.bin", "out.ivrs2.golden.txt", &functions);
}

pub(crate) fn iort() {
    compare("iort_x.bin", "out.iort2.golden.txt", &functions(&[("00:04.0", 0x02_0000)]));
}

/// Every region that the kernel called broken has a finding, and no other.
pub(crate) fn complaints() {
    let found = |file: &str, code: &str| -> Vec<String> {
        let (_, findings) = Table::read(&bytes("acpi-lab", file)).expect("it has a header");
        let of_it = findings.iter().filter(|it: &&Finding| it.code.name == code);
        of_it.map(|it| it.detail.clone()).collect()
    };
    assert_eq!(found("dmar_odd.bin", "rmrr-unaligned"), ["0x2e000000-0x2e000ffe"]);
    assert_eq!(found("dmar_odd.bin", "region-over-msi"), ["0xfee00000-0xfee00fff"]);
    assert_eq!(found("dmar_odd.bin", "rmrr-overlap").len(), 1);
    assert_eq!(found("dmar_good.bin", "rmrr-unaligned"), [""; 0]);
    let unaligned = found("ivrs_x.bin", "ivmd-unaligned");
    assert_eq!(unaligned, ["0x1000 bytes from 0x30000800; Linux begins at 0x30001000"]);
    assert_eq!(found("ivrs_x.bin", "ivmd-exclusion").len(), 1);
    assert_eq!(found("iort_x.bin", "rmr-unaligned"), ["0x1000 bytes from 0x62000800"]);
    assert_eq!(found("iort0.bin", "rmr-unaligned"), [""; 0]);
}
