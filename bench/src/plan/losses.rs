//! What each way of placing memory loses on real machines whose graphics is given away.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use ringfence_addr::PciAddress;
use ringfence_host::{Fact, Host, HostMemory, Owners, RegionKind};
use ringfence_plan::check::check;
use ringfence_plan::{Assigned, Machine, Request, Use, plan};

use super::GIB;
use super::rules::{Placed, Spans, above, libxl, openvmm};

const MIB: u64 = 1 << 20;

/// One way of placing.
#[derive(Clone, Copy)]
enum Way {
    Ours(Machine),
    Libxl { strict: bool },
    OpenVmm { told: bool },
}

impl Way {
    const ALL: [Self; 8] = [
        Self::Ours(Machine::Library),
        Self::Ours(Machine::Q35),
        Self::Ours(Machine::I440fx),
        Self::Ours(Machine::CloudHypervisor),
        Self::Libxl { strict: true },
        Self::Libxl { strict: false },
        Self::OpenVmm { told: true },
        Self::OpenVmm { told: false },
    ];

    fn name(self) -> String {
        match self {
            Self::Ours(machine) => format!("ours, {machine}"),
            Self::Libxl { strict: true } => "libxl, strict".to_owned(),
            Self::Libxl { strict: false } => "libxl, relaxed".to_owned(),
            Self::OpenVmm { told: true } => "OpenVMM, given the regions".to_owned(),
            Self::OpenVmm { told: false } => "OpenVMM as it is".to_owned(),
        }
    }
}

/// Prints the table, as text that a document can take over.
pub(super) fn print() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/acpi");
    if !folder.is_dir() {
        eprintln!("plan: skipped what is lost on real machines: no {}", folder.display());
        return Ok(());
    }
    let graphics: PciAddress = "0000:00:02.0".parse()?;
    let hosts = hosts(&folder, graphics)?;
    eprintln!("plan: {} machines whose tables have a region of {graphics}", hosts.len());
    eprintln!(
        "| memory | placed by | refused | in use unsaid | hosts with memory moved up | moved, mean \
         MiB | pieces, mean | most |"
    );
    eprintln!("|--:|:--|--:|--:|--:|--:|--:|--:|");
    for gib in [2, 4, 16] {
        for way in Way::ALL {
            let placed: Vec<_> = hosts
                .iter()
                .map(|host| ask(way, host, gib * GIB, graphics))
                .collect::<Result<_>>()?;
            eprintln!("| {gib} GiB | {} | {} |", way.name(), summary(&placed));
        }
    }
    Ok(())
}

fn summary(placed: &[Option<Placed>]) -> String {
    let answers: Vec<_> = placed.iter().flatten().collect();
    let refused = placed.len() - answers.len();
    let silent = answers.iter().filter(|one| one.silent > 0).count();
    let moved: Vec<_> = answers.iter().map(|one| one.moved).filter(|moved| *moved > 0).collect();
    let pieces = answers.iter().map(|one| one.blocks.len());
    let most = pieces.clone().max().unwrap_or(0);
    let tenths = |sum: u64, count: usize| {
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        let tenths = sum * 10 / count;
        format!("{}.{}", tenths / 10, tenths % 10)
    };
    let pieces = pieces.map(|count| u64::try_from(count).unwrap_or(u64::MAX)).sum();
    format!(
        "{refused} | {silent} | {} | {} | {} | {most}",
        moved.len(),
        tenths(moved.iter().sum::<u64>() / MIB, moved.len()),
        tenths(pieces, answers.len()),
    )
}

/// Hosts of nothing but a table, with a region that names graphics.
fn hosts(folder: &Path, graphics: PciAddress) -> Result<Vec<HostMemory>> {
    let entries = std::fs::read_dir(folder).context("the folder of tables")?;
    let mut paths: Vec<_> =
        entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    let mut hosts = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|it| it == "bin")) {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let signature = bytes.get(..4).context("a table has a signature")?;
        let signature = String::from_utf8_lossy(signature).into_owned();
        let mut host = Host::default();
        host.table_bytes.insert(signature, Fact::Known(bytes));
        let memory = HostMemory::of(&host);
        if !regions(&memory, graphics).is_empty() {
            hosts.push(memory);
        }
    }
    Ok(hosts)
}

fn regions(host: &HostMemory, function: PciAddress) -> Spans {
    let named = host.regions.iter().filter(|region| match &region.owners {
        Owners::These(functions) => functions.contains(&function),
        _ => false,
    });
    let named = named.filter(|region| region.kind < RegionKind::SoftwareMsi);
    let ends: BTreeSet<_> = named
        .filter_map(|region| {
            Some((region.span.first().get(), region.span.last().get().checked_add(1)?))
        })
        .collect();
    ends.into_iter().collect()
}

fn ask(way: Way, host: &HostMemory, memory: u64, graphics: PciAddress) -> Result<Option<Placed>> {
    let regions = regions(host, graphics);
    match way {
        Way::Ours(machine) => ours(machine, host, memory, graphics),
        Way::Libxl { strict } => Ok(libxl(memory, &regions, strict)),
        Way::OpenVmm { told: true } => Ok(openvmm(memory, &regions)),
        Way::OpenVmm { told: false } => Ok(openvmm(memory, &Spans::new()).map(|placed| {
            let pairs = placed.blocks.iter().flat_map(|a| regions.iter().map(move |b| (a, b)));
            let silent = pairs.map(|(a, b)| a.1.min(b.1).saturating_sub(a.0.max(b.0))).sum();
            Placed { silent, ..placed }
        })),
    }
}

fn ours(
    machine: Machine,
    host: &HostMemory,
    memory: u64,
    graphics: PciAddress,
) -> Result<Option<Placed>> {
    let bytes = NonZeroU64::new(memory).context("memory")?;
    let mut request = Request::new(bytes, machine);
    let hosts = std::slice::from_ref(host);
    let own = plan(&[], &request).ok().context("a VM with no devices is refused")?;
    request.devices.push(Assigned { address: graphics, policy: None, guest: None });
    let Ok(plan) = plan(hosts, &request) else { return Ok(None) };
    let found = check(hosts, &request, &plan);
    ensure!(found.is_empty(), "{found:?}");
    let blocks = |plan: &ringfence_plan::Plan| -> Spans {
        let ram = plan.map.iter().filter(|entry| entry.usage == Use::Ram);
        ram.map(|entry| (entry.span.first().get(), entry.span.last().get().saturating_add(1)))
            .collect()
    };
    let (blocks, own) = (blocks(&plan), blocks(&own));
    let moved = above(&blocks).saturating_sub(above(&own));
    Ok(Some(Placed { blocks, silent: 0, moved }))
}
