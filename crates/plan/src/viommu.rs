//! The IOMMU that the guest sees, and what it must be told of regions.
//!
//! Without one, a device's address is the guest's, and memory at the right number is enough. With one,
//! the guest's kernel maps what it likes at a device's addresses: it must be told, for exactly that
//! device, to map the region one to one and to give its addresses to nothing else.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use ringfence_addr::{Alignment, Gpa, PciAddress, Span, SpanMap};
use ringfence_host::{HostMemory, Region, RegionKind};
use ringfence_refusal::Refusal;

use crate::machine::Machine;
use crate::map::{Entry, GuestFunction, Risk, Settlement, Use};
use crate::refusals;
use crate::request::Request;

/// What RMR nodes are in units of (Arm DEN 0049 E.d, section 3.1.1.5).
const PAGE_64K: Alignment = match Alignment::new(1 << 16) {
    Some(alignment) => alignment,
    None => Alignment::PAGE_2M,
};

/// A kind of IOMMU that a guest can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Viommu {
    /// VT-d, which a DMAR describes.
    Intel,
    /// AMD-Vi, which an IVRS describes.
    Amd,
    /// An SMMU of version 3, which an IORT or a device tree describes.
    SmmuV3,
    /// A virtio-iommu, which a VIOT or a device tree describes.
    Virtio,
}

/// What the guest's IOMMU must be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestIommu {
    /// Which it is.
    pub kind: Viommu,
    /// Where the devices' addresses are not the kernel's to give, lowest first, without overlaps.
    pub regions: Vec<GuestRegion>,
}

/// Memory that devices reach by themselves, at its own number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestRegion {
    /// Where: guest address and bus address.
    pub span: Span<Gpa>,
    /// The devices, by their addresses in the guest.
    pub devices: BTreeSet<PciAddress>,
    /// Devices use it (its memory is the VM's for that); otherwise it is merely kept off.
    pub used: bool,
}

impl Viommu {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Intel, Self::Amd, Self::SmmuV3, Self::Virtio];

    /// Its name in a VM's file, which is QEMU's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Intel => "intel-iommu",
            Self::Amd => "amd-iommu",
            Self::SmmuV3 => "smmuv3",
            Self::Virtio => "virtio-iommu",
        }
    }

    /// The last address that its tables can name.
    fn last(self) -> Gpa {
        match self {
            // The widest that QEMU's translates by default, in a page table of 4 levels.
            Self::Intel => Gpa::new((1 << 48) - 1),
            Self::Amd | Self::SmmuV3 | Self::Virtio => Gpa::new(u64::MAX),
        }
    }

    /// Why `machine` cannot give it to a guest, and what can be done instead; with regions to tell it
    /// of or without.
    fn objection(self, machine: Machine, with_regions: bool) -> Option<&'static str> {
        let told = "its reserved regions cannot be told on this machine: QEMU aborts when they are set on a \
                    PC; take `intel-iommu` or `amd-iommu`, or let the regions be holes";
        match (machine, self) {
            (Machine::Q35, Self::Intel | Self::Amd) | (Machine::Library, _) => None,
            (Machine::Q35 | Machine::I440fx, Self::SmmuV3) => {
                Some("a PC has no SMMU; take `intel-iommu` on q35")
            }
            (Machine::I440fx, Self::Intel | Self::Amd) => {
                Some("QEMU's pc takes no IOMMU of the platform's; write `machine = \"q35\"`")
            }
            (Machine::Q35 | Machine::I440fx, Self::Virtio) => with_regions.then_some(told),
            (Machine::CloudHypervisor, Self::Virtio) => with_regions.then_some(
                "Cloud Hypervisor describes its virtio-iommu by a VIOT, which has no reserved regions; let \
                 the regions be holes, or take QEMU's q35 with `intel-iommu`",
            ),
            (Machine::CloudHypervisor, _) => {
                Some("Cloud Hypervisor has a virtio-iommu and no other; take QEMU's q35")
            }
        }
    }
}

impl fmt::Display for Viommu {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Viommu {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|viommu| viommu.name() == text).ok_or(())
    }
}

/// In units of what a region is settled: pages, or what the guest's tables can say.
pub(crate) fn granule(request: &Request, kind: RegionKind) -> Alignment {
    let is_told = request.viommu == Some(Viommu::SmmuV3) && kind < RegionKind::SoftwareMsi;
    if is_told { PAGE_64K } else { Alignment::PAGE_4K }
}

/// Where the guest finds functions, in the order of its addresses.
pub(crate) fn functions(request: &Request) -> Vec<GuestFunction> {
    let found = request.all().filter_map(|(device, _)| {
        Some(GuestFunction { guest: device.guest?, host: device.address })
    });
    found.collect::<BTreeSet<_>>().into_iter().collect()
}

