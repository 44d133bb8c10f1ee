//! Which functions are virtual, and of which physical function.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;

use crate::topology::Topology;

/// A domain has this many requester ids, so honest physical functions claim no more.
const CLAIMS_OF_A_DOMAIN_MAX: u32 = 0x1_0000;

/// Marks virtual functions: by the source's word, else by the ranges of SR-IOV capabilities.
pub(super) fn find(topology: &mut Topology<'_>) {
    for index in 0..topology.nodes.len() {
        let stated = topology.nodes[index].function.physical_function.known().copied().flatten();
        let physical = stated.and_then(|address| topology.index(address));
        mark(topology, index, physical);
    }
    let mut claims: BTreeMap<u32, u32> = BTreeMap::new();
    for physical in 0..topology.nodes.len() {
        let range = topology.nodes[physical].function.virtual_functions.known().copied().flatten();
        let Some(range) = range.filter(|range| range.enabled && range.count > 0) else { continue };
        let address = topology.nodes[physical].address;
        let claimed = claims.entry(address.domain()).or_default();
        *claimed = claimed.saturating_add(u32::from(range.count));
        if *claimed > CLAIMS_OF_A_DOMAIN_MAX {
            continue;
        }
        let mut at = address.requester_id().checked_add(range.offset);
        for _ in 0..range.count {
            let Some(requester) = at else { break };
            let place = PciAddress::from_requester_id(address.domain(), requester);
            if let Some(index) = topology.index(place) {
                let stated = &topology.nodes[index].function.physical_function;
                if !stated.is_known() {
                    mark(topology, index, Some(physical));
                }
            }
            if range.stride == 0 {
                break;
            }
            at = requester.checked_add(range.stride);
        }
    }
}

/// A virtual function is in the domain of the physical one, at a higher requester id, and the
/// physical one is not virtual itself.
fn mark(topology: &mut Topology<'_>, index: usize, physical: Option<usize>) {
    let Some(physical) = physical else { return };
    let (of, here) = (topology.nodes[physical].address, topology.nodes[index].address);
    let stated = topology.nodes[physical].function.physical_function.known().copied().flatten();
    if of.domain() == here.domain()
        && of.requester_id() < here.requester_id()
        && stated.is_none()
        && topology.nodes[physical].physical.is_none()
    {
        topology.nodes[index].physical = Some(physical);
    }
}
