//! The checker: whether a plan holds, found without any of the planner's code.
//!
//! It shares the values (hosts, requests, plans) and nothing else: regions are sought again, spans
//! are swept over sorted lists of ends instead of sets and maps, and what QEMU and Cloud Hypervisor
//! make of their options is written a second time, from their sources. A mistake has to be made twice
//! to be missed.

mod bounds;
mod express;
mod facts;
mod guest;
mod guest_regions;
mod hotplug;
mod memory;
mod regions;
mod rules;
mod sweep;
mod violation;
mod viommu;
mod windows;

use ringfence_host::HostMemory;

pub use guest::{GuestMemory, check_guest};
pub use guest_regions::{GuestGroup, check_guest_groups};
pub use violation::{Rule, Violation};

use crate::map::Plan;
use crate::request::Request;
use facts::Facts;

/// What is wrong with `plan` as an answer to `request` on `hosts`, if anything: an empty list is the
/// proof that it holds, and it holds only for these facts.
pub fn check(hosts: &[HostMemory], request: &Request, plan: &Plan) -> Vec<Violation> {
    let facts = Facts::of(hosts, request, plan);
    let mut found = Vec::new();
    memory::check(&facts, &mut found);
    bounds::check(&facts, &mut found);
    regions::check(&facts, &mut found);
    rules::check(&facts, &mut found);
    express::check(&facts, &mut found);
    hotplug::check(&facts, &mut found);
    viommu::check(&facts, &mut found);
    windows::check(&facts, &mut found);
    found
}
