//! Domains that Intel's Volume Management Device makes: their functions translate as its endpoint.

use std::collections::BTreeMap;

use crate::quirks;
use crate::topology::{Topology, Vmd};

/// Linux numbers the domains it makes up from here; firmware's have 16 bits.
const FIRST_MADE_UP: u32 = 0x1_0000;

/// Finds the endpoint of each made-up domain, if there is one.
pub(super) fn find(topology: &mut Topology<'_>) {
    let endpoints: Vec<usize> = (0..topology.nodes.len())
        .filter(|&node| topology.nodes[node].address.domain() < FIRST_MADE_UP)
        .filter(|&node| quirks::is_vmd_endpoint(&topology.nodes[node].function))
        .collect();
    let mut ordinals: BTreeMap<u32, usize> = BTreeMap::new();
    for bus in 0..topology.buses.len() {
        let here = &topology.buses[bus];
        if here.domain < FIRST_MADE_UP || here.parent.is_some() {
            continue;
        }
        let next = ordinals.len();
        let ordinal = *ordinals.entry(here.domain).or_insert(next);
        let paths = here.functions.iter().map(|&node| &topology.nodes[node].function.path);
        let by_path = paths
            .filter_map(|path| path.known())
            .filter_map(|path| path.first())
            .find(|above| above.domain() != here.domain)
            .and_then(|above| topology.index(*above));
        topology.buses[bus].vmd = match by_path {
            Some(endpoint) => Some(Vmd { endpoint, is_known: true }),
            // Without paths, the domains come in the order of the endpoints, as far as is known.
            None => endpoints
                .get(ordinal)
                .or(endpoints.first().filter(|_| endpoints.len() == 1))
                .map(|&endpoint| Vmd { endpoint, is_known: endpoints.len() == 1 }),
        };
    }
}
