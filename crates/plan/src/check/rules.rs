//! What refuses a VM whatever its memory looks like: such a plan must not exist.

use std::collections::BTreeSet;

use ringfence_host::{Owners, RegionKind, Role};

use super::facts::{Facts, REACHED};
use super::violation::{Rule, Violation};
use crate::machine::Machine;
use crate::request::Policy;

pub(super) fn check(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let ours: BTreeSet<_> = facts.devices.iter().map(|device| device.address).collect();
    for one in facts.concerned.iter().filter(|one| REACHED.contains(&one.region.kind)) {
        let span = one.pages;
        let mut broken = |rule, text: String| found.push(Violation::new(rule, span, text));
        if one.region.kind == RegionKind::Direct && !facts.request.direct_allowed {
            let device = one.devices[0].address;
            broken(Rule::Direct, format!("{span} stays mapped one to one for {device}"));
        }
        let strangers = match &one.region.owners {
            Owners::These(all) => {
                all.iter().chain(&one.region.shared).find(|owner| !ours.contains(owner))
            }
            _ => None,
        };
        if let (Some(stranger), false) = (strangers, facts.request.shared_allowed) {
            broken(Rule::Shared, format!("{span} is shared with {stranger}, which the VM has not"));
        }
        for device in &one.devices {
            let Some(policy) = device.policy else { continue };
            if policy == Policy::Refuse {
                let text = format!("{} has {span} and was to be refused then", device.address);
                broken(Rule::Refused, text);
            } else if !carries(facts.request.machine, policy) {
                let text =
                    format!("{} cannot carry out {policy} for {span}", facts.request.machine);
                broken(Rule::Carried, text);
            }
        }
    }
    two_graphics(facts, &ours, found);
    stolen(facts, found);
}

/// What QEMU (`x-igd-gms` and the registers that `hw/vfio/igd.c` shows) and Cloud Hypervisor can do
/// about a region.
fn carries(machine: Machine, policy: Policy) -> bool {
    match policy {
        Policy::Overlay | Policy::Trapped => machine == Machine::Library,
        Policy::Relocate | Policy::None => machine != Machine::CloudHypervisor,
        _ => true,
    }
}

fn two_graphics(
    facts: &Facts<'_>,
    ours: &BTreeSet<ringfence_addr::PciAddress>,
    found: &mut Vec<Violation>,
) {
    let mut graphics = BTreeSet::new();
    for host in facts.hosts {
        graphics.extend(host.stolen.keys().filter(|at| ours.contains(at)).copied());
        for region in host.regions.iter().filter(|region| region.role == Role::Graphics) {
            if let Owners::These(owners) = &region.owners {
                graphics.extend(owners.intersection(ours).copied());
            }
        }
    }
    if graphics.len() > 1 {
        let text = format!("{graphics:?} are graphics devices");
        found.push(Violation::new(Rule::TwoGraphics, None, text));
    }
}

/// Which sizes of its own memory a graphics device may be shown to have.
fn stolen(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let mut relocated = false;
    let mut none = false;
    let reached = facts.concerned.iter().filter(|one| REACHED.contains(&one.region.kind));
    for device in reached.flat_map(|one| &one.devices) {
        relocated |= device.policy == Some(Policy::Relocate);
        none |= device.policy == Some(Policy::None);
    }
    let right = match facts.plan.settings.stolen_bytes {
        None => !(relocated || none) || facts.devices.len() > 1,
        Some(0) => none,
        Some(_) => relocated,
    };
    if !right {
        let shown = facts.plan.settings.stolen_bytes;
        let text = format!("{shown:?} bytes of graphics memory are shown, which nobody asked for");
        found.push(Violation::new(Rule::Stolen, None, text));
    }
}
