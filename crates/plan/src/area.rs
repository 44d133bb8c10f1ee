//! Regions that concern the VM, joined: per page, the strongest of what lies there decides.

use std::collections::BTreeSet;

use ringfence_addr::{Address as _, Alignment, Gpa, PciAddress, Span};
use ringfence_host::{HostMemory, Owners, Region, RegionKind, Role};
use ringfence_refusal::Refusal;

use crate::case::Case;
use crate::refusals;
use crate::request::{Policy, Request};

/// A stretch of address space about which one thing is to be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    /// Where it is for the guest: at the host's number, to whole pages outward.
    pub(crate) span: Span<Gpa>,
    /// The strongest kind in it.
    pub(crate) kind: RegionKind,
    /// What shall be done about it.
    pub(crate) policy: Policy,
    /// Somebody asked for that, by name.
    pub(crate) asked: bool,
    /// A graphics device's own memory.
    pub(crate) graphics: bool,
    /// Only devices that may be plugged later are concerned.
    pub(crate) later: bool,
    /// The cases it is one of, beside where it lies.
    pub(crate) cases: BTreeSet<Case>,
    /// What was joined, for people.
    pub(crate) told: Vec<String>,
}

/// One region and what follows from it alone.
struct Concern<'host> {
    region: &'host Region,
    span: Span<Gpa>,
    policy: Policy,
    asked: bool,
    later: bool,
    host: usize,
    functions: Vec<PciAddress>,
}

/// What concerns the VM, in the order of addresses and without overlaps; and what refuses it whatever
/// the layout.
pub(crate) fn areas(hosts: &[HostMemory], request: &Request) -> (Vec<Area>, Vec<Refusal>) {
    let mut refused = Vec::new();
    let concerns: Vec<_> = hosts
        .iter()
        .enumerate()
        .flat_map(|(host, memory)| memory.regions.iter().map(move |region| (host, region)))
        .filter_map(|(host, region)| concern(host, region, request))
        .collect();
    for concern in &concerns {
        refused.extend(refusal(concern, request));
    }
    // An area is between two neighbouring ends.
    let mut firsts = BTreeSet::new();
    for concern in &concerns {
        firsts.insert(concern.span.first());
        firsts.extend(concern.span.last().checked_add(1));
    }
    let firsts: Vec<_> = firsts.into_iter().collect();
    let mut areas: Vec<Area> = Vec::new();
    for (place, first) in firsts.iter().enumerate() {
        let next = firsts.get(place + 1).and_then(|next| next.checked_sub(1));
        let Some(span) = Span::new(*first, next.unwrap_or(Gpa::LAST)) else { continue };
        let here: Vec<_> = concerns.iter().filter(|one| one.span.encloses(&span)).collect();
        let Some(area) = join(span, &here, hosts.len()) else { continue };
        match areas.last_mut().filter(|last| last.continues(&area)) {
            Some(last) => last.extend(&area),
            None => areas.push(area),
        }
    }
    (areas, refused)
}

/// What `region` is to the VM, if it is anything.
fn concern<'host>(host: usize, region: &'host Region, request: &Request) -> Option<Concern<'host>> {
    let owning: Vec<_> =
        request.all().filter(|(device, _)| region.owners.may_include(device.address)).collect();
    if owning.is_empty() {
        return None;
    }
    let asked = owning.iter().filter_map(|(device, _)| device.policy).max();
    // Where nothing may be mapped there is nothing to choose.
    let forced = region.kind >= RegionKind::SoftwareMsi;
    let policy = if forced { Policy::Hole } else { asked.unwrap_or(Policy::Hole) };
    let span = region.span.aligned_out(Alignment::PAGE_4K);
    Some(Concern {
        region,
        span: Span::new(Gpa::new(span.first().get()), Gpa::new(span.last().get()))?,
        policy,
        asked: asked.is_some() && !forced,
        later: owning.iter().all(|(_, now)| !now),
        host,
        functions: owning.iter().map(|(device, _)| device.address).collect(),
    })
}

