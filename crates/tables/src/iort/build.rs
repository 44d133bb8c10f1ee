//! Nodes of tables that are made here.

use super::node::{IdMapping, NODE_BYTES, Node};
use crate::wire::{Wire, length16};

/// Interrupts of an SMMU, as a guest numbers them; zero for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SmmuInterrupts {
    /// For events.
    pub event: u32,
    /// For page requests.
    pub page_request: u32,
    /// For errors of its own.
    pub error: u32,
    /// For commands done.
    pub sync: u32,
}

impl IdMapping {
    /// Every id of 16 bits as it is, at the node at this offset of the table.
    pub fn whole(output: u32) -> Self {
        Self { input_base: 0, count: 0xffff, output_base: 0, output, flags: 0 }
    }

    /// One id alone, which goes out at the node at this offset of the table.
    pub fn one(id: u32, output: u32) -> Self {
        Self { input_base: 0, count: 0, output_base: id, output, flags: 0 }
    }
}

impl Node {
    /// Interrupt translation units, by their numbers.
    pub fn its_group(id: u32, units: &[u32]) -> Self {
        let mut body = Vec::new();
        u32::try_from(units.len()).expect("there are few").put(&mut body);
        units.iter().for_each(|unit| unit.put(&mut body));
        Self { kind: 0, revision: 1, id, mapping_count: 0, mapping_offset: 0, body }
    }

    /// A PCI root complex that is cache coherent, of a segment, with addresses of 64 bits.
    pub fn root_complex(id: u32, segment: u32, mappings: &[IdMapping]) -> Self {
        let mut body = Vec::new();
        // Coherent; the processor's own attributes are right for what devices do, too.
        1_u32.put(&mut body);
        [0_u8, 0, 0, 3].put(&mut body);
        // No ATS.
        [0, segment].iter().for_each(|field: &u32| field.put(&mut body));
        [64_u8, 0, 0, 0].put(&mut body);
        Self { kind: 2, revision: 3, id, ..with_mappings(body, mappings) }
    }

    /// An SMMU of version 3 at a guest-physical address, generic and coherent.
    pub fn smmu_v3(id: u32, base: u64, interrupts: SmmuInterrupts, mappings: &[IdMapping]) -> Self {
        let SmmuInterrupts { event, page_request, error, sync } = interrupts;
        let mut body = Vec::new();
        base.put(&mut body);
        // It is coherent, whatever its registers say; reserved.
        [1_u32, 0].iter().for_each(|field| field.put(&mut body));
        // No registers for virtual machines.
        0_u64.put(&mut body);
        // Generic; then proximity domain and which mapping is its own MSIs', of which there is none.
        [0, event, page_request, error, sync, 0, 0].iter().for_each(|field| field.put(&mut body));
        Self { kind: 4, revision: 4, id, ..with_mappings(body, mappings) }
    }
}

/// A node without name that has these mappings behind its body.
fn with_mappings(mut body: Vec<u8>, mappings: &[IdMapping]) -> Node {
    let mapping_offset = u32::from(length16(NODE_BYTES + body.len()));
    mappings.iter().for_each(|mapping| mapping.put(&mut body));
    let mapping_count = u32::try_from(mappings.len()).expect("mappings fit into the node");
    let mapping_offset = if mappings.is_empty() { 0 } else { mapping_offset };
    Node { kind: 0, revision: 0, id: 0, mapping_count, mapping_offset, body }
}
