//! Real machines' tables given to a real Linux: what it lists is what was predicted.
//!
//! Six of them, each of a kind that is chosen by what the tables say. `cargo xtask replay --all` does
//! it with every one there is.

mod kinds;

use std::process::ExitCode;
use std::sync::LazyLock;

use anyhow::{Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::replay::{OwnTables, Replay, Verdict};
use ringfence_lab::root;

use kinds::Kind;

const NEEDS: &[Need] = &[Need::Lab, Need::Program("qemu-system-x86_64"), Need::Data("acpi")];

/// QEMU's own, which the replays are added to.
static OWN: LazyLock<OwnTables> = LazyLock::new(OwnTables::default);

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("graphics and USB below 2 GiB", NEEDS, || replay(Kind::GraphicsAndUsb)),
        Case::new("graphics above 2 GiB", NEEDS, || replay(Kind::HighGraphics)),
        Case::new("the most regions", NEEDS, || replay(Kind::MostRegions)),
        Case::new("a region of several devices", NEEDS, || replay(Kind::Shared)),
        Case::new("functions on another bus", NEEDS, || replay(Kind::OtherBus)),
        Case::new("blocks for all devices, by AMD", NEEDS, || replay(Kind::AmdRange)),
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
