//! Clearing an Intel graphics function's stolen memory, by the real program through real VFIO, on models
//! of several designs in one machine, and on models of hardware that is broken in one way each.
//!
//! A tenant of the function plants a secret (`guest`'s `intruder`); without a scrub the next one finds it,
//! although the function was reset in between, and with one it does not. What happened is then seen in the
//! model itself, as it was at each mark that the machine's script made.

mod broken;
mod placed;
mod sound;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfence_lab::graphics::{
    self, BAY_TRAIL, Defect, HASWELL, MARK, METEOR_LAKE, PAGE, SKYLAKE, Served, Snapshot,
    TIGER_LAKE,
};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{HostMachine, IommuKind, Topology, binary, root};

fn main() -> ExitCode {
    harness::main(vec![
        Case::new(
            "a tenant's secret does not outlive a scrub, entries of 32 bits",
            &[Need::Lab],
            || run("narrow", &on(&[&HASWELL, &BAY_TRAIL])),
        ),
        Case::new("nor with others, and what is broken is not called clear", &[Need::Lab], || {
            let mut functions = on(&[&SKYLAKE, &TIGER_LAKE, &METEOR_LAKE]);
            let broken = broken::HARDWARE.iter();
            functions.extend(broken.map(|(design, defect, _)| (*design, Some(*defect))));
            run("wide", &functions)
        }),
    ])
}

type Design = &'static graphics::Design;

fn on(designs: &[Design]) -> Vec<(Design, Option<Defect>)> {
    designs.iter().map(|design| (*design, None)).collect()
}

const PATIENCE: Duration = Duration::from_secs(300);

/// What a script's marks are made after.
mod mark {
    pub(super) const START: u8 = 1;
    pub(super) const PLANTED: u8 = 2;
    pub(super) const SEARCHED: u8 = 3;
    pub(super) const DRY: u8 = 4;
    pub(super) const SCRUBBED: u8 = 5;
}

/// A model in the machine.
struct Function {
    address: String,
    served: Served,
    design: Design,
}

impl Function {
    /// A case about it.
    fn case(&self, what: &str) -> String {
        format!("{what} {}", self.address)
    }
}

fn run(name: &str, hardware: &[(Design, Option<Defect>)]) -> Result<()> {
    let mut functions = Vec::new();
    let topology = Topology::default();
    let mut machine =
        HostMachine::new(&format!("scrub-{name}"), "6.12", IommuKind::Intel, &topology)
            .vfio()
            // The host's own screen: what firmware booted with is not given to a VM.
            .with(|machine| machine.qemu(["-device", "VGA,addr=01.0"]))
            .program(&binary("ringfence", "ringfence")?)
            .program(&binary("ringfence-guest", "intruder")?)
            .prepare(&preparation());
    for (slot, (design, defect)) in (2..).zip(hardware.iter().copied()) {
        let served = Served::start(design, defect)?;
        let arguments = served.arguments(&format!("{slot:02x}.0"));
        let function = Function { address: format!("0000:00:{slot:02x}.0"), served, design };
        let claim = format!("ringfence claim --watched {}", function.address);
        machine =
            machine.with(|machine| machine.qemu(arguments)).case(&function.case("claim"), &claim);
        machine = match defect {
            None => placed::cases(sound::cases(machine, &function), &function),
            Some(_) => broken::cases(machine, &function),
        };
        functions.push((function, defect));
    }
    let report = machine.run(&root()?, PATIENCE)?;
    for (function, defect) in &functions {
        let outcome = report.outcome(&function.case("claim"))?;
        ensure!(outcome.status == 0, "{outcome:?}");
        match defect {
            None => sound::check(&report, function).and_then(|()| placed::check(&report, function)),
            Some(defect) => broken::check(&report, function, *defect),
        }
        .with_context(|| format!("{} ({defect:?})", function.design.name))?;
    }
    Ok(())
}

/// Shell for marks.
fn preparation() -> String {
    format!(
        "mark() {{ # FUNCTION MARK
           printf \"\\\\$(printf '%03o' $2)\" |
             dd of=/sys/bus/pci/devices/$1/config bs=1 seek={MARK} conv=notrunc 2>/dev/null
         }}"
    )
}

/// Checks that nothing was done that should not be, since then.
fn nothing_wrong(what: &str, before: &Snapshot, after: &Snapshot) -> Result<()> {
    let account = after.account.since(&before.account);
    ensure!(account.wrongs().is_empty(), "{what}: {account}");
    ensure!(after.foreign.is_empty(), "{what}: memory of others was written");
    Ok(())
}

/// Checks that what firmware keeps, and what is to be kept for software, is as it was.
fn kept(design: Design, before: &Snapshot, after: &Snapshot) -> Result<()> {
    for page in (0..design.data_bytes).step_by(PAGE).filter(|page| is_kept(design, *page)) {
        let at = page..page + PAGE;
        ensure!(before.data[at.clone()] == after.data[at], "at {page:#x}, which is kept");
    }
    Ok(())
}

/// Whether a page of the memory is not a tenant's.
fn is_kept(design: Design, page: usize) -> bool {
    let is_in = |kept: &graphics::Kept| (kept.offset..kept.offset + kept.bytes).contains(&page);
    page >= design.usable_bytes() || design.kept.iter().any(is_in)
}
