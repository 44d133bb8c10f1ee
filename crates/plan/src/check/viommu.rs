//! What the guest's IOMMU is told: for every device exactly the memory that it reaches by itself.

use std::collections::BTreeSet;

use ringfence_addr::{Gpa, PciAddress, Span};

use super::facts::{Facts, REACHED};
use super::sweep::{common, joined, without};
use super::violation::{Rule, Violation};
use crate::machine::Machine;
use crate::map::{GuestFunction, Use};
use crate::viommu::{GuestIommu, Viommu};

const PAGE: u64 = 0x1000;
const RMR_UNIT: u64 = 0x1_0000;

pub(super) fn check(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    functions(facts, found);
    let mut broken = |span: Option<Span<Gpa>>, text: String| {
        found.push(Violation::new(Rule::GuestIommu, span, text));
    };
    let asked = facts.request.viommu;
    let told = facts.plan.viommu.as_ref();
    if told.map(|told| told.kind) != asked {
        let is = told.map_or("none", |told| told.kind.name());
        broken(None, format!("{} was asked for, it is {is}", asked.map_or("none", Viommu::name)));
    }
    let Some(told) = told else { return };
    if !has(facts.request.machine, told.kind, told.regions.is_empty()) {
        let machine = facts.request.machine;
        broken(None, format!("{machine} cannot have {} that is told so", told.kind));
    }
    let unit = if told.kind == Viommu::SmmuV3 { RMR_UNIT } else { PAGE };
    for region in &told.regions {
        let (first, last) = (region.span.first().get(), region.span.last().get());
        if first % unit != 0 || last % unit != unit - 1 || region.devices.is_empty() {
            let text = format!("{} is told in no whole units, or for nobody", region.span);
            broken(Some(region.span), text);
        }
        let usage = if region.used { Use::Identity } else { Use::Reserved };
        for span in without(&[region.span], &facts.used(&[usage])) {
            broken(Some(span), format!("{span} is told and is not {usage}"));
        }
    }
    for pair in told.regions.windows(2) {
        if pair[0].span.last() >= pair[1].span.first() {
            let text = format!("{} is not below {}", pair[0].span, pair[1].span);
            broken(Some(pair[1].span), text);
        }
    }
    scopes(facts, told, &mut broken);
}

/// Whether the machine can give a guest this IOMMU: `-device intel-iommu` and `amd-iommu` are q35's,
/// a PC's virtio-iommu and Cloud Hypervisor's have no regions that could be set.
fn has(machine: Machine, kind: Viommu, is_told_nothing: bool) -> bool {
    match kind {
        Viommu::Intel | Viommu::Amd => matches!(machine, Machine::Q35 | Machine::Library),
        Viommu::SmmuV3 => machine == Machine::Library,
        Viommu::Virtio => machine == Machine::Library || is_told_nothing,
    }
}

/// Device by device, what is told against what lies in its regions.
fn scopes(
    facts: &Facts<'_>,
    told: &GuestIommu,
    broken: &mut impl FnMut(Option<Span<Gpa>>, String),
) {
    let held = facts.used(&[Use::Identity, Use::Reserved]);
    let named = told.regions.iter().flat_map(|region| region.devices.iter().copied());
    let mut guests: BTreeSet<Option<PciAddress>> = named.map(Some).collect();
    guests.extend(facts.devices.iter().map(|device| device.guest));
    for guest in guests {
        let reached = facts.concerned.iter().filter(|one| REACHED.contains(&one.region.kind));
        let reached = reached.filter(|one| one.devices.iter().any(|device| device.guest == guest));
        let reached: Vec<_> = reached.map(|one| one.pages).collect();
        let wanted = common(&joined(&reached), &held);
        let here = told
            .regions
            .iter()
            .filter(|region| guest.is_some_and(|guest| region.devices.contains(&guest)));
        let here: Vec<_> = here.map(|region| region.span).collect();
        let name = guest.map_or_else(|| "a device without address".to_owned(), |at| at.to_string());
        for span in without(&wanted, &here) {
            let text = format!("{name} in the guest reaches {span}, and its IOMMU is not told");
            broken(Some(span), text);
        }
        for span in without(&here, &wanted) {
            broken(Some(span), format!("{span} is told for {name} in the guest, which has it not"));
        }
    }
}

fn functions(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let known = facts
        .devices
        .iter()
        .filter_map(|device| Some(GuestFunction { guest: device.guest?, host: device.address }));
    let known: BTreeSet<_> = known.collect();
    let said: BTreeSet<_> = facts.plan.functions.iter().copied().collect();
    if known != said {
        let text = format!("functions are said to be at {said:?}, not at {known:?}");
        found.push(Violation::new(Rule::GuestIommu, None, text));
    }
}
