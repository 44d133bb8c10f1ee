//! SMMU: reserved memory by stream, if the host bridge asks to keep what firmware set up.

use ringfence_addr::Alignment;

use super::{AsLinux, LinuxKind, LinuxRegion, PciFunctions, region};
use crate::iort::{Iort, Node, NodeKind};
use crate::place::SOFTWARE_MSI;

const GRANULE: u64 = 0x1_0000;
/// The first revision of the table whose reserved memory is looked at.
const REVISION: u8 = 5;

pub(super) fn regions(iort: &Iort, revision: u8, functions: &PciFunctions) -> AsLinux {
    if !iort.nodes.iter().any(Node::is_smmu) {
        return AsLinux::off("no SMMU");
    }
    let mut answer = AsLinux::default();
    for address in functions.by_address.keys() {
        let Some((smmu, stream)) = iort.stream(address.domain(), address.requester_id()) else {
            continue;
        };
        let mut list = Vec::new();
        if functions.keeps_boot_setup && revision >= REVISION {
            let is_its = |node: &&Node| {
                let mut mappings = node.mappings().into_iter();
                mappings.any(|it| {
                    let first = u64::from(it.output_base);
                    it.output == smmu && (first..=it.last_output()).contains(&stream)
                })
            };
            list.extend(iort.nodes.iter().filter(is_its).flat_map(pieces));
        }
        list.extend(region(SOFTWARE_MSI.0, SOFTWARE_MSI.1, LinuxKind::SoftwareMsi));
        answer.regions.insert(*address, super::group(&list));
    }
    answer
}

/// The pieces of a node of reserved memory. What is not at 64 KiB is rounded to pages of 4 KiB.
fn pieces(node: &Node) -> Vec<LinuxRegion> {
    let NodeKind::Rmr(rmr) = node.decode() else { return Vec::new() };
    let kind = if rmr.may_remap() { LinuxKind::Relaxable } else { LinuxKind::Direct };
    let spans = node.descriptors().into_iter().filter_map(|(_, piece)| {
        let span = piece.span()?;
        let is_aligned = (piece.base | piece.length) & (GRANULE - 1) == 0;
        Some(if is_aligned { span } else { span.aligned_out(Alignment::PAGE_4K) })
    });
    spans.filter_map(|span| region(span.first().get(), span.last().get(), kind)).collect()
}
