//! The planner: facts and a request to a map or to refusals.

use ringfence_addr::{Address as _, Alignment, Gpa, PciAddress, Span, SpanMap};
use ringfence_host::{HostMemory, IommuMaker, Owners, RegionKind, Role};
use ringfence_refusal::Refusal;

use crate::area::{Area, areas};
use crate::case::Case;
use crate::layout::{Layout, bytes, layouts};
use crate::machine::{HIGH_FIRST, HIGH_FIRST_MOVED, Machine, Vcpu, fixed};
use crate::map::{Entry, Plan, Risk, Settings, Use};
use crate::part::{Want, part};
use crate::refusals;
use crate::request::{Policy, Request};
use crate::settle::{Settled, case, settle};

/// What no processor of a PC has more of.
const ADDRESS_BITS_MOST: u8 = 52;
/// What processors have at least, taken where nobody says.
const ADDRESS_BITS_USUAL: u8 = 46;
/// The least memory of its own that a graphics device can be shown to have.
const STOLEN_LEAST: u64 = 32 << 20;

/// Plans a VM on one host, or one that may run on each of several: what is set apart on any is kept
/// off on all.
///
/// # Errors
///
/// Everything that refuses it, of the layout that comes nearest.
pub fn plan(hosts: &[HostMemory], request: &Request) -> Result<Plan, Vec<Refusal>> {
    let limit = limit(hosts, request);
    let vcpu = vcpu(hosts, request);
    let (areas, mut refused) = areas(hosts, request);
    refused.extend(two_graphics(hosts, request));
    let memory = request.memory.get();
    let candidates = layouts(request.machine, memory, &areas, vcpu, limit);
    let Some(own) = layouts(own_machine(request.machine), memory, &[], vcpu, limit).pop() else {
        refused.push(out_of_reach(memory, limit));
        return Err(refused);
    };
    let cases: Vec<_> =
        areas.iter().map(|area| case(&area.span, &own, request.machine, limit)).collect();
    let attempts =
        candidates.iter().map(|layout| Attempt::new(request, layout, &areas, &cases, limit));
    let Some(best) = attempts.min_by_key(Attempt::cost) else {
        refused.push(out_of_reach(memory, limit));
        return Err(refused);
    };
    refused.extend(best.refusals());
    if refused.is_empty() { Ok(best.plan(hosts, request, limit, vcpu)) } else { Err(refused) }
}

/// With whose layout cases are named: a VMM that splits memory has one as soon as nothing is in its
/// way.
fn own_machine(machine: Machine) -> Machine {
    if machine.splits() { Machine::CloudHypervisor } else { machine }
}

/// Everything that both the guest and every IOMMU can address.
fn limit(hosts: &[HostMemory], request: &Request) -> Span<Gpa> {
    let translated = hosts.iter().filter_map(|host| host.address_bits.known().copied()).min();
    let bits = request.address_bits.or(translated).unwrap_or(ADDRESS_BITS_USUAL);
    let bits = bits.min(translated.unwrap_or(ADDRESS_BITS_MOST)).clamp(32, ADDRESS_BITS_MOST);
    let last = Gpa::new((1 << bits) - 1);
    Span::new(Gpa::FIRST, last).expect("0 is the lowest address")
}

fn address_bits(limit: Span<Gpa>) -> u8 {
    u8::try_from(u64::BITS - limit.last().get().leading_zeros()).unwrap_or(ADDRESS_BITS_MOST)
}

fn vcpu(hosts: &[HostMemory], request: &Request) -> Vcpu {
    let amd = hosts.iter().any(|host| host.iommu.known() == Some(&IommuMaker::Amd));
    request.vcpu.unwrap_or(if amd { Vcpu::Amd } else { Vcpu::Intel })
}

/// Firmware's interface to a graphics device's own memory is there once.
fn two_graphics(hosts: &[HostMemory], request: &Request) -> Option<Refusal> {
    let is_graphics = |address: PciAddress| {
        hosts.iter().any(|host| {
            host.stolen.contains_key(&address)
                || host.regions.iter().any(|region| {
                    region.role == Role::Graphics
                        && matches!(&region.owners, Owners::These(all) if all.contains(&address))
                })
        })
    };
    let mut graphics: Vec<_> =
        request.all().map(|(device, _)| device.address).filter(|at| is_graphics(*at)).collect();
    graphics.sort_unstable();
    graphics.dedup();
    (graphics.len() > 1).then(|| {
        let names: Vec<_> = graphics.iter().map(PciAddress::to_string).collect();
        Refusal::new(&refusals::TWO_GRAPHICS, names.join(" and "))
    })
}

