//! A real function behind a real IOMMU's driver, served over vfio-user by our own code and driven by a
//! client of ours (`guest`'s `lender`), in a machine whose IOMMU and function are QEMU's.

mod inner;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{HostMachine, HostReport, IommuKind, Part, Topology, binary, root, tier};

fn main() -> ExitCode {
    let mut cases = vec![
        Case::new("a function is served, and held, on linux 6.12 with vt-d", &[Need::Lab], || {
            scenes("6.12", IommuKind::Intel, "DMAR:.*fault addr")
        }),
        Case::new("a function is served, and held, on linux 7 with amd-vi", &[Need::Lab], || {
            scenes("7", IommuKind::Amd, "AMD-Vi:.*IO_PAGE_FAULT")
        }),
    ];
    if tier::is_long() {
        let name = "a guest of unmodified qemu's drives what is served to it";
        cases.push(Case::new(name, &[Need::Lab], inner::drives));
    }
    harness::main(cases)
}

const PATIENCE: Duration = Duration::from_secs(300);

/// What every scene comes to, in order.
const EXPECTED: &[(&str, &str)] = &[
    ("without a client", "bus off"),
    // Configuration, and registers through what was lent and without.
    ("config", "[34, 12, e8, 11]"),
    ("flags", "3"),
    ("interrupts", "1 1"),
    ("mapped registers", "0x10000ed true"),
    ("trapped registers", "[ed, 00, 00, 01]"),
    ("bus before the guest", "off"),
    ("bus after the guest", "on"),
    ("interrupts by message", "2"),
    ("interrupts by line", "2"),
    ("interrupts to a file", "errno 22"),
    // Memory: 16 MiB in blocks of 2.
    ("before anything is mapped", "false"),
    ("mapped", "4096 frames, 16384 kB locked"),
    ("inside", "true"),
    ("unmapped", "0 frames, 0 kB locked"),
    ("after it is unmapped", "false"),
    ("mapped again", "true"),
    // A page that the guest gives back.
    ("given back while mapped", "the function has it"),
    ("its block is taken out", "true"),
    ("given back", "free"),
    ("what is left of the page", "true"),
    ("the function writes there", "false"),
    ("and elsewhere", "true"),
    ("blocks taken up", "1"),
    ("and there again", "true"),
    // What is no memory of this VM's.
    ("a file that is no memory", "errno 1"),
    ("is told as", "RF0726"),
    // I21: a BAR is not mapped for any device.
    ("a device's memory", "errno 1"),
    ("is told as", "RF0726"),
    ("a stranger's file", "errno 1"),
    ("is told as", "RF0730"),
    ("beyond the file's end", "errno 14"),
    ("counted meanwhile", "4096"),
    ("and it goes on", "true"),
    // Cut off, until it is reset.
    ("cut off", "true"),
    ("bus when cut off", "off"),
    ("it writes", "false"),
    ("counted", "0"),
    ("reset", "done"),
    ("bus after the reset", "on"),
    ("it writes again", "true"),
    ("a client that went", "0 bytes, 0 frames, 0 kB locked, bus off"),
    ("another client", "true, 4096 frames, bus on"),
    ("a client that was killed", "0 bytes, 0 frames, 0 kB locked, bus off"),
    // The kernel knows whether somebody has a BAR mapped still.
    ("back while a BAR is mapped", "RF0729"),
    ("back when it is not", "all of it"),
];

fn scenes(series: &str, iommu: IommuKind, fault: &str) -> Result<()> {
    let topology = Topology::new(vec![Part::RootPort(vec![Part::Function("edu")])]);
    let mut machine = HostMachine::new("served", series, iommu, &topology).vfio();
    if iommu == IommuKind::Amd {
        // The kernel does not remap interrupts with QEMU's; memory is what this is about.
        let allow = "echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts";
        machine = machine.prepare(allow);
    }
    let report = machine
        .program(&binary("ringfence-guest", "claimer")?)
        .program(&binary("ringfence-guest", "lender")?)
        .prepare("E=0000:01:00.0")
        .case("claimed", "claimer claim $E")
        .case("scenes", "lender scenes $E")
        .case("faults", &format!("dmesg | grep -c '{fault}'"))
        .case("released", "claimer release $E")
        .run(&root()?, PATIENCE)?;
    report.text("claimed")?;
    check(&report)?;
    // Before it was mapped, beside it, after it was unmapped, where a page was given back; a kernel
    // that sees many tells of some.
    let faults: u32 = report.text("faults")?.trim().parse().context("a count")?;
    ensure!(faults >= 3, "the IOMMU's driver told of {faults} faults");
    report.text("released").map(drop)
}

fn check(report: &HostReport) -> Result<()> {
    let outcome = report.outcome("scenes")?;
    let text = String::from_utf8_lossy(&outcome.stdout);
    let mut lines = text.lines();
    for (what, expected) in EXPECTED {
        let line = lines.next().with_context(|| format!("nothing of `{what}`: {outcome:?}"))?;
        let said = line.strip_prefix(*what).and_then(|rest| rest.strip_prefix(": "));
        // Of a refusal the code is enough.
        let is_it = said.is_some_and(|said| {
            said == *expected || expected.starts_with("RF") && said.starts_with(expected)
        });
        ensure!(is_it, "`{line}`, not `{what}: {expected}`: {outcome:?}");
    }
    ensure!(outcome.status == 0 && lines.next().is_none(), "{outcome:?}");
    Ok(())
}