/// What refuses the VM because of this region wherever its memory lies.
fn refusal(concern: &Concern<'_>, request: &Request) -> Option<Refusal> {
    let region = concern.region;
    let detail = || format!("{} for {}", region_text(region), names(&concern.functions));
    if concern.policy == Policy::Refuse {
        return Some(Refusal::new(&refusals::POLICY_REFUSES, detail()));
    }
    if region.kind == RegionKind::Direct && !request.direct_allowed {
        return Some(Refusal::new(&refusals::DIRECT_REGION, detail()));
    }
    let strangers = strangers(region, request);
    if region.kind < RegionKind::SoftwareMsi && !strangers.is_empty() && !request.shared_allowed {
        let text = format!("{}, shared with {}", detail(), names(&strangers));
        return Some(Refusal::new(&refusals::SHARED_REGION, text));
    }
    None
}

/// Functions outside the VM that the region is shared with.
fn strangers(region: &Region, request: &Request) -> Vec<PciAddress> {
    let Owners::These(functions) = &region.owners else { return Vec::new() };
    let ours: BTreeSet<_> = request.all().map(|(device, _)| device.address).collect();
    functions.union(&region.shared).filter(|one| !ours.contains(one)).copied().collect()
}

/// One area of what lies in `span`, if anything does.
fn join(span: Span<Gpa>, here: &[&Concern<'_>], hosts: usize) -> Option<Area> {
    let strongest = here.iter().max_by_key(|one| one.region.kind)?;
    let kind = strongest.region.kind;
    // What VM-owned memory is needed for does not go away because something stronger lies there:
    // that the two cannot be had together is found when it is settled.
    let policy = here.iter().map(|one| one.policy).max_by_key(|policy| policy.needs_memory());
    let chosen = here.iter().filter(|one| !one.policy.needs_memory()).map(|one| one.policy).max();
    let policy = policy.filter(|policy| policy.needs_memory()).or(chosen)?;
    let mut cases = BTreeSet::new();
    if here.len() > 1 && here.iter().any(|one| one.region.span != strongest.region.span) {
        cases.insert(Case::I);
    }
    if here.iter().all(|one| one.later) {
        cases.insert(Case::L);
    }
    if hosts > 1 && here.iter().all(|one| one.host > 0) {
        cases.insert(Case::O);
    }
    if here.iter().any(|one| one.functions.len() > 1 && one.region.kind < RegionKind::SoftwareMsi) {
        cases.insert(Case::J);
    }
    Some(Area {
        span,
        kind,
        policy,
        asked: here.iter().any(|one| one.asked),
        graphics: here.iter().any(|one| one.region.role == Role::Graphics),
        later: here.iter().all(|one| one.later),
        cases,
        told: here.iter().map(|one| region_text(one.region)).collect(),
    })
}

impl Area {
    /// Whether `next` lies right above and is of the same sort.
    fn continues(&self, next: &Self) -> bool {
        self.span.touches(&next.span)
            && (self.kind, self.policy, self.later, self.graphics)
                == (next.kind, next.policy, next.later, next.graphics)
    }

    fn extend(&mut self, next: &Self) {
        self.span = self.span.join(&next.span).unwrap_or(self.span);
        self.asked |= next.asked;
        self.cases.extend(&next.cases);
        for text in &next.told {
            if !self.told.contains(text) {
                self.told.push(text.clone());
            }
        }
    }

    /// What it is made of, for people.
    pub(crate) fn text(&self) -> String {
        self.told.join(" and ")
    }
}

fn region_text(region: &Region) -> String {
    let source = region.sources.first().map_or("unknown source", String::as_str);
    format!("{} {} ({source})", region.span, region.kind)
}

fn names(functions: &[PciAddress]) -> String {
    functions.iter().map(PciAddress::to_string).collect::<Vec<_>>().join(", ")
}
