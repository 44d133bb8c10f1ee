//! Regions that concern the VM, joined: per page, the strongest of what lies there decides.

use std::collections::BTreeSet;

use ringfence_addr::{Address as _, Gpa, PciAddress, Span};
use ringfence_host::{HostMemory, IommuMaker, Owners, Region, RegionKind, Role};
use ringfence_refusal::Refusal;

use crate::case::Case;
use crate::machine::{HIGH_FIRST_MOVED, HYPERTRANSPORT_FIRST};
use crate::refusals;
use crate::request::{Policy, Request};
use crate::viommu::granule;

/// A stretch of address space about which one thing is to be decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Area {
    /// Where it is for the guest: at the host's number, to whole pages outward.
    pub(crate) span: Span<Gpa>,
    /// The strongest kind in it.
    pub(crate) kind: RegionKind,
    /// What shall be done about it.
    pub(crate) policy: Policy,
    /// Everything that was asked for: of wishes that exclude each other one counts, and all must be
    /// possible.
    pub(crate) wishes: BTreeSet<Policy>,
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
    /// How many more there are at least.
    pub(crate) others: usize,
}

/// One region and what follows from it alone.
struct Concern {
    span: Span<Gpa>,
    kind: RegionKind,
    role: Role,
    /// The region, for people.
    text: String,
    policy: Policy,
    wishes: BTreeSet<Policy>,
    asked: bool,
    later: bool,
    host: usize,
    /// Functions of the VM that may reach it.
    functions: Vec<PciAddress>,
    /// Functions outside the VM that it is shared with.
    strangers: Vec<PciAddress>,
}

/// How many regions an area names, for people.
const MOST_TOLD: usize = 4;

/// HyperTransport's hole (AMD I/O Virtualization Technology Specification, section 2.1.2), which is
/// there whether or not anybody listed it.
const HYPERTRANSPORT: (u64, u64) = (HYPERTRANSPORT_FIRST, HIGH_FIRST_MOVED - 1);

/// What concerns the VM, in the order of addresses and without overlaps; and what refuses it whatever
/// the layout.
pub(crate) fn areas(hosts: &[HostMemory], request: &Request) -> (Vec<Area>, Vec<Refusal>) {
    let ours: BTreeSet<_> = request.all().map(|(device, _)| device.address).collect();
    let mut concerns: Vec<Concern> = Vec::new();
    for (place, host) in hosts.iter().enumerate() {
        let here = host.regions.iter();
        concerns.extend(here.filter_map(|region| concern(place, region, request, &ours)));
        concerns.extend(hypertransport(place, host, request));
    }
    // The order in which they were read decides nothing.
    concerns.sort_by(|one, other| one.order().cmp(&other.order()));
    let refused = concerns.iter().filter_map(|concern| refusal(concern, request)).collect();
    // An area is between two neighbouring ends.
    let mut firsts = BTreeSet::new();
    for concern in &concerns {
        firsts.insert(concern.span.first());
        firsts.extend(concern.span.last().checked_add(1));
    }
    let firsts: Vec<_> = firsts.into_iter().collect();
    let mut areas: Vec<Area> = Vec::new();
    let mut waiting = concerns.iter().peekable();
    let mut here: Vec<&Concern> = Vec::new();
    for (place, first) in firsts.iter().enumerate() {
        let next = firsts.get(place + 1).and_then(|next| next.checked_sub(1));
        let Some(span) = Span::new(*first, next.unwrap_or(Gpa::LAST)) else { continue };
        here.retain(|one| one.span.last() >= *first);
        while let Some(one) = waiting.next_if(|one| one.span.first() <= *first) {
            here.push(one);
        }
        let Some(area) = join(span, &here, hosts.len()) else { continue };
        match areas.last_mut().filter(|last| last.continues(&area)) {
            Some(last) => last.extend(&area),
            None => areas.push(area),
        }
    }
    (areas, refused)
}

/// What `region` is to the VM, if it is anything.
fn concern(
    host: usize,
    region: &Region,
    request: &Request,
    ours: &BTreeSet<PciAddress>,
) -> Option<Concern> {
    let owning: Vec<_> =
        request.all().filter(|(device, _)| region.owners.may_include(device.address)).collect();
    if owning.is_empty() {
        return None;
    }
    // Where nothing may be mapped there is nothing to choose.
    let forced = region.kind >= RegionKind::SoftwareMsi;
    let wishes = owning.iter().filter_map(|(device, _)| device.policy).filter(|_| !forced);
    let wishes: BTreeSet<_> = wishes.collect();
    let asked = strongest(wishes.iter().copied());
    let span = region.span.aligned_out(granule(request, region.kind));
    let strangers = match &region.owners {
        Owners::These(functions) => {
            let all = functions.union(&region.shared);
            all.filter(|function| !ours.contains(function)).copied().collect()
        }
        _ => Vec::new(),
    };
    let source = region.sources.first().map_or("unknown source", String::as_str);
    Some(Concern {
        span: Span::new(Gpa::new(span.first().get()), Gpa::new(span.last().get()))?,
        kind: region.kind,
        role: region.role,
        text: format!("{} {} ({source})", region.span, region.kind),
        policy: asked.unwrap_or(Policy::Hole),
        wishes,
        asked: asked.is_some(),
        later: owning.iter().all(|(_, now)| !now),
        host,
        functions: owning.iter().map(|(device, _)| device.address).collect(),
        strangers,
    })
}

