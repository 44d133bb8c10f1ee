//! `groups`, `why` and `snapshot` inside hosts of the lab, beside what their kernels say.
//!
//! Each host has every topology there is (`hosts`), and everything is asked of it in one boot. The
//! hosts with Intel's IOMMU are booted once more with other ACS settings, to see whether the groups
//! are those that were predicted.

mod hosts;
mod serving;
mod sets;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{HostMachine, HostReport, IommuKind, Scratch, root};
use serde_json::Value;

use sets::{Sets, of_answer, of_kernel};

const PATIENCE: Duration = Duration::from_secs(240);

const NEEDS: &[Need] = &[Need::Lab, Need::Program("qemu-system-x86_64")];

/// ACS settings, the same for `--set` and for the kernel's `config_acs=`.
const SETTINGS: &[(&str, &str)] = &[("0000:00:02.0", "xx00000"), ("0000:00:07.0", "xxx00xx")];

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("intel, linux 6.12: observed, stale and predicted", NEEDS, || intel("6.12")),
        Case::new("intel, linux 7: observed, stale and predicted", NEEDS, || intel("7")),
        Case::new("amd, linux 6.12: observed; served", NEEDS, || served("6.12")),
        Case::new("amd, linux 7: observed; served", NEEDS, || served("7")),
        Case::new("virtio, linux 6.12: observed, finer where drivers came late", NEEDS, finer),
        Case::new("virtio, linux 7: observed", NEEDS, || equal("7", IommuKind::Virtio)),
    ])
}

/// A host in which the program is asked what the kernel was asked.
fn asked(series: &str, iommu: IommuKind) -> Result<HostMachine> {
    let name = format!("groups-{series}-{iommu:?}");
    Ok(hosts::host(&name, series, iommu)
        .program(Path::new(env!("CARGO_BIN_EXE_ringfence")))
        .case("groups", "ringfence groups --json")
        .case("observed", "ringfence groups --json --model observed"))
}

/// The kernel's groups, which `observed` must repeat, and those the registers give.
fn both(report: &HostReport) -> Result<(Sets, Sets)> {
    let kernel = of_kernel(report.text("kernel")?)?;
    ensure!(kernel.len() > 12, "the kernel has {} groups only", kernel.len());
    let observed = of_answer(&report.json("observed")?)?;
    ensure!(observed == kernel, "observed: {observed:#?}\nthe kernel's: {kernel:#?}");
    Ok((kernel, of_answer(&report.json("groups")?)?))
}

fn same(reckoned: &Sets, kernel: &Sets) -> Result<()> {
    let only = |one: &Sets, other: &Sets| one.difference(other).cloned().collect::<Vec<_>>();
    ensure!(
        reckoned == kernel,
        "only reckoned: {:#?}\nonly the kernel's: {:#?}",
        only(reckoned, kernel),
        only(kernel, reckoned)
    );
    Ok(())
}

fn equal(series: &str, iommu: IommuKind) -> Result<()> {
    let report = asked(series, iommu)?.run(&root()?, PATIENCE)?;
    let (kernel, reckoned) = both(&report)?;
    same(&reckoned, &kernel)
}

fn served(series: &str) -> Result<()> {
    let report = serving::asked(asked(series, IommuKind::Amd)?).run(&root()?, serving::PATIENCE)?;
    let (kernel, reckoned) = both(&report)?;
    same(&reckoned, &kernel)?;
    serving::judge(&report)
}

/// A second gap of the model: the driver of virtio's IOMMU gives no group to functions behind a bridge
/// from PCI Express to PCI, whichever drivers they have. On 7.x it then gives none to any function,
/// which is why that host has no such bridge.
const BEHIND_THE_BRIDGE: &[&str] = &["0000:0d:01.0", "0000:0d:02.0"];

/// Linux 6.12 puts functions behind a virtio IOMMU in groups in the order in which drivers take
/// them. A function taken before the port above it is in another group than that port: a gap of the
/// model, whose order is that of discovery. The kernel's groups are finer then, never coarser.
fn finer() -> Result<()> {
    let report = asked("6.12", IommuKind::Virtio)?.run(&root()?, PATIENCE)?;
    let (kernel, reckoned) = both(&report)?;
    for set in &kernel {
        ensure!(
            reckoned.iter().any(|one| set.is_subset(one)),
            "the kernel has {set:?} together, which nothing explains in {reckoned:#?}"
        );
    }
    let all = |sets: &Sets| sets.iter().flatten().cloned().collect::<sets::Set>();
    let (has, ought) = (all(&kernel), all(&reckoned));
    let lacking: Vec<&str> = ought.difference(&has).map(String::as_str).collect();
    ensure!(lacking == BEHIND_THE_BRIDGE, "without a group, not by the model: {lacking:?}");
    ensure!(has.is_subset(&ought), "in a group, not by the model: {has:?}\n{ought:?}");
    Ok(())
}

