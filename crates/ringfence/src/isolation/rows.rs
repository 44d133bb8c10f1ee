//! The PCI tree, line by line.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::PciAddress;
use ringfence_host::{Host, Topology};

/// One line of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) address: PciAddress,
    /// For each level above, whether more of it follows further down; last for the function's own.
    pub(crate) follows: Vec<bool>,
}

impl Row {
    /// How many bridges are above.
    pub(crate) fn depth(&self) -> usize {
        self.follows.len()
    }

    /// The branches in front of the function, two columns a level.
    pub(crate) fn branches(&self) -> String {
        let Some((own, above)) = self.follows.split_last() else { return String::new() };
        let mut text: String =
            above.iter().map(|follows| if *follows { "│ " } else { "  " }).collect();
        text.push_str(if *own { "├─" } else { "└─" });
        text
    }
}

/// Every function of the host once: those below a bridge, and virtual ones, after what they are
/// below of.
pub(super) fn rows(host: &Host, topology: &Topology<'_>) -> Vec<Row> {
    let mut virtual_ones: BTreeMap<PciAddress, Vec<PciAddress>> = BTreeMap::new();
    for function in host.functions.values() {
        if let Some(Some(physical)) = function.physical_function.known()
            && host.functions.contains_key(physical)
        {
            virtual_ones.entry(*physical).or_default().push(function.address);
        }
    }
    let mut walk = Walk { host, topology, virtual_ones, seen: BTreeSet::new(), rows: Vec::new() };
    // What is reachable from no root comes last, as roots of its own.
    for root in topology.roots().into_iter().chain(host.functions.keys().copied()) {
        walk.function(root, &[]);
    }
    walk.rows
}

struct Walk<'a> {
    host: &'a Host,
    topology: &'a Topology<'a>,
    virtual_ones: BTreeMap<PciAddress, Vec<PciAddress>>,
    seen: BTreeSet<PciAddress>,
    rows: Vec<Row>,
}

impl Walk<'_> {
    /// The depth is bounded: a bridge leads only to higher buses, and a virtual function to nothing.
    fn function(&mut self, address: PciAddress, follows: &[bool]) {
        if !self.host.functions.contains_key(&address) || !self.seen.insert(address) {
            return;
        }
        self.rows.push(Row { address, follows: follows.to_vec() });
        let mut below = self.topology.below(address);
        below.retain(|one| self.is_below_of_bridge(*one));
        below.extend(self.virtual_ones.remove(&address).unwrap_or_default());
        below.retain(|one| self.host.functions.contains_key(one) && !self.seen.contains(one));
        for (index, one) in below.iter().enumerate() {
            let mut deeper = follows.to_vec();
            deeper.push(index + 1 < below.len());
            self.function(*one, &deeper);
        }
    }

    /// A virtual function is shown below its physical one where that is known.
    fn is_below_of_bridge(&self, address: PciAddress) -> bool {
        let function = self.host.function(address);
        let physical = function.and_then(|function| *function.physical_function.known()?);
        physical.is_none_or(|physical| !self.host.functions.contains_key(&physical))
    }
}
