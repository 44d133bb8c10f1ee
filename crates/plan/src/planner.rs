//! The planner: facts and a request to a map or to refusals.

use ringfence_addr::{Address as _, Alignment, Gpa, PciAddress, Span, SpanMap};
use ringfence_host::{HostMemory, IommuMaker, Owners, RegionKind, Role};
use ringfence_refusal::Refusal;

use crate::area::{Area, areas};
use crate::case::Case;
use crate::layout::{Asked, Layout, bytes, layouts};
use crate::machine::{HIGH_FIRST, HIGH_FIRST_MOVED, Machine, Vcpu, fixed};
use crate::map::{Entry, Plan, Risk, Settings, Use};
use crate::part::{Want, part};
use crate::refusals;
use crate::request::{Policy, Request};
use crate::settle::{self, Settled, Under, case};
use crate::{viommu, window};

/// What no processor of a PC has more of.
const ADDRESS_BITS_MOST: u8 = 52;
/// What no VMM gives a guest fewer of.
const ADDRESS_BITS_LEAST: u8 = 32;
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
    let Some(memory) = page_multiple(request) else {
        refused.push(out_of_reach(request.memory.get(), limit));
        return Err(refused);
    };
    let Request { machine, hotplug, .. } = *request;
    let asked = Asked { machine, memory, hotplug, vcpu, limit };
    let own = Asked { machine: own_machine(machine), ..asked };
    let candidates = layouts(&asked, &areas);
    let Some(own) = layouts(&own, &[]).pop() else {
        refused.push(out_of_reach(memory, limit));
        return Err(refused);
    };
    let cases: Vec<_> = areas.iter().map(|area| case(&area.span, &own, machine, limit)).collect();
    let best = candidates.iter().min_by_key(|layout| cost(request, layout, &areas, &cases, limit));
    let Some(best) = best else {
        refused.push(out_of_reach(memory, limit));
        return Err(refused);
    };
    let best = Attempt::new(request, best, &areas, &cases, limit);
    refused.extend(best.refusals());
    if !refused.is_empty() {
        return Err(refused);
    }
    let plan = best.plan(hosts, request, limit, vcpu);
    let viommu = viommu::tell(hosts, request, &plan.map)?;
    let windows = window::place(&plan.map, &request.windows).map_err(|refusal| vec![refusal])?;
    let mut risks = plan.risks;
    risks.extend(viommu::risks(request, viommu.as_ref(), &plan.settlements));
    Ok(Plan { viommu, windows, risks, ..plan })
}

/// What makes one layout worse than another, most important first.
fn cost(
    request: &Request,
    layout: &Layout,
    areas: &[Area],
    cases: &[Case],
    limit: Span<Gpa>,
) -> (usize, usize, u64, usize) {
    let under = Under { layout, machine: request.machine, limit };
    let mut refused = usize::from(!layout.is_within(limit));
    refused += usize::from(hotplug(request, layout, areas, limit).is_err());
    let mut missed = 0;
    for (area, case) in areas.iter().zip(cases) {
        let (objected, here) = settle::cost(area, *case, under);
        refused += usize::from(objected);
        missed += usize::from(here);
    }
    (refused, missed, layout.moved, layout.blocks.len())
}

/// The memory asked for, in whole pages.
pub(crate) fn page_multiple(request: &Request) -> Option<u64> {
    request.memory.get().checked_next_multiple_of(Alignment::PAGE_4K.bytes())
}

/// With whose layout cases are named: a VMM that splits memory has one as soon as nothing is in its
/// way.
pub(crate) fn own_machine(machine: Machine) -> Machine {
    if machine.splits() { Machine::CloudHypervisor } else { machine }
}

/// Everything that both the guest and every IOMMU can address.
pub(crate) fn limit(hosts: &[HostMemory], request: &Request) -> Span<Gpa> {
    let translated = hosts.iter().filter_map(|host| host.address_bits.known().copied()).min();
    let bits = request.address_bits.or(translated).unwrap_or(ADDRESS_BITS_USUAL);
    let bits = bits.min(translated.unwrap_or(ADDRESS_BITS_MOST)).min(ADDRESS_BITS_MOST);
    let last = Gpa::new((1 << bits) - 1);
    Span::new(Gpa::FIRST, last).expect("0 is the lowest address")
}

fn address_bits(limit: Span<Gpa>) -> u8 {
    u8::try_from(u64::BITS - limit.last().get().leading_zeros()).unwrap_or(ADDRESS_BITS_MOST)
}

pub(crate) fn vcpu(hosts: &[HostMemory], request: &Request) -> Vcpu {
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

/// QEMU does not start then: "phys-bits too low".
fn window_out_of_reach(memory: u64, layout: &Layout, limit: Span<Gpa>) -> Refusal {
    let detail = format!(
        "{memory} bytes of memory, what may be plugged and QEMU's window for 64-bit base addresses end \
         at {:#x}, not within {limit}, {} bits of address",
        layout.used_end - 1,
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
        let under = Under { layout, machine: request.machine, limit };
        let settled: Vec<_> = areas
            .iter()
            .zip(cases)
            .map(|(area, case)| settle::settle(area, *case, under))
            .collect();
        let mut refused = Vec::new();
        let memory = layout.blocks.iter().map(bytes).sum();
        if !layout.is_within(limit) {
            refused.push(if request.machine.is_qemu() {
                window_out_of_reach(memory, layout, limit)
            } else {
                out_of_reach(memory, limit)
            });
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
        let functions = viommu::functions(request);
        let (viommu, windows) = (None, Vec::new());
        Plan {
            machine: request.machine,
            map,
            settlements,
            risks,
            settings,
            viommu,
            functions,
            windows,
        }
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
        let taken = match self.hotplug {
            Some(window) => window.last().checked_add(1),
            None => Some(Gpa::new(self.layout.high_end)),
        };
        let first = taken.and_then(|first| first.align_up(Alignment::PAGE_1G));
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
            address_bits: address_bits(limit).max(ADDRESS_BITS_LEAST),
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

/// Where memory may be plugged: above the rest, where the VMM will put it.
fn hotplug(
    request: &Request,
    layout: &Layout,
    areas: &[Area],
    limit: Span<Gpa>,
) -> Result<Option<Span<Gpa>>, Refusal> {
    if request.hotplug.bytes == 0 {
        return Ok(None);
    }
    let machine = request.machine;
    let alignment = machine.plug_alignment();
    let refuse = |detail: String| Err(Refusal::new(&refusals::HOTPLUG, detail));
    if !request.hotplug.bytes.is_multiple_of(Alignment::PAGE_4K.bytes()) {
        return refuse(format!("{} bytes are not whole pages", request.hotplug.bytes));
    }
    let Some(wanted) = machine.plug_bytes(request.hotplug) else {
        return refuse(format!("{} bytes: no space has that much", request.hotplug.bytes));
    };
    let above = Gpa::new(layout.high_end);
    let Some(room) = Span::new(above, limit.last()) else {
        return refuse(format!("{wanted} bytes: nothing is left within {limit}"));
    };
    if machine.splits() {
        let mut free = ringfence_addr::SpanSet::from(room);
        for area in areas {
            free.remove(area.span);
        }
        let want = Want::anywhere("memory to be plugged", wanted).aligned(alignment);
        return match part(&free, &[want]) {
            Ok(mut parts) => Ok(parts.pop().and_then(|part| part.spans.first().copied())),
            Err(refusal) => refuse(refusal.detail().to_owned()),
        };
    }
    let window = room.first().align_up(alignment).and_then(|first| Span::from_parts(first, wanted));
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
