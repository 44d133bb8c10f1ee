//! What a plan must keep, page by page: slow, and simple enough to be seen to be right.

use ringfence_addr::{Gpa, Span};
use ringfence_host::{HostMemory, IommuMaker, Region, RegionKind};
use ringfence_plan::{Plan, Policy, Request, Use};

use crate::bitmap::Bitmap;

/// Whether `plan` keeps it, or what it breaks.
pub(crate) fn holds(hosts: &[HostMemory], request: &Request, plan: &Plan) -> Result<(), String> {
    let devices: Vec<_> = request.devices.iter().chain(&request.later).collect();
    let concerned: Vec<&Region> = hosts
        .iter()
        .flat_map(|host| &host.regions)
        .filter(|region| devices.iter().any(|one| region.owners.may_include(one.address)))
        .collect();
    let of = |wanted: &[Use]| {
        let entries = plan.map.iter().filter(|entry| wanted.contains(&entry.usage));
        Bitmap::of(entries.map(|entry| entry.span))
    };
    let is_free = |kind: RegionKind| matches!(kind, RegionKind::Relaxable | RegionKind::Direct);
    let regions = Bitmap::of(concerned.iter().map(|region| region.span));
    let blocked = concerned.iter().filter(|region| !is_free(region.kind));
    let mut blocked = Bitmap::of(blocked.map(|region| region.span));
    let is_amd = hosts.iter().any(|host| host.iommu.known() == Some(&IommuMaker::Amd));
    if is_amd && !devices.is_empty() {
        // HyperTransport's, listed or not.
        blocked.set("0xfd00000000-0xffffffffff".parse::<Span<Gpa>>().unwrap());
    }
    let backed_entries = || plan.map.iter().filter(|entry| entry.backed).map(|entry| entry.span);
    let backed = Bitmap::of(backed_entries());
    let ram = of(&[Use::Ram]);
    let keep_off = Bitmap::of(plan.settings.keep_off.iter().copied());
    let must = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };

    must(!of(&[Use::Ram, Use::Window, Use::Hotplug]).meets(&regions), "a region is covered")?;
    must(!backed.meets(&blocked), "memory where none can be mapped")?;
    must(!ram.meets(&keep_off), "the guest keeps off its own memory")?;
    must(ram.bytes() >= u128::from(request.memory.get()), "too little memory")?;
    let told = u128::from(plan.settings.memory_bytes);
    must(backed.bytes() == told, "memory is not what the VMM is told to give")?;
    let all: u128 = plan.map.iter().map(|entry| entry.span.length()).sum();
    let once = Bitmap::of(plan.map.iter().map(|entry| entry.span)).bytes();
    must(all == once, "entries overlap, or are no pages")?;
    let identity = of(&[Use::Identity]);
    for region in concerned.iter().filter(|region| is_free(region.kind)) {
        let here = Bitmap::of([region.span]);
        let wanted = devices.iter().any(|one| {
            region.owners.may_include(one.address)
                && matches!(one.policy, Some(Policy::Identity | Policy::Overlay))
        });
        let held = identity.covers(&here) && backed.covers(&here) && keep_off.covers(&here);
        must(!wanted || held, "identity without memory")?;
        let told = blocked.meets(&here) || keep_off.covers(&here);
        must(told, "a region that the guest is not told of")?;
    }
    let widths = hosts.iter().filter_map(|host| host.address_bits.known().copied());
    for bits in widths.chain(request.address_bits).filter(|bits| *bits < 64) {
        let within = backed_entries().all(|span| span.last().get() < 1 << bits);
        must(within, "memory beyond what is translated")?;
    }
    Ok(())
}
