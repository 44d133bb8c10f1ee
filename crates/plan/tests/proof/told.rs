//! What is written for a guest's IOMMU, read back: the plan's regions, each for its devices alone, and
//! nothing odd about the table.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_plan::emit::{Consumer, Surroundings, emit};
use ringfence_plan::{Plan, Viommu};
use ringfence_tables::{Table, codes, reserved_regions};

/// Findings about where a region is, which is the host's doing, and what the VMM is told to see to.
fn is_expected(name: &str) -> bool {
    let expected = [
        &codes::REGION_LOW,
        &codes::REGION_HIGH,
        &codes::IVMD_HOLE,
        &codes::RMR_NEEDS_DSM,
        &codes::RMR_OVER_MSI,
        &codes::RMRR_SHARED,
    ];
    expected.iter().any(|code| code.name == name)
}

/// Whether the tables say what the plan does, or what they say instead.
pub(crate) fn is_told(plan: &Plan) -> Result<bool, String> {
    let Some(viommu) = plan.viommu.as_ref().filter(|viommu| !viommu.regions.is_empty()) else {
        return Ok(false);
    };
    let emitted = match emit(plan, Surroundings::default(), Consumer::Acpi) {
        // It has no table: it answers for itself, or cannot.
        _ if viommu.kind == Viommu::Virtio => return Ok(false),
        Ok(emitted) => emitted,
        Err(refusal) => return Err(refusal.to_string()),
    };
    let is_table = |name: &str| name.ends_with(".aml") && !name.contains("ssdt");
    let file = emitted.files.iter().find(|file| is_table(file.name));
    let file = file.ok_or("there is no table")?;
    let (table, findings) = Table::read(&file.bytes).map_err(|error| error.to_string())?;
    let odd: Vec<_> = findings.iter().filter(|one| !is_expected(one.code.name)).collect();
    if !odd.is_empty() {
        return Err(format!("{odd:?}"));
    }
    let mut read: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for region in reserved_regions([&table]) {
        let ends = (region.span.first().get(), region.span.last().get());
        read.entry(ends).or_default().extend(region.devices.iter().map(ToString::to_string));
    }
    let planned = viommu.regions.iter().map(|region| {
        let ends = (region.span.first().get(), region.span.last().get());
        (ends, region.devices.iter().map(ToString::to_string).collect())
    });
    let planned: BTreeMap<_, BTreeSet<String>> = planned.collect();
    if read == planned { Ok(true) } else { Err(format!("{read:x?}, not {planned:x?}")) }
}