/// What the guest's IOMMU must be told, given what lies where, or why it cannot be.
pub(crate) fn tell(
    hosts: &[HostMemory],
    request: &Request,
    map: &[Entry],
) -> Result<Option<GuestIommu>, Vec<Refusal>> {
    let Some(kind) = request.viommu else { return Ok(None) };
    let mut kept: SpanMap<Gpa, bool> = SpanMap::new();
    for entry in map.iter().filter(|entry| matches!(entry.usage, Use::Identity | Use::Reserved)) {
        kept.insert(entry.span, entry.usage == Use::Identity);
    }
    let mut told: SpanMap<Gpa, (BTreeSet<PciAddress>, bool)> = SpanMap::new();
    let mut refused = Vec::new();
    for region in hosts.iter().flat_map(|host| &host.regions) {
        let Some(pages) = pages(request, region) else { continue };
        let pieces: Vec<_> = kept
            .overlapping(pages)
            .filter_map(|(span, used)| Some((span.intersection(&pages)?, *used)))
            .collect();
        if pieces.is_empty() {
            continue;
        }
        for (device, _) in request.all() {
            if !region.owners.may_include(device.address) {
                continue;
            }
            match device.guest.filter(|guest| guest.domain() == 0) {
                Some(guest) => pieces.iter().for_each(|piece| add(&mut told, *piece, guest)),
                None => refused.push(nameless(device.address, device.guest, pages)),
            }
        }
    }
    refused.sort_by(|one, other| one.detail().cmp(other.detail()));
    refused.dedup();
    if let Some(why) = kind.objection(request.machine, !told.is_empty() || !refused.is_empty()) {
        let detail = format!("{kind} on {}: {why}", request.machine);
        refused = vec![Refusal::new(&refusals::NOT_BY_VIOMMU, detail)];
    }
    if !refused.is_empty() {
        return Err(refused);
    }
    told.coalesce();
    if let Some((span, _)) = told.iter().find(|(span, _)| span.last() > kind.last()) {
        let detail = format!("{kind}: {span} is beyond {}; let the region be a hole", kind.last());
        return Err(vec![Refusal::new(&refusals::NOT_BY_VIOMMU, detail)]);
    }
    // A region that another one cuts through, an interrupt controller's page, say.
    if kind == Viommu::SmmuV3
        && let Some((span, _)) = told.iter().find(|(span, _)| !span.is_aligned(PAGE_64K))
    {
        let detail = format!(
            "{kind}: {span} is what another region left, and tables have units of 64 KiB; let it be a hole"
        );
        return Err(vec![Refusal::new(&refusals::NOT_BY_VIOMMU, detail)]);
    }
    let regions = told.into_iter();
    let regions = regions.map(|(span, (devices, used))| GuestRegion { span, devices, used });
    Ok(Some(GuestIommu { kind, regions: regions.collect() }))
}

/// What a guest with an IOMMU of its own makes risky.
pub(crate) fn risks(
    request: &Request,
    told: Option<&GuestIommu>,
    settled: &[Settlement],
) -> Vec<Risk> {
    let Some(told) = told else { return Vec::new() };
    let holes = settled.iter().filter(|one| one.becomes == Use::Hole);
    let holes = holes.filter(|one| one.kind < RegionKind::SoftwareMsi);
    let mut risks: Vec<_> = holes
        .filter_map(|one| {
            let text = format!(
                "{}: the guest's {} is not told of a hole, and its kernel may give these bus addresses to \
                 a buffer, which the device then reaches by itself; `identity` or `reserve` keeps it off",
                one.span, told.kind
            );
            Some(Risk { case: *one.cases.first()?, text })
        })
        .collect();
    let guests: BTreeSet<_> = told.regions.iter().flat_map(|region| &region.devices).collect();
    let case = settled.iter().find_map(|one| one.cases.first().copied());
    for guest in guests.into_iter().filter(|guest| guest.bus() != 0) {
        let text = format!(
            "{guest} in the guest: its firmware gives out the number of bus {:#04x}; if it is another one, \
             the region of {} is told for the wrong device",
            guest.bus(),
            hosts_name(request, *guest)
        );
        risks.extend(case.map(|case| Risk { case, text }));
    }
    risks
}

fn hosts_name(request: &Request, guest: PciAddress) -> PciAddress {
    let found = request.all().find(|(device, _)| device.guest == Some(guest));
    found.map_or(guest, |(device, _)| device.address)
}

/// The pages of a region that devices reach, at the same number for the guest.
fn pages(request: &Request, region: &Region) -> Option<Span<Gpa>> {
    let pages = region.span.aligned_out(granule(request, region.kind));
    let (first, last) = (pages.first().get(), pages.last().get());
    let reached = region.kind < RegionKind::SoftwareMsi;
    Span::new(Gpa::new(first), Gpa::new(last)).filter(|_| reached)
}

/// Adds a device to every piece of `span`.
fn add(
    told: &mut SpanMap<Gpa, (BTreeSet<PciAddress>, bool)>,
    (span, used): (Span<Gpa>, bool),
    guest: PciAddress,
) {
    let mut there: Vec<_> = told
        .overlapping(span)
        .filter_map(|(other, value)| Some((other.intersection(&span)?, value.clone())))
        .collect();
    there.extend(told.gaps(span).map(|gap| (gap, (BTreeSet::new(), used))));
    for (piece, (mut devices, used)) in there {
        devices.insert(guest);
        told.insert(piece, (devices, used));
    }
}

fn nameless(host: PciAddress, guest: Option<PciAddress>, pages: Span<Gpa>) -> Refusal {
    let detail = match guest {
        Some(guest) => format!("{host}: {guest} in the guest is in another segment than 0"),
        None => format!("{host}, for which {pages} must be told, has no `guest_address`"),
    };
    Refusal::new(&refusals::NO_GUEST_ADDRESS, detail)
}
