//! Real machines' tables given to a real Linux: what it lists is what was predicted.
//!
//! Six of them, each of a kind that is chosen by what the tables say. `cargo xtask replay --all` does
//! it with every one there is.
//!
//! And guests planned around such tables, which find their memory as planned ([`planned`]).

mod behind;
mod kinds;
mod own;
mod planned;

use std::process::ExitCode;
use std::sync::LazyLock;

use anyhow::{Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::replay::{OwnTables, Replay, Verdict};
use ringfence_lab::root;
use ringfence_plan::{Machine, Policy, Viommu};

use kinds::Kind;
use planned::{Planned, run};

const NEEDS: &[Need] = &[Need::Lab, Need::Program("qemu-system-x86_64"), Need::Data("acpi")];

/// QEMU's own, which the replays are added to.
static OWN: LazyLock<OwnTables> = LazyLock::new(OwnTables::default);

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("QEMU's own units as they are told to guests", NEEDS, own::units_are_qemus),
        Case::new("graphics and USB below 2 GiB", NEEDS, || replay(Kind::GraphicsAndUsb)),
        Case::new("graphics above 2 GiB", NEEDS, || replay(Kind::HighGraphics)),
        Case::new("the most regions", NEEDS, || replay(Kind::MostRegions)),
        Case::new("a region of several devices", NEEDS, || replay(Kind::Shared)),
        Case::new("functions on another bus", NEEDS, || replay(Kind::OtherBus)),
        Case::new("blocks for all devices, by AMD", NEEDS, || replay(Kind::AmdRange)),
        Case::new("a guest with holes for a ThinkPad's regions", NEEDS, || {
            run(planned(Kind::ThinkPad, Policy::Hole, Machine::Q35, 4096))
        }),
        Case::new(
            "a guest with memory in place of a ThinkPad's regions, behind VT-d",
            NEEDS,
            || {
                run(Planned {
                    viommu: Some(Viommu::Intel),
                    ..planned(Kind::ThinkPad, Policy::Identity, Machine::Q35, 4096)
                })
            },
        ),
        // Up to 3.5 GiB an i440fx has its memory in one piece, where this server's regions are.
        Case::new("a guest with holes for an HP server's regions", NEEDS, || {
            run(planned(Kind::HpServer, Policy::Hole, Machine::I440fx, 3576))
        }),
        // The same of q35 up to 2.75 GiB.
        Case::new("a guest with holes for an AMD board's regions", NEEDS, || {
            run(planned(Kind::AmdRange, Policy::Hole, Machine::Q35, 2560))
        }),
        Case::new(
            "a guest with memory in place of an AMD board's regions, behind AMD-Vi",
            NEEDS,
            || {
                run(Planned {
                    viommu: Some(Viommu::Amd),
                    compared: false,
                    ..planned(Kind::AmdRange, Policy::Identity, Machine::Q35, 2560)
                })
            },
        ),
    ])
}

fn replay(kind: Kind) -> Result<()> {
    let (name, bytes) = kinds::choose(kind)?;
    let came = Replay::of(&name, &bytes)?.run(&root()?, &OWN)?;
    println!("{name}: {} regions, {}", came.regions, came.verdict);
    ensure!(
        came.verdict == Verdict::Equal,
        "{name}: {}\n{}",
        came.verdict,
        came.messages.join("\n")
    );
    ensure!(came.regions > 1, "{name}: the kernel lists {} regions only", came.regions);
    Ok(())
}

fn planned(around: Kind, policy: Policy, machine: Machine, memory_mib: u64) -> Planned {
    Planned { around, policy, machine, memory_mib, viommu: None, compared: true }
}
