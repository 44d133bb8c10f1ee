//! A real kernel's iommufd judges the back end for it: in a host with an emulated IOMMU and two devices,
//! claimed as the program claims them, a program of ours (`reacher`) maps and lets them try.
//!
//! It needs kernels that nobody has who did not ask for them: `cargo xtask lab --iommufd`.

mod scenes;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{HostMachine, HostReport, IommuKind, Part, Topology, binary, root, tier};

use scenes::{Kernel, LONG, SCENES, Scene};

const PATIENCE: Duration = Duration::from_secs(240);

/// Where `iommu-testdev` and `edu` are.
const WRITER: &str = "0000:00:02.0";
const READER: &str = "0000:00:03.0";
/// By itself it has 28 address bits.
const EDU: &str = "edu,dma_mask=18446744073709551615";

const BEFORE_FILES: &[Need] = &[Need::Lab, Need::Kernel("6.12-iommufd")];
const WITH_FILES: &[Need] = &[Need::Lab, Need::Kernel("7-iommufd")];

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("linux 6.12 and vt-d", BEFORE_FILES, || judge(Kernel::V6_12, IommuKind::Intel)),
        Case::new("linux 6.12 and amd", BEFORE_FILES, || judge(Kernel::V6_12, IommuKind::Amd)),
        Case::new("linux 7 and vt-d", WITH_FILES, || judge(Kernel::V7, IommuKind::Intel)),
        Case::new("linux 7 and amd", WITH_FILES, || judge(Kernel::V7, IommuKind::Amd)),
    ])
}

fn scenes() -> impl Iterator<Item = &'static Scene> {
    SCENES.iter().chain(tier::is_long().then_some(&LONG))
}

fn judge(kernel: Kernel, iommu: IommuKind) -> Result<()> {
    let report = play(kernel, iommu)?;
    let mut wrong = Vec::new();
    for scene in scenes() {
        let outcome = report.outcome(scene.name)?;
        let said = String::from_utf8_lossy(&outcome.stdout);
        println!("{}:\n{said}", scene.name);
        if outcome.status != 0 {
            wrong.push(format!("{}: {outcome:?}", scene.name));
            continue;
        }
        wrong.extend(compare(scene, (kernel, iommu), &said));
    }
    ensure!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), kernels_words(&report));
    Ok(())
}

/// Each fact of a scene that is not as it should be, or missing, or too many.
fn compare(scene: &Scene, host: (Kernel, IommuKind), said: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut facts = said.lines();
    for fact in scene.facts {
        let expected = fact.on(host);
        let found = facts.next().unwrap_or("nothing");
        let is_so = match expected.strip_suffix('…') {
            Some(beginning) => found.starts_with(beginning),
            None => found == expected,
        };
        if !is_so {
            wrong.push(format!("{}: `{expected}` was expected, `{found}` is so", scene.name));
        }
    }
    wrong.extend(facts.map(|more| format!("{}: `{more}` was not expected", scene.name)));
    wrong
}

fn play(kernel: Kernel, iommu: IommuKind) -> Result<HostReport> {
    let lab = root()?;
    let topology = Topology::new(vec![Part::Function("iommu-testdev"), Part::Function(EDU)]);
    let name = format!("iommufd-{}-{iommu:?}", kernel.series()).to_lowercase();
    let mut host = HostMachine::new(&name, kernel.series(), iommu, &topology)
        .program(&binary("ringfence-guest", "claimer")?)
        .program(&binary("ringfence-guest", "reacher")?)
        // Where type 1 can be had claims are held through it.
        .prepare("rm -f /dev/vfio/vfio")
        .prepare(&format!("claimer claim {WRITER} {READER} > /tmp/claimed 2>&1"));
    if (kernel, iommu) == (Kernel::V7, IommuKind::Amd) {
        // It takes no interrupts of devices by QEMU's IVRS (it finds no IOAPIC of a southbridge's there), and
        // iommufd binds no device then. What is tried here is memory.
        host = host.with(|machine| machine.command_line("iommufd.allow_unsafe_interrupts=1"));
    }
    for scene in scenes() {
        let play = format!("reacher {} {WRITER} {READER}", scene.name);
        let command = match scene.name {
            // Killed when it has mapped, as by `kill -9`.
            "killed" => format!(
                "{play} & while [ ! -e /tmp/mapped ] && kill -0 $!; do sleep 0.1; done; kill -9 $!; wait $!; [ $? = 137 ]"
            ),
            _ => play,
        };
        host = host.case(scene.name, &command);
    }
    host.case("kernel", "cat /tmp/claimed; dmesg | tail -n 40").run(&lab, PATIENCE)
}

fn kernels_words(report: &HostReport) -> String {
    report.text("kernel").unwrap_or("the kernel's words were lost").to_owned()
}
