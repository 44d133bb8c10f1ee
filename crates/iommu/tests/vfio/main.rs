//! The account over real VFIO, on real kernels with emulated IOMMUs, beside what a careless user of VFIO
//! meets: one machine for each kernel and IOMMU, all scenes in one boot.

mod expected;
mod kills;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{HostMachine, HostReport, IommuKind, Part, Topology, binary, root, tier};

fn main() -> ExitCode {
    let mut cases = vec![
        Case::new("scenes on linux 6.12 with amd-vi", &[Need::Lab], || {
            let report = run("6.12", IommuKind::Amd, true)?;
            scenes(&report)?;
            limit(&report)?;
            top(&report, Top::StaysMapped)
        }),
        Case::new("scenes on linux 6.12 with vt-d", &[Need::Lab], || {
            same("6.12", IommuKind::Intel)
        }),
        Case::new("scenes on linux 7 with vt-d", &[Need::Lab], || same("7", IommuKind::Intel)),
    ];
    if tier::is_long() {
        cases.push(Case::new("scenes on linux 7 with amd-vi", &[Need::Lab], || {
            let report = run("7", IommuKind::Amd, true)?;
            scenes(&report)?;
            limit(&report)?;
            top(&report, Top::Sound)
        }));
    }
    harness::main(cases)
}

const PATIENCE: Duration = Duration::from_secs(300);

fn same(series: &str, iommu: IommuKind) -> Result<()> {
    let report = run(series, iommu, tier::is_long())?;
    scenes(&report)?;
    if tier::is_long() {
        limit(&report)?;
    }
    top(&report, Top::Refused)
}

fn run(series: &str, iommu: IommuKind, with_limit: bool) -> Result<HostReport> {
    // Behind the IOMMU: a device that QEMU makes first is not translated, and says nothing.
    let devices = ["iommu-testdev", "edu"].map(Part::Function);
    let machine = HostMachine::new("vfio", series, iommu, &Topology::new(devices.into()))
        .vfio()
        .program(&binary("ringfence-guest", "claimer")?)
        .program(&binary("ringfence-guest", "keeper")?)
        .prepare(unmapped_interrupts(series, iommu))
        .prepare("claimer claim 0000:00:02.0 && claimer claim 0000:00:03.0");
    let names = expected::SCENES.iter().map(|(name, _)| *name);
    // What the kernel does with the last page stays with it until the end.
    let last = [Some("kills"), with_limit.then_some("limit"), Some("top")];
    let scene = |machine: HostMachine, name| machine.case(name, &format!("keeper {name}"));
    names.chain(last.into_iter().flatten()).fold(machine, scene).run(&root()?, PATIENCE)
}

/// Linux 7.3 finds no southbridge's IOAPIC in the table that QEMU 11 writes for AMD's IOMMU, and turns the
/// remapping of interrupts off, without which VFIO gives no function away unless it is told to.
fn unmapped_interrupts(series: &str, iommu: IommuKind) -> &'static str {
    match (series, iommu) {
        ("7", IommuKind::Amd) => {
            "echo 1 > /sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
        }
        _ => "true",
    }
}

fn scenes(report: &HostReport) -> Result<()> {
    for (name, expected) in expected::SCENES {
        let text = report.text(name)?;
        ensure!(text == *expected, "{name}:\n{text}\nand not:\n{expected}");
    }
    kills::check(report.text("kills")?)
}

fn limit(report: &HostReport) -> Result<()> {
    let text = report.text("limit")?;
    ensure!(text == expected::LIMIT, "{text}");
    Ok(())
}

/// What a kernel makes of the last page there is.
#[derive(Clone, Copy)]
enum Top {
    /// It says that it maps it, twice, that it unmaps it, and leaves it mapped.
    StaysMapped,
    /// It maps it once (`EEXIST` is 17) and unmaps it.
    Sound,
    /// It refuses to (`EINVAL`).
    Refused,
}

fn top(report: &HostReport, what: Top) -> Result<()> {
    let (maps, again, unmaps, pinned) = match what {
        Top::StaysMapped => ("0; to page 0", "0; to page 0", "0; to page 0", 2),
        Top::Sound => ("0; to page 0", "error 17; to page 0", "4096; refused", 0),
        Top::Refused => ("error 22; refused", "error 22; refused", "0; refused", 0),
    };
    let unmaps_all = unmaps.replace("4096", "0");
    let expected = format!(
        "by an account: RF0111\nby itself: refused\n\
         the kernel maps it: {maps}\nthe kernel maps it: {again}\n\
         it unmaps it: {unmaps}\nit unmaps all: {unmaps_all}\npages left pinned: {pinned}\n"
    );
    let text = report.text("top")?;
    ensure!(text == expected, "{text}");
    Ok(())
}
