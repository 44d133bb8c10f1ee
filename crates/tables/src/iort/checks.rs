//! What is odd about an IORT.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::{Hpa, Span};

use super::{Descriptor, Iort, Node, NodeKind, Rmr};
use crate::finding::Finding;
use crate::sweep::overlaps;
use crate::{codes, place};

/// The first revision of the table that has reserved memory.
const RMR_REVISION: u8 = 5;
const GRANULE_MASK: u64 = 0xffff;
/// The last number of a stream or device.
const LAST_ID: u64 = 0xffff_ffff;

impl Descriptor {
    /// Where it is, as stated; none if it is empty or runs over the last address.
    pub fn span(&self) -> Option<Span<Hpa>> {
        Span::from_parts(Hpa::new(self.base), self.length)
    }
}

impl Iort {
    pub(crate) fn find(&self, revision: u8, findings: &mut Vec<Finding>) {
        let stated = usize::try_from(self.count).unwrap_or(usize::MAX);
        if stated != self.nodes.len() || !self.rest.is_empty() {
            let (there, left) = (self.nodes.len(), self.rest.len());
            let detail = format!("{stated} stated, {there} whole, {left} bytes left");
            findings.push(Finding::new(&codes::IORT_NODES, self.end(), detail));
        }
        let kinds: BTreeMap<usize, u8> = self.placed().map(|(at, node)| (at, node.kind)).collect();
        let mut ids = BTreeSet::new();
        for (at, node) in self.placed() {
            let decoded = node.decode();
            if decoded == NodeKind::Unknown {
                let detail = format!("type {} with {} bytes", node.kind, node.body.len());
                findings.push(Finding::new(&codes::IORT_UNKNOWN, at, detail));
            }
            if revision >= 3 && !ids.insert(node.id) {
                findings.push(Finding::new(&codes::IORT_SAME_ID, at, format!("{:#x}", node.id)));
            }
            find_mappings(at, node, &kinds, findings);
            if let NodeKind::Rmr(rmr) = decoded {
                find_rmr(at, node, &rmr, revision, findings);
            }
        }
    }
}

fn find_mappings(at: usize, node: &Node, kinds: &BTreeMap<usize, u8>, findings: &mut Vec<Finding>) {
    let mut say = |code, detail: String| findings.push(Finding::new(code, at, detail));
    let mappings = node.mappings();
    if mappings.len() != usize::try_from(node.mapping_count).unwrap_or(usize::MAX) {
        let (stated, offset) = (node.mapping_count, node.mapping_offset);
        say(&codes::IORT_MAPPINGS, format!("{stated} from {offset:#x} on, {} are", mappings.len()));
    }
    for mapping in &mappings {
        let target = usize::try_from(mapping.output).ok().and_then(|output| kinds.get(&output));
        match target {
            None => say(&codes::IORT_OUTPUT, format!("{:#x}", mapping.output)),
            Some(kind) if node.kind == 6 && !matches!(kind, 3 | 4) => {
                say(&codes::RMR_NOT_SMMU, format!("{:#x} is of type {kind}", mapping.output));
            }
            Some(_) => {}
        }
        let last_input = u64::from(mapping.input_base) + u64::from(mapping.count);
        if !mapping.is_single() && (last_input > LAST_ID || mapping.last_output() > LAST_ID) {
            let (input, output) = (mapping.input_base, mapping.output_base);
            let detail = format!("{input:#x} to {output:#x}, {:#x} more", mapping.count);
            say(&codes::IORT_IDS, detail);
        }
    }
}

fn find_rmr(at: usize, node: &Node, rmr: &Rmr, revision: u8, findings: &mut Vec<Finding>) {
    let mut say = |code, at, detail: String| findings.push(Finding::new(code, at, detail));
    let pieces = node.descriptors();
    if revision < RMR_REVISION {
        say(&codes::RMR_REVISION, at, format!("revision {revision}"));
    }
    if node.mapping_count == 0 || node.mapping_offset == 0 {
        say(&codes::RMR_NO_MAPPING, at, format!("node {:#x}", node.id));
    } else {
        say(&codes::RMR_NEEDS_DSM, at, format!("node {:#x}", node.id));
    }
    let stated = usize::try_from(rmr.count).unwrap_or(usize::MAX);
    if pieces.is_empty() || pieces.len() != stated {
        let detail = format!("{stated} from {:#x} on, {} are", rmr.offset, pieces.len());
        say(&codes::RMR_NO_PIECES, at, detail);
    }
    let mut spans = Vec::new();
    for (piece_at, piece) in &pieces {
        let at = at + piece_at;
        let shown = format!("{:#x} bytes from {:#x}", piece.length, piece.base);
        match piece.span() {
            Some(span) => {
                if place::overlaps(span, place::SOFTWARE_MSI) {
                    say(&codes::RMR_OVER_MSI, at, span.to_string());
                }
                spans.push((at, span));
            }
            None if piece.length == 0 => say(&codes::RMR_EMPTY, at, shown.clone()),
            None => say(&codes::REGION_WRAPS, at, shown.clone()),
        }
        if (piece.base | piece.length) & GRANULE_MASK != 0 {
            say(&codes::RMR_UNALIGNED, at, shown);
        }
    }
    for (one, other) in overlaps(&spans) {
        say(&codes::RMR_OVERLAP, one.max(other), format!("with that at {:#x}", one.min(other)));
    }
}