fn out_of_reach(memory: u64, limit: Span<Gpa>) -> Refusal {
    let detail = format!(
        "{memory} bytes of memory do not end within {limit}, {} bits of address",
        address_bits(limit)
    );
    Refusal::new(&refusals::OUT_OF_REACH, detail)
}

/// One layout, with everything settled under it.
struct Attempt<'a> {
    layout: &'a Layout,
    settled: Vec<Settled>,
    hotplug: Option<Span<Gpa>>,
    refused: Vec<Refusal>,
}

impl<'a> Attempt<'a> {
    fn new(
        request: &Request,
        layout: &'a Layout,
        areas: &[Area],
        cases: &[Case],
        limit: Span<Gpa>,
    ) -> Self {
        let settled: Vec<_> = areas
            .iter()
            .zip(cases)
            .map(|(area, case)| settle(area, *case, layout, request.machine))
            .collect();
        let mut refused = Vec::new();
        let memory = layout.blocks.iter().map(bytes).sum();
        if layout.last().is_none_or(|last| last > limit.last()) {
            refused.push(out_of_reach(memory, limit));
        }
        let hotplug = match hotplug(request, layout, areas, limit) {
            Ok(window) => window,
            Err(refusal) => {
                refused.push(refusal);
                None
            }
        };
        Self { layout, settled, hotplug, refused }
    }

    fn refusals(&self) -> Vec<Refusal> {
        let settled = self.settled.iter().filter_map(|one| one.refusal.clone());
        self.refused.iter().cloned().chain(settled).collect()
    }

    /// What makes one layout worse than another, most important first.
    fn cost(&self) -> (usize, usize, u64, usize) {
        let missed = self.settled.iter().filter(|one| one.missed).count();
        let refused = self.settled.iter().filter(|one| one.refusal.is_some()).count();
        (refused + self.refused.len(), missed, self.layout.moved, self.layout.blocks.len())
    }

    fn plan(self, hosts: &[HostMemory], request: &Request, limit: Span<Gpa>, vcpu: Vcpu) -> Plan {
        let mut map = SpanMap::new();
        for one in &self.settled {
            self.enter_area(one, &mut map);
        }
        for block in &self.layout.blocks {
            fill(&mut map, *block, Use::Ram, true, &self.memory_reason(block));
        }
        if let Some(window) = self.hotplug {
            fill(&mut map, window, Use::Hotplug, false, "memory may be plugged here");
        }
        for (range, name) in fixed(request.machine) {
            fill(&mut map, range, Use::Platform, false, name);
        }
        let mut risks: Vec<_> = self.settled.iter().flat_map(|one| one.risks.clone()).collect();
        if hosts.iter().any(|host| !host.address_bits.is_known()) {
            let bits = address_bits(limit);
            let text =
                format!("how many bits the IOMMU translates is not known; {bits} were taken");
            risks.push(Risk { case: Case::H, text });
        }
        self.enter_windows(request, limit, &mut map, &mut risks);
        let map: Vec<Entry> = map
            .into_iter()
            .map(|(span, (usage, backed, reason))| Entry { span, usage, backed, reason })
            .collect();
        let settings = self.settings(request, limit, vcpu, &map);
        let settlements = self.settled.into_iter().map(|one| one.settlement).collect();
        Plan { machine: request.machine, map, settlements, risks, settings }
    }

    fn enter_area(&self, one: &Settled, map: &mut Map) {
        let settlement = &one.settlement;
        let span = settlement.span;
        if one.own_block {
            map.insert(span, (settlement.becomes, true, settlement.reason.clone()));
            return;
        }
        for block in &self.layout.blocks {
            if let Some(piece) = block.intersection(&span) {
                map.insert(piece, (settlement.becomes, true, settlement.reason.clone()));
            }
        }
        fill(map, span, Use::Hole, false, &settlement.reason);
    }

    fn memory_reason(&self, block: &Span<Gpa>) -> String {
        let layout = self.layout;
        if block.first().get() >= HIGH_FIRST {
            return if layout.high_first == HIGH_FIRST_MOVED {
                "memory above HyperTransport's hole".to_owned()
            } else {
                "memory above 4 GiB".to_owned()
            };
        }
        if layout.lowered {
            return format!("memory below {:#x}, set to leave a hole there", layout.low_bytes);
        }
        "memory below 4 GiB".to_owned()
    }