/// Clears the ACS control register of the first root port, as services do at boot.
const CLEAR: &str = "printf '\\000\\000' | dd bs=1 seek=334 conv=notrunc 2> /dev/null \\
  of=/sys/bus/pci/devices/0000:00:02.0/config";

fn intel(series: &str) -> Result<()> {
    let lab = root()?;
    let report = asked(series, IommuKind::Intel)?
        .with(|machine| machine.file("/etc/passwd", "nobody:x:65534:65534::/:/bin/sh\n"))
        .case("snapshot", "ringfence snapshot -")
        .case("tree", "ringfence groups")
        .case("why", "ringfence why 0000:02:00.0 0000:00:03.0")
        .case("nobody", "start-stop-daemon -S -c 65534:65534 -x /bin/ringfence -- groups --json")
        .prepare(CLEAR)
        .case("stale", "ringfence groups --json")
        .run(&lab, PATIENCE)?;
    let (kernel, reckoned) = both(&report)?;
    same(&reckoned, &kernel)?;
    let why = report.text("why")?;
    ensure!(why.contains("is together with") && why.contains("port-without-acs"), "{why}");
    let tree = report.text("tree")?;
    ensure!(tree.contains("└─0000:02:00.0"), "{tree}");
    nothing_is_guessed(&report.json("nobody")?)?;
    names_the_stale(&report.json("stale")?)?;

    let scratch = Scratch::new()?;
    let file = scratch.join("host.snapshot");
    std::fs::write(&file, report.text("snapshot")?)?;
    same(&of_answer(&from(&file, &[])?)?, &kernel)?;
    let changes: Vec<String> =
        SETTINGS.iter().map(|(address, bits)| format!("{address}:acs={bits}")).collect();
    let predicted = of_answer(&from(&file, &changes)?)?;
    ensure!(predicted != kernel, "the settings were to change something");
    let words: Vec<String> =
        SETTINGS.iter().map(|(address, bits)| format!("{bits}@{address}")).collect();
    let command_line = format!("pci=config_acs={}", words.join(";"));
    let name = format!("groups-{series}-config-acs");
    let after = hosts::host(&name, series, IommuKind::Intel)
        .with(|machine| machine.command_line(&command_line))
        .run(&lab, PATIENCE)?;
    same(&predicted, &of_kernel(after.text("kernel")?)?)
}

/// `groups --json` of a snapshot, here.
fn from(file: &Path, changes: &[String]) -> Result<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringfence"));
    command.args(["groups", "--json", "--from"]).arg(file);
    command.args(changes.iter().flat_map(|change| ["--set", change]));
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Without root the registers that decide are not shown: what rests on them is unknown.
fn nothing_is_guessed(answer: &Value) -> Result<()> {
    let groups = answer["groups"].as_array().map_or(&[][..], Vec::as_slice);
    let port = groups.iter().find(|group| {
        group["functions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["address"] == "0000:01:00.0"))
    });
    let standing = port.map(|group| group["standing"].clone()).unwrap_or_default();
    ensure!(standing == "unknown", "{standing} without having read it: {port:?}");
    Ok(())
}

fn names_the_stale(answer: &Value) -> Result<()> {
    let differences = answer["differences"].as_array().map_or(&[][..], Vec::as_slice);
    let stale = differences.iter().find(|one| {
        one["functions"].as_array().is_some_and(|all| all.contains(&"0000:01:00.0".into()))
    });
    let verdict = stale.map(|one| one["verdict"].clone()).unwrap_or_default();
    ensure!(verdict == "stale", "{verdict}: {differences:#?}");
    let stale = stale.map(|one| one["functions"].clone()).unwrap_or_default();
    ensure!(stale == serde_json::json!(["0000:00:02.0", "0000:01:00.0"]), "{differences:#?}");
    Ok(())
}
