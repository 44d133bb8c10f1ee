//! What it costs to take a mapping from a device for good: out of the tables, and forgotten by its IOMMU.
//!
//! Over real VFIO, in a machine with an emulated IOMMU, by batches of 1, 32 and 512, beside the kernel's
//! call alone, and beside one write of a device's register through VFIO, which leaves the machine as an
//! invalidation does. The machine runs under an emulator: what counts is how the numbers compare.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use ringfence_lab::{HostMachine, IommuKind, Part, Topology, released_binary, root};

use crate::report::Row;
use crate::settings::Settings;

const PATIENCE: Duration = Duration::from_secs(600);
const BATCHES: [u32; 3] = [1, 32, 512];

/// Nanoseconds for one, by name.
type Costs = BTreeMap<String, f64>;

/// Measures both IOMMUs.
pub(crate) fn run(_: &Settings) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, iommu) in [("vt-d", IommuKind::Intel), ("amd-vi", IommuKind::Amd)] {
        eprintln!("invalidation: a machine with {name}, emulated: only ratios mean anything");
        let costs = costs(iommu).with_context(|| format!("a machine with {name}"))?;
        let cost = |name: &str| costs.get(name).copied().with_context(|| name.to_owned());
        let register = cost("register")?;
        for batch in BATCHES {
            let mut row = |what: String, ours: f64, peer: (&'static str, f64)| {
                let (ours, theirs) = (ours / 1000.0, peer.1 / 1000.0);
                rows.push(Row::of_times(what, "µs", &[ours], (peer.0, &[theirs]), None));
            };
            let apart = cost(&format!("account-unmap-apart-{batch}"))?;
            let neighbours = cost(&format!("account-unmap-neighbours-{batch}"))?;
            let kernel = cost(&format!("kernel-unmap-{batch}"))?;
            let named = |what: &str| format!("invalidation/{name} {batch} {what}");
            for peer in [("the kernel's call", kernel), ("a register's write", register)] {
                row(named("apart"), apart, peer);
                if batch > 1 {
                    row(named("neighbours"), neighbours, peer);
                }
            }
        }
    }
    Ok(rows)
}

fn costs(iommu: IommuKind) -> Result<Costs> {
    // Behind the IOMMU: a device that QEMU makes first is not translated.
    let devices = Topology::new(vec![Part::Function("iommu-testdev")]);
    let report = HostMachine::new("invalidation", "6.12", iommu, &devices)
        .vfio()
        .program(&released_binary("ringfence-guest", "claimer")?)
        .program(&released_binary("ringfence-guest", "keeper")?)
        .prepare("claimer claim 0000:00:02.0")
        .case("cost", "keeper cost")
        .run(&root()?, PATIENCE)?;
    let line = |line: &str| {
        let (name, cost) = line.split_once(' ')?;
        Some((name.to_owned(), cost.parse().ok()?))
    };
    let text = report.text("cost")?;
    text.lines().map(line).collect::<Option<_>>().with_context(|| text.to_owned())
}