/// The hole of a host of AMD's for which nobody listed it.
fn hypertransport(host: usize, memory: &HostMemory, request: &Request) -> Option<Concern> {
    let span = Span::new(Gpa::new(HYPERTRANSPORT.0), Gpa::new(HYPERTRANSPORT.1))?;
    let functions: Vec<_> = request.all().map(|(device, _)| device.address).collect();
    let listed = memory.regions.iter().any(|region| {
        region.kind == RegionKind::Reserved
            && region.span.first().get() <= HYPERTRANSPORT.0
            && region.span.last().get() >= HYPERTRANSPORT.1
            && functions.iter().any(|function| region.owners.may_include(*function))
    });
    let is_amd = memory.iommu.known() == Some(&IommuMaker::Amd);
    (is_amd && !listed && !functions.is_empty()).then(|| Concern {
        span,
        kind: RegionKind::Reserved,
        role: Role::Other,
        text: format!("{span} {} (HyperTransport's own)", RegionKind::Reserved),
        policy: Policy::Hole,
        wishes: BTreeSet::new(),
        asked: false,
        later: request.devices.is_empty(),
        host,
        functions,
        strangers: Vec::new(),
    })
}

/// Which of several wishes counts: a refusal before all, then what memory of the VM's is needed for,
/// which does not go away because somebody else could do without.
fn strongest(policies: impl Iterator<Item = Policy>) -> Option<Policy> {
    policies.max_by_key(|policy| (*policy == Policy::Refuse, policy.needs_memory(), *policy))
}

/// What refuses the VM because of this region wherever its memory lies.
fn refusal(concern: &Concern, request: &Request) -> Option<Refusal> {
    let detail = || format!("{} for {}", concern.text, names(&concern.functions));
    if concern.policy == Policy::Refuse {
        return Some(Refusal::new(&refusals::POLICY_REFUSES, detail()));
    }
    if concern.kind == RegionKind::Direct && !request.direct_allowed {
        return Some(Refusal::new(&refusals::DIRECT_REGION, detail()));
    }
    let is_shared = concern.kind < RegionKind::SoftwareMsi && !concern.strangers.is_empty();
    (is_shared && !request.shared_allowed).then(|| {
        let text = format!("{}, shared with {}", detail(), names(&concern.strangers));
        Refusal::new(&refusals::SHARED_REGION, text)
    })
}

/// One area of what lies in `span`, if anything does.
fn join(span: Span<Gpa>, here: &[&Concern], hosts: usize) -> Option<Area> {
    let strongest_here = here.iter().max_by_key(|one| one.kind)?;
    // What VM-owned memory is needed for does not go away because something stronger lies there:
    // that the two cannot be had together is found when it is settled.
    let policy = strongest(here.iter().map(|one| one.policy))?;
    let mut cases = BTreeSet::new();
    if here.iter().any(|one| one.span != strongest_here.span) {
        cases.insert(Case::I);
    }
    if here.iter().all(|one| one.later) {
        cases.insert(Case::L);
    }
    if hosts > 1 && here.iter().all(|one| one.host > 0) {
        cases.insert(Case::O);
    }
    if here.iter().any(|one| one.functions.len() > 1 && one.kind < RegionKind::SoftwareMsi) {
        cases.insert(Case::J);
    }
    let mut area = Area {
        span,
        kind: strongest_here.kind,
        policy,
        wishes: here.iter().flat_map(|one| &one.wishes).copied().collect(),
        asked: here.iter().any(|one| one.asked),
        graphics: here.iter().any(|one| one.role == Role::Graphics),
        later: here.iter().all(|one| one.later),
        cases,
        told: Vec::new(),
        others: 0,
    };
    for one in here {
        area.tell(&one.text);
    }
    Some(area)
}

impl Concern {
    /// By what they are put in order.
    fn order(&self) -> impl Ord {
        (self.span, self.kind, &self.text, self.host, &self.functions, &self.strangers)
    }
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
        self.wishes.extend(&next.wishes);
        self.cases.extend(&next.cases);
        for text in &next.told {
            self.tell(text);
        }
        self.others = self.others.max(next.others);
    }

    /// Adds a region to what it is made of: of many, the first.
    fn tell(&mut self, text: &str) {
        if self.told.iter().any(|told| told == text) {
            return;
        }
        if self.told.len() < MOST_TOLD {
            self.told.push(text.to_owned());
        } else {
            self.others += 1;
        }
    }

    /// What it is made of, for people.
    pub(crate) fn text(&self) -> String {
        let told = self.told.join(" and ");
        if self.others == 0 { told } else { format!("{told} and at least {} more", self.others) }
    }
}

fn names(functions: &[PciAddress]) -> String {
    functions.iter().map(PciAddress::to_string).collect::<Vec<_>>().join(", ")
}
