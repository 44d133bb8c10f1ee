//! Hosts and requests in a few words.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use ringfence_addr::{Gpa, Hpa, PciAddress, Span};
use ringfence_host::{Fact, HostMemory, IommuMaker, Owners, Region, RegionKind, Role};
use ringfence_plan::{Assigned, Machine, Plan, Policy, Request, Use, plan};
use ringfence_refusal::Refusal;

pub(crate) const MIB: u64 = 1 << 20;
pub(crate) const GIB: u64 = 1 << 30;

/// The integrated graphics device.
pub(crate) const GRAPHICS: &str = "0000:00:02.0";
/// A USB controller.
pub(crate) const USB: &str = "0000:00:14.0";

pub(crate) fn at(text: &str) -> PciAddress {
    text.parse().unwrap()
}

pub(crate) fn gpa(first: u64, last: u64) -> Span<Gpa> {
    Span::new(Gpa::new(first), Gpa::new(last)).unwrap()
}

/// A host behind VT-d that translates 39 bits.
pub(crate) fn host(regions: Vec<Region>) -> HostMemory {
    HostMemory {
        regions,
        address_bits: Fact::Known(39),
        iommu: Fact::Known(IommuMaker::Intel),
        ..HostMemory::default()
    }
}

pub(crate) fn region(first: u64, last: u64, kind: RegionKind, owners: &[&str]) -> Region {
    Region {
        span: Span::new(Hpa::new(first), Hpa::new(last)).unwrap(),
        kind,
        owners: if owners.is_empty() {
            Owners::All
        } else {
            Owners::These(owners.iter().map(|owner| at(owner)).collect())
        },
        shared: BTreeSet::new(),
        role: if owners.contains(&GRAPHICS) { Role::Graphics } else { Role::Other },
        sources: vec!["made for a test".to_owned()],
    }
}

/// What firmware took for graphics.
pub(crate) fn stolen(first: u64, last: u64) -> Region {
    region(first, last, RegionKind::Relaxable, &[GRAPHICS])
}

pub(crate) fn request(machine: Machine, memory: u64) -> Request {
    let mut request = Request::new(NonZeroU64::new(memory).unwrap(), machine);
    request.devices = vec![Assigned { address: at(GRAPHICS), policy: None, guest: None }];
    request
}

pub(crate) fn with(machine: Machine, memory: u64, policy: Policy) -> Request {
    let mut request = request(machine, memory);
    request.devices[0].policy = Some(policy);
    request
}

pub(crate) fn planned(host: &HostMemory, request: &Request) -> Plan {
    plan(std::slice::from_ref(host), request)
        .unwrap_or_else(|refusals| panic!("{refusals:?} of {request:?}"))
}

pub(crate) fn refused(host: &HostMemory, request: &Request) -> Vec<Refusal> {
    plan(std::slice::from_ref(host), request).expect_err("it was to be refused")
}

/// The spans of one use.
pub(crate) fn spans(plan: &Plan, usage: Use) -> Vec<Span<Gpa>> {
    plan.map.iter().filter(|entry| entry.usage == usage).map(|entry| entry.span).collect()
}

/// How much memory the guest may use.
pub(crate) fn usable(plan: &Plan) -> u64 {
    spans(plan, Use::Ram).iter().map(|span| span.length_u64().unwrap().get()).sum()
}
