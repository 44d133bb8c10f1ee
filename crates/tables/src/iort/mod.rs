//! IORT: Arm's I/O remapping, as far as reserved memory (RMR) needs it; the rest byte for byte.
//!
//! Arm DEN 0049 E.d and later, table revision 5 and up for RMR nodes.

mod build;
mod checks;
mod node;

use crate::wire::{Wire, placed, split};

pub use build::SmmuInterrupts;
pub use node::{Descriptor, IdMapping, Named, Node, NodeKind, Rmr, RootComplex, Smmu};

/// Offset of the nodes right behind the fixed part.
const FIXED_END: usize = 48;

/// The table behind its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iort {
    /// How many nodes there are, as the table says itself.
    pub count: u32,
    /// Offset of the first from the beginning of the table.
    pub offset: u32,
    /// Reserved.
    pub reserved: u32,
    /// Bytes before the first node.
    pub gap: Vec<u8>,
    /// In their order.
    pub nodes: Vec<Node>,
    /// What follows and is no node: nothing, unless the table is broken.
    pub rest: Vec<u8>,
}

impl Iort {
    /// A table with these nodes.
    pub fn new(nodes: Vec<Node>) -> Self {
        let count = u32::try_from(nodes.len()).expect("nodes fit into memory");
        Self { count, offset: 48, reserved: 0, gap: Vec::new(), nodes, rest: Vec::new() }
    }

    /// Adds a node behind the last; returns its offset, by which mappings refer to it.
    pub fn push(&mut self, node: Node) -> usize {
        let at = self.end();
        self.nodes.push(node);
        self.count = self.count.saturating_add(1);
        at
    }

    /// The nodes, each with its offset in the table.
    pub fn placed(&self) -> impl Iterator<Item = (usize, &Node)> {
        placed(&self.nodes, FIXED_END + self.gap.len())
    }

    /// The node at this offset of the table.
    pub fn node_at(&self, offset: u32) -> Option<&Node> {
        let offset = usize::try_from(offset).ok()?;
        self.placed().find(|(at, _)| *at == offset).map(|(_, node)| node)
    }

    /// Where the next node would be.
    fn end(&self) -> usize {
        FIXED_END + self.gap.len() + self.nodes.iter().map(Wire::size).sum::<usize>()
    }

    /// Which functions and named devices have stream ids between the two of the SMMU at that offset.
    pub fn who_streams(&self, smmu: u32, first: u64, last: u64) -> Vec<Streamer> {
        let mut found = Vec::new();
        for node in &self.nodes {
            let mappings = node.mappings();
            let to_it = mappings.iter().filter(|mapping| mapping.output == smmu);
            match node.decode() {
                NodeKind::RootComplex(complex) => found.extend(to_it.filter_map(|mapping| {
                    let (first, last) = mapping.inputs_of(first, last)?;
                    let (first, last) = (u16::try_from(first).ok()?, u16::try_from(last).ok()?);
                    Some(Streamer::Requesters { segment: complex.segment, first, last })
                })),
                NodeKind::Named(named) => {
                    let within = |mapping: &IdMapping| {
                        mapping.is_single()
                            && (first..=last).contains(&u64::from(mapping.output_base))
                    };
                    if to_it.into_iter().any(within) {
                        found.push(Streamer::Named(named.name_text()));
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// The SMMU and the stream id of a function, as Linux follows the mappings of its root complex.
    pub fn stream(&self, segment: u32, requester: u16) -> Option<(u32, u64)> {
        let complex = self.nodes.iter().find(
            |node| matches!(node.decode(), NodeKind::RootComplex(it) if it.segment == segment),
        )?;
        let mapping = complex.mappings().into_iter().find_map(|mapping| {
            if mapping.is_single() {
                return Some((mapping.output, u64::from(mapping.output_base)));
            }
            let above = u64::from(requester).checked_sub(mapping.input_base.into())?;
            let is_in = above <= mapping.count.into();
            is_in.then(|| (mapping.output, u64::from(mapping.output_base) + above))
        })?;
        let is_smmu = self.node_at(mapping.0).is_some_and(Node::is_smmu);
        is_smmu.then_some(mapping)
    }
}

/// Whose requests carry a stream id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Streamer {
    /// PCI functions by requester id, first and last.
    Requesters {
        /// The PCI segment.
        segment: u32,
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// A device of the ACPI name space, by its path.
    Named(String),
}

impl Wire for Iort {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (count, offset, reserved) = (u32::take(bytes)?, u32::take(bytes)?, u32::take(bytes)?);
        let gap = usize::try_from(offset).ok().and_then(|offset| offset.checked_sub(FIXED_END));
        let gap = gap.map(|gap| split(bytes, gap));
        let mut nodes = Vec::new();
        // Where the first node is said to be before the fixed part ends or behind the table, none is.
        if let Some(Some(_)) = gap {
            while nodes.len() < usize::try_from(count).unwrap_or(usize::MAX)
                && let Some(node) = Node::take(bytes)
            {
                nodes.push(node);
            }
        }
        let gap = gap.flatten().unwrap_or_default().to_vec();
        Some(Self { count, offset, reserved, gap, nodes, rest: Wire::take(bytes)? })
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        self.count.put(bytes);
        self.offset.put(bytes);
        self.reserved.put(bytes);
        self.gap.put(bytes);
        for node in &self.nodes {
            node.put(bytes);
        }
        self.rest.put(bytes);
    }
}

#[cfg(test)]
mod tests;
