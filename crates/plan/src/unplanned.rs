//! Where memory lies when nobody plans.

use std::num::NonZeroU64;

use ringfence_addr::{Gpa, Span};
use ringfence_host::HostMemory;

use crate::layout::{Asked, two_pieces};
use crate::machine::HIGH_FIRST;
use crate::planner::{limit, own_machine, page_multiple, vcpu};
use crate::request::Request;

/// Where the machine puts the memory that `request` is for, whatever the host has there: with low memory
/// up to `low_bytes` (`max-ram-below-4g`), if it is told that, and otherwise up to where it does by
/// itself. Lowest first; nothing, if it fits nowhere.
pub fn unplanned(
    host: &HostMemory,
    request: &Request,
    low_bytes: Option<NonZeroU64>,
) -> Vec<Span<Gpa>> {
    let hosts = std::slice::from_ref(host);
    let Some(memory) = page_multiple(request) else { return Vec::new() };
    let asked = Asked {
        machine: own_machine(request.machine),
        memory,
        hotplug: request.hotplug,
        vcpu: vcpu(hosts, request),
        limit: limit(hosts, request),
    };
    let at_most = low_bytes.map_or(HIGH_FIRST, NonZeroU64::get);
    two_pieces(&asked, &[], at_most).map_or_else(Vec::new, |layout| layout.blocks)
}
