//! The regions that tables state, as Linux takes them for whose they are.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::PciAddress;
use ringfence_tables::{RegionKind as Tabled, ReservedRegion, Table, reserved_regions};

use crate::host::Host;

use super::kinds::{Meaning, meaning, meaning_for_any};
use super::owners::Finder;
use super::{Owners, Region};

/// Among the sources of a region of which Linux makes what it does by class codes that were not read.
pub(super) const ASSERTED: &str = "asserted: no class code was read";

/// Remarks about owners, at most.
const MOST_REMARKS: usize = 32;

/// All regions of the tables. One that means different things to its owners is as many regions.
pub(super) fn regions(host: &Host, tables: &[Table], remarks: &mut Vec<String>) -> Vec<Region> {
    let mut regions = Vec::new();
    let mut finder = Finder::new(host);
    let mut told = 0;
    for tabled in reserved_regions(tables) {
        let found = finder.find(&tabled);
        for remark in found.remarks {
            if told < MOST_REMARKS {
                remarks.push(format!("{} {}: {remark}", name(&tabled), tabled.span));
            }
            told += 1;
        }
        if tabled.kind == Tabled::IvmdExclusion && told < MOST_REMARKS {
            told += 1;
            remarks.push(format!(
                "{} {} is to be excluded from translation; Linux maps it at its own number instead, for \
                 reading and writing",
                name(&tabled),
                tabled.span
            ));
        }
        match found.owners {
            Owners::These(owners) => regions.extend(by_meaning(host, &tabled, owners)),
            owners => regions.push(region(&tabled, meaning_for_any(&tabled), owners)),
        }
    }
    if told > MOST_REMARKS {
        remarks.push(format!("{} more of the kind", told - MOST_REMARKS));
    }
    regions
}

/// One region for each thing it means to some of its owners.
fn by_meaning(host: &Host, tabled: &ReservedRegion, owners: BTreeSet<PciAddress>) -> Vec<Region> {
    let mut parts: BTreeMap<Meaning, BTreeSet<PciAddress>> = BTreeMap::new();
    for owner in &owners {
        parts.entry(meaning(host, tabled, *owner)).or_default().insert(*owner);
    }
    if parts.is_empty() {
        return vec![region(tabled, meaning_for_any(tabled), Owners::These(owners))];
    }
    let regions = parts.into_iter().map(|(meaning, part)| {
        let shared = owners.difference(&part).copied().collect();
        Region { shared, ..region(tabled, meaning, Owners::These(part)) }
    });
    regions.collect()
}

fn region(tabled: &ReservedRegion, meaning: Meaning, owners: Owners) -> Region {
    let mut sources = vec![name(tabled)];
    if meaning.asserted {
        sources.push(ASSERTED.to_owned());
    }
    Region {
        span: tabled.span,
        kind: meaning.kind,
        owners,
        shared: BTreeSet::new(),
        role: meaning.role,
        sources,
    }
}

/// `DMAR+0x58`.
fn name(region: &ReservedRegion) -> String {
    format!("{}+{:#x}", region.table, region.offset)
}
