//! Guests planned around what real machines reserve: their memory is as planned, and that of the same
//! guest without the plan is not.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfence_addr::PciAddress;
use ringfence_host::{Fact, Host, HostMemory, Owners};
use ringfence_lab::{HostMachine, HostReport, IommuKind, Scratch, Topology, binary, root};
use ringfence_plan::check::{GuestMemory, check_guest};
use ringfence_plan::emit::{Consumer, Surroundings, emit};
use ringfence_plan::{Assigned, Machine, Plan, Policy, Request, Use, Viommu, plan};

use crate::behind;
use crate::kinds::{self, Kind};

const MIB: u64 = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(240);
const SERIES: &str = "6.12";

/// A guest, and around what it is planned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    /// The table whose regions it has devices of.
    pub(crate) around: Kind,
    /// What is done about the regions.
    pub(crate) policy: Policy,
    /// What kind of machine it is.
    pub(crate) machine: Machine,
    /// How much memory it shall have: so much that by default some would lie there.
    pub(crate) memory_mib: u64,
    /// The IOMMU that it sees, with the devices behind.
    pub(crate) viommu: Option<Viommu>,
    /// The same guest without a plan is tried, too.
    pub(crate) compared: bool,
}

pub(crate) fn run(planned: Planned) -> Result<()> {
    let lab = root()?;
    let (name, bytes) = kinds::most(planned.around)?;
    let memory = HostMemory::of(&host(bytes)?);
    let request = request(&memory, planned)?;
    let plan = plan(std::slice::from_ref(&memory), &request)
        .map_err(|refusals| anyhow::anyhow!("{name}: {refusals:?}"))?;
    ensure!(!plan.settings.keep_off.is_empty(), "{name}: there is nothing to keep off");

    let scratch = Scratch::new()?;
    let folder = scratch.path().to_str().context("a scratch folder's name is text")?;
    let kernel = std::fs::read(lab.kernel(SERIES)?.image)?;
    let around = Surroundings { folder: Some(folder), kernel: Some(&kernel), initrd: None };
    let told = emit(&plan, around, Consumer::Qemu).map_err(anyhow::Error::new)?;
    for file in &told.files {
        std::fs::write(scratch.join(file.name), &file.bytes)?;
    }
    let words: Vec<&str> = told.text.split_whitespace().collect();
    let own = behind::without_initrd(&words);
    let mut machine = guest(&format!("planned-{name}"), &own, &plan)?;
    if planned.viommu.is_some() {
        machine = behind::add(machine, &plan)?;
    }
    let report = machine.run(&lab, PATIENCE)?;
    let differences = differences(&report)?;
    ensure!(differences.is_empty(), "{name}: {differences:#?}\n{words:?}");
    let violations = check_guest(&plan, &memory_of(&report)?);
    ensure!(violations.is_empty(), "{name}: {violations:#?}");
    if planned.viommu.is_some() {
        behind::check(&plan, &report).with_context(|| name.clone())?;
    }
    if !planned.compared {
        println!("{name}: {}", words.join(" "));
        return Ok(());
    }

    let size = format!("size={}M", planned.memory_mib);
    let machine = if planned.machine == Machine::I440fx { "pc" } else { "q35" };
    let plain = ["-machine", machine, "-m", &size];
    let report = guest(&format!("unplanned-{name}"), &plain, &plan)?.run(&lab, PATIENCE)?;
    let unplanned = self::differences(&report)?;
    println!("{name}: {}; without the plan {unplanned:?}", words.join(" "));
    ensure!(
        unplanned.iter().any(|line| line.contains("to be kept off")),
        "{name}: memory lies where it was planned to, without a plan: {unplanned:?}"
    );
    let violations = check_guest(&plan, &memory_of(&report)?);
    ensure!(!violations.is_empty(), "{name}: the checker finds nothing where the guest does");
    Ok(())
}

/// A host of which nothing but this table is known.
fn host(bytes: Vec<u8>) -> Result<Host> {
    let signature = bytes.get(..4).context("a table has a signature")?;
    let signature = String::from_utf8_lossy(signature).into_owned();
    Ok(Host {
        tables: Fact::Known(vec![signature.clone()]),
        table_bytes: [(signature, Fact::Known(bytes))].into(),
        ..Host::default()
    })
}

/// A VM with every device that a region is for, as far as they are named.
fn request(memory: &HostMemory, planned: Planned) -> Result<Request> {
    let mut devices = BTreeSet::<PciAddress>::new();
    for region in &memory.regions {
        match &region.owners {
            Owners::These(owners) => devices.extend(owners),
            // Any of them.
            Owners::Range(_, last) => devices.extend([*last]),
            Owners::All | Owners::Among(_) | Owners::Unknown => {}
        }
    }
    let bytes = NonZeroU64::new(planned.memory_mib * MIB).context("no memory")?;
    let mut request = Request::new(bytes, planned.machine);
    let policy = Some(planned.policy);
    let assigned = |(address, place): (PciAddress, PciAddress)| {
        let guest = planned.viommu.map(|_| place);
        Assigned { address, policy, guest }
    };
    request.devices = devices.into_iter().zip(behind::places()).map(assigned).collect();
    request.viommu = planned.viommu;
    // What Linux does not give away is planned for all the same: its owner changed the kernel.
    (request.direct_allowed, request.shared_allowed) = (true, true);
    Ok(request)
}

/// The guest, which holds its memory against the plan.
fn guest(name: &str, words: &[&str], plan: &Plan) -> Result<HostMachine> {
    let program = binary("ringfence-guest", "guest")?;
    Ok(HostMachine::new(name, SERIES, IommuKind::Absent, &Topology::default())
        .with(|machine| {
            // At random, its own image would lie on what is kept off now and then.
            let machine = machine.command_line("nokaslr");
            machine.memory_by(words.iter().copied()).file("/plan", lines(plan))
        })
        .program(&program)
        .case("iomem", "cat /proc/iomem")
        .case("check", "guest memory-map /plan"))
}

fn lines(plan: &Plan) -> String {
    let ram = plan.map.iter().filter(|entry| entry.usage == Use::Ram);
    let ram = ram.map(|entry| ("ram", entry.span));
    let off = plan.settings.keep_off.iter().map(|span| ("off", *span));
    let line = |(what, span): (&str, ringfence_addr::Span<_>)| {
        let (first, last): (ringfence_addr::Gpa, _) = (span.first(), span.last());
        format!("{what} {:x} {:x}\n", first.get(), last.get())
    };
    ram.chain(off).map(line).collect()
}

/// What the guest found, having looked at all.
fn differences(report: &HostReport) -> Result<Vec<String>> {
    let outcome = report.outcome("check")?;
    let told = String::from_utf8_lossy(&outcome.stdout);
    let mut lines: Vec<String> = told.lines().map(str::to_owned).collect();
    let summary = lines.pop().filter(|line| line.contains("spans planned"));
    ensure!(summary.is_some(), "the guest did not compare: {outcome:?}");
    ensure!((outcome.status == 0) == lines.is_empty(), "{outcome:?}");
    Ok(lines)
}

/// What the guest uses as memory, for the checker that knows the plan.
fn memory_of(report: &HostReport) -> Result<GuestMemory> {
    GuestMemory::read(report.text("iomem")?).map_err(anyhow::Error::msg)
}
