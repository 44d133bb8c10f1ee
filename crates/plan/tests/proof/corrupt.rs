//! Ways to spoil a plan, each of which makes it wrong wherever it can be done.

use proptest::sample::Index;
use ringfence_addr::{Address as _, Gpa, PciAddress, Span};
use ringfence_host::HostMemory;
use ringfence_plan::{Entry, GuestRegion, Machine, Plan, Policy, Request, Use, Viommu};

/// Spoils the plan, or says that there is nothing of the kind to be spoilt.
type Corrupt = fn(&mut Plan, &[HostMemory], &Request, Index) -> Option<()>;

const PAGE: u64 = 0x1000;
const LARGE_PAGE: u64 = 0x20_0000;

pub(crate) const CORRUPTIONS: &[(&str, Corrupt)] = &[
    ("memory is shifted by a page", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Ram], place)?;
        let shifted = shift(entry.span, PAGE)?;
        if plan.machine == Machine::Library && shifted.first() > Gpa::new(PAGE) {
            return None;
        }
        find(plan, &entry)?.span = shifted;
        Some(())
    }),
    ("memory is a page longer", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Ram], place)?;
        find(plan, &entry)?.span =
            Span::new(entry.span.first(), entry.span.last().checked_add(PAGE)?)?;
        Some(())
    }),
    ("memory is a page shorter", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Ram], place)?;
        find(plan, &entry)?.span =
            Span::new(entry.span.first(), entry.span.last().checked_sub(PAGE)?)?;
        Some(())
    }),
    ("memory ends within a page", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Ram], place)?;
        find(plan, &entry)?.span =
            Span::new(entry.span.first(), entry.span.last().checked_sub(1)?)?;
        Some(())
    }),
    ("a piece of memory is gone", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Ram], place)?;
        plan.map.retain(|one| *one != entry);
        Some(())
    }),
    ("memory has nothing beneath", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Ram, Use::Identity, Use::Reserved], place)?;
        find(plan, &entry)?.backed = false;
        Some(())
    }),
    ("memory is kept off for nothing", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Ram], place)?;
        find(plan, &entry)?.usage = Use::Reserved;
        Some(())
    }),
    ("a hole is gone", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Hole], place)?;
        plan.map.retain(|one| *one != entry);
        Some(())
    }),
    ("a hole is a window", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Hole], place)?;
        find(plan, &entry)?.usage = Use::Window;
        Some(())
    }),
    ("a hole is memory", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Hole], place)?;
        let one = find(plan, &entry)?;
        (one.usage, one.backed) = (Use::Ram, true);
        plan.settings.memory_bytes = plan
            .settings
            .memory_bytes
            .saturating_add(entry.span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get));
        Some(())
    }),
    ("what is kept off is memory", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Reserved, Use::Identity], place)?;
        find(plan, &entry)?.usage = Use::Ram;
        Some(())
    }),
    ("an entry is there twice", |plan, _, _, place| {
        let entry = (!plan.map.is_empty()).then(|| place.get(&plan.map).clone())?;
        let at = plan.map.iter().position(|one| *one == entry)?;
        plan.map.insert(at, entry);
        Some(())
    }),
    ("the map is upside down", |plan, _, _, _| (plan.map.len() > 1).then(|| plan.map.reverse())),
    ("more memory is told", |plan, _, _, _| {
        plan.settings.memory_bytes = plan.settings.memory_bytes.checked_add(LARGE_PAGE)?;
        Some(())
    }),
    ("less memory is told", |plan, _, _, _| {
        plan.settings.memory_bytes = plan.settings.memory_bytes.checked_sub(PAGE)?;
        Some(())
    }),
    ("a region is not told to be kept off", |plan, _, _, place| {
        let many = plan.settings.keep_off.len();
        (many > 0).then(|| plan.settings.keep_off.remove(place.index(many)))?;
        Some(())
    }),
    ("memory is told to be kept off", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Ram], place)?;
        let page = Span::from_parts(entry.span.first(), PAGE)?;
        plan.settings.keep_off.push(page);
        Some(())
    }),
    ("addresses have a bit more", |plan, hosts, request, _| {
        let known = hosts.iter().any(|host| host.address_bits.is_known());
        let known = known || request.address_bits.is_some();
        known.then(|| plan.settings.address_bits += 1)
    }),
    ("low memory is told to end lower", |plan, _, _, _| {
        let end = plan.settings.low_bytes.unwrap_or(0x8000_0000).min(plan.settings.memory_bytes);
        plan.settings.low_bytes = Some(end.checked_sub(LARGE_PAGE).filter(|end| *end > 0)?);
        Some(())
    }),
    ("low memory is not told where to end", |plan, _, _, _| {
        let end = plan.settings.low_bytes.take()?;
        // Where QEMU would end it anyway, nothing is lost with the word.
        let all = plan.settings.memory_bytes;
        let own = match plan.machine {
            Machine::Q35 if all >= 0xb000_0000 => 0x8000_0000,
            Machine::Q35 => 0xb000_0000,
            _ if all >= 0xe000_0000 => 0xc000_0000,
            _ => 0xe000_0000,
        };
        (end < all && end != own).then_some(())
    }),
    ("high memory is told to begin elsewhere", |plan, _, _, _| {
        let first = plan.settings.high_first.get();
        plan.settings.high_first = Gpa::new(if first == 1 << 40 { 1 << 32 } else { 1 << 40 });
        Some(())
    }),
    ("the wrong processor is told", |plan, _, _, _| {
        plan.settings.amd_vcpu = !plan.settings.amd_vcpu;
        Some(())
    }),
    ("a piece of its own is not told", |plan, _, _, place| {
        let many = plan.settings.own_blocks.len();
        (many > 0).then(|| plan.settings.own_blocks.remove(place.index(many)))?;
        Some(())
    }),
    ("memory is told to be a piece of its own", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Ram], place)?;
        plan.settings.own_blocks.push(entry.span);
        Some(())
    }),
    ("less is to be plugged", |plan, _, _, _| {
        plan.settings.hotplug_bytes = plan.settings.hotplug_bytes.checked_sub(1)?;
        Some(())
    }),
    ("nowhere is it plugged", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Hotplug], place)?;
        plan.map.retain(|one| *one != entry);
        Some(())
    }),
    ("it is plugged a page higher", |plan, _, _, place| {
        let entry = entry(plan, &[Use::Hotplug], place)?;
        (plan.machine != Machine::Library).then_some(())?;
        find(plan, &entry)?.span = shift(entry.span, PAGE)?;
        Some(())
    }),
    ("it is for another machine", |plan, _, _, _| {
        let other = Machine::ALL.into_iter().find(|machine| *machine != plan.machine)?;
        plan.machine = other;
        Some(())
    }),
    ("nothing is said of a region", |plan, _, _, place| {
        let many = plan.settlements.len();
        (many > 0).then(|| plan.settlements.remove(place.index(many)))?;
        Some(())
    }),
    ("something else is said of a region", |plan, _, _, place| {
        let many = plan.settlements.len();
        let one = plan.settlements.get_mut((many > 0).then(|| place.index(many))?)?;
        one.becomes = if one.becomes == Use::Hole { Use::Reserved } else { Use::Hole };
        Some(())
    }),
    ("graphics is shown what nobody asked for", |plan, _, request, _| {
        let mut devices = request.devices.iter().chain(&request.later);
        devices.all(|one| one.policy != Some(Policy::Relocate)).then_some(())?;
        plan.settings.stolen_bytes.is_none().then(|| plan.settings.stolen_bytes = Some(LARGE_PAGE))
    }),
    ("the guest's IOMMU is not told of a region", |plan, _, _, place| {
        let regions = &mut plan.viommu.as_mut()?.regions;
        (!regions.is_empty()).then(|| regions.remove(place.index(regions.len())))?;
        Some(())
    }),
    ("it is told for one device more", |plan, _, _, place| {
        let region = told(plan, place)?;
        region.devices.insert(PciAddress::from_requester_id(0, 0xffff)).then_some(())
    }),
    ("it is told for one device less", |plan, _, _, place| {
        let region = told(plan, place)?;
        let gone = *region.devices.first()?;
        region.devices.remove(&gone).then_some(())
    }),
    ("it is told of a page less", |plan, _, _, place| {
        let region = told(plan, place)?;
        region.span = Span::new(region.span.first().checked_add(PAGE)?, region.span.last())?;
        Some(())
    }),
    ("it is told of a page more", |plan, _, _, place| {
        let region = told(plan, place)?;
        region.span = Span::new(region.span.first(), region.span.last().checked_add(PAGE)?)?;
        Some(())
    }),
    ("it is told the other use of a region", |plan, _, _, place| {
        let region = told(plan, place)?;
        region.used = !region.used;
        Some(())
    }),
    ("it is another IOMMU", |plan, _, _, _| {
        let told = plan.viommu.as_mut()?;
        told.kind = Viommu::ALL.into_iter().find(|kind| *kind != told.kind)?;
        Some(())
    }),
    ("it is none", |plan, _, _, _| plan.viommu.take().map(drop)),
    ("a function is elsewhere in the guest", |plan, _, _, place| {
        let many = plan.functions.len();
        let function = plan.functions.get_mut((many > 0).then(|| place.index(many))?)?;
        function.guest = PciAddress::from_requester_id(0, 0xffff);
        Some(())
    }),
    ("a window is a page higher", |plan, _, _, place| {
        let many = plan.windows.len();
        let window = plan.windows.get_mut((many > 0).then(|| place.index(many))?)?;
        window.span = shift(window.span, PAGE)?;
        Some(())
    }),
    ("a window lies on another", |plan, _, _, _| {
        let [one, other] = &mut plan.windows[..] else { return None };
        other.span = other.span.rebase(one.span.first())?;
        Some(())
    }),
    ("a window is of another device", |plan, _, _, place| {
        let many = plan.windows.len();
        let window = plan.windows.get_mut((many > 0).then(|| place.index(many))?)?;
        window.guest = PciAddress::from_requester_id(0, 0xffff);
        Some(())
    }),
    ("an unknown width is not said", |plan, hosts, _, _| {
        let unknown = hosts.iter().any(|host| !host.address_bits.is_known());
        unknown.then(|| plan.risks.clear())
    }),
];

/// One entry with one of these uses.
fn entry(plan: &Plan, uses: &[Use], place: Index) -> Option<Entry> {
    let found: Vec<_> = plan.map.iter().filter(|entry| uses.contains(&entry.usage)).collect();
    (!found.is_empty()).then(|| (*place.get(&found)).clone())
}

/// A region that the guest's IOMMU is told of.
fn told(plan: &mut Plan, place: Index) -> Option<&mut GuestRegion> {
    let regions = &mut plan.viommu.as_mut()?.regions;
    let many = regions.len();
    regions.get_mut((many > 0).then(|| place.index(many))?)
}

fn find<'a>(plan: &'a mut Plan, entry: &Entry) -> Option<&'a mut Entry> {
    plan.map.iter_mut().find(|one| *one == entry)
}

fn shift(span: Span<Gpa>, by: u64) -> Option<Span<Gpa>> {
    span.rebase(span.first().checked_add(by)?)
}
