//! Machines and captures nobody here wrote, where they are present.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use ringfence_addr::PciAddress;
use ringfence_host::{Fact, Host, Partition};

/// The folder of topologies, or `None` where the data is not: the caller says that it skips.
pub(crate) fn topologies() -> Option<PathBuf> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/topology");
    root.is_dir().then_some(root)
}

/// The kernel's groups as sets of functions, numbers forgotten.
pub(crate) fn kernel_sets(host: &Host) -> BTreeSet<Vec<PciAddress>> {
    let mut groups: BTreeMap<u32, Vec<PciAddress>> = BTreeMap::new();
    for function in host.functions.values() {
        if let Fact::Known(Some(number)) = function.kernel_group {
            groups.entry(number).or_default().push(function.address);
        }
    }
    groups.into_values().collect()
}

/// A partition's sets.
pub(crate) fn sets(partition: &Partition) -> BTreeSet<Vec<PciAddress>> {
    partition.sets().into_iter().collect()
}

/// Both sides of a difference, for people.
pub(crate) fn difference(
    ours: &BTreeSet<Vec<PciAddress>>,
    theirs: &BTreeSet<Vec<PciAddress>>,
) -> String {
    let only = |a: &BTreeSet<Vec<PciAddress>>, b: &BTreeSet<Vec<PciAddress>>| {
        let only: Vec<String> = a
            .difference(b)
            .map(|set| set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
            .collect();
        only.join(" | ")
    };
    format!("ours only: {}\n  theirs only: {}", only(ours, theirs), only(theirs, ours))
}