    fn enter_windows(
        &self,
        request: &Request,
        limit: Span<Gpa>,
        map: &mut Map,
        risks: &mut Vec<Risk>,
    ) {
        let machine = request.machine;
        let last = Gpa::new(machine.window_last());
        if let Some(window) = Span::new(Gpa::new(self.layout.low_bytes), last) {
            fill(map, window, Use::Window, false, "32-bit base addresses");
        }
        let taken = self.hotplug.map(|window| window.last()).or(self.layout.last());
        let first = taken
            .and_then(|last| last.checked_add(1))
            .map(|first| first.max(Gpa::new(HIGH_FIRST)))
            .and_then(|first| first.align_up(Alignment::PAGE_1G));
        let window = first
            .and_then(|first| Span::from_parts(first, machine.window_64_bytes()))
            .and_then(|window| window.intersection(&limit));
        match window {
            Some(window) => fill(map, window, Use::Window, false, "64-bit base addresses"),
            None => risks.push(Risk {
                case: Case::Q,
                text: format!("no room for 64-bit base addresses within {limit}"),
            }),
        }
    }

    fn settings(&self, request: &Request, limit: Span<Gpa>, vcpu: Vcpu, map: &[Entry]) -> Settings {
        let layout = self.layout;
        let keep_off = self
            .settled
            .iter()
            .map(|one| &one.settlement)
            .filter(|one| one.becomes != Use::Hole || one.kind < RegionKind::SoftwareMsi);
        let own_blocks = self.settled.iter().filter(|one| one.own_block);
        let graphics = self.settled.iter().map(|one| one.settlement.policy);
        let stolen = graphics.filter_map(|policy| match policy {
            Policy::Relocate => Some(STOLEN_LEAST),
            Policy::None => Some(0),
            _ => None,
        });
        Settings {
            memory_bytes: map.iter().filter(|one| one.backed).map(|one| bytes(&one.span)).sum(),
            low_bytes: layout.lowered.then_some(layout.low_bytes),
            high_first: Gpa::new(layout.high_first),
            address_bits: address_bits(limit),
            amd_vcpu: layout.high_first == HIGH_FIRST_MOVED && vcpu == Vcpu::Amd,
            keep_off: keep_off.map(|one| one.span).collect(),
            own_blocks: own_blocks.map(|one| one.settlement.span).collect(),
            stolen_bytes: stolen.max(),
            hotplug_bytes: request.hotplug.bytes,
            hotplug_slots: request.hotplug.slots,
        }
    }
}

type Map = SpanMap<Gpa, (Use, bool, String)>;

/// Enters `span` wherever nothing is yet.
fn fill(map: &mut Map, span: Span<Gpa>, usage: Use, backed: bool, reason: &str) {
    let gaps: Vec<_> = map.gaps(span).collect();
    for gap in gaps {
        map.insert(gap, (usage, backed, reason.to_owned()));
    }
}

/// Where memory may be plugged: above the rest, in whole GiB and one more for each slot, as QEMU does.
fn hotplug(
    request: &Request,
    layout: &Layout,
    areas: &[Area],
    limit: Span<Gpa>,
) -> Result<Option<Span<Gpa>>, Refusal> {
    if request.hotplug.bytes == 0 {
        return Ok(None);
    }
    let gib = Alignment::PAGE_1G;
    let refuse = |detail: String| Err(Refusal::new(&refusals::HOTPLUG, detail));
    let slots = u64::from(request.hotplug.slots).saturating_mul(gib.bytes());
    let wanted = request.hotplug.bytes.saturating_add(slots);
    let above = layout
        .last()
        .and_then(|last| last.checked_add(1))
        .map(|first| first.max(Gpa::new(HIGH_FIRST)));
    let Some(room) = above.and_then(|first| Span::new(first, limit.last())) else {
        return refuse(format!("{wanted} bytes: nothing is left within {limit}"));
    };
    if request.machine.splits() {
        let mut free = ringfence_addr::SpanSet::from(room);
        for area in areas {
            free.remove(area.span);
        }
        let want = Want::anywhere("memory to be plugged", wanted).aligned(gib);
        let parts = part(&free, &[want]);
        return match parts {
            Ok(mut parts) => Ok(parts.pop().and_then(|part| part.spans.first().copied())),
            Err(refusal) => refuse(refusal.detail().to_owned()),
        };
    }
    let window = room.first().align_up(gib).and_then(|first| Span::from_parts(first, wanted));
    let Some(window) = window.filter(|window| room.encloses(window)) else {
        return refuse(format!(
            "{wanted} bytes from {} on do not end within {limit}",
            room.first()
        ));
    };
    match areas.iter().find(|area| area.span.overlaps(&window)) {
        Some(area) => refuse(format!("{window} lies on {}", area.text())),
        None => Ok(Some(window)),
    }
}
