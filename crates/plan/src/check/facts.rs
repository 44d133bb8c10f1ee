//! What is checked, sought again from hosts and request.

use ringfence_addr::{Gpa, PciAddress, Span};
use ringfence_host::{Fact, HostMemory, IommuMaker, Owners, Region, RegionKind};

use super::sweep::joined;
use crate::machine::Vcpu;
use crate::map::{Plan, Use};
use crate::request::{Assigned, Request};
use crate::viommu::Viommu;

/// HyperTransport's hole (AMD I/O Virtualization Technology Specification, section 2.1.2).
const HYPERTRANSPORT: (u64, u64) = (0xfd_0000_0000, 0xff_ffff_ffff);
/// The last byte of a page.
const PAGE_LAST: u64 = 0xfff;

pub(super) struct Facts<'a> {
    pub(super) hosts: &'a [HostMemory],
    pub(super) request: &'a Request,
    pub(super) plan: &'a Plan,
    /// The functions the VM has or may get.
    pub(super) devices: Vec<&'a Assigned>,
    /// What of the hosts concerns them.
    pub(super) concerned: Vec<Concerned<'a>>,
    /// HyperTransport's hole, if a host has it and devices may reach it.
    pub(super) hypertransport: Option<Span<Gpa>>,
    /// Where memory lies, joined.
    pub(super) backed: Vec<Span<Gpa>>,
}

/// A region that devices of the VM may reach.
pub(super) struct Concerned<'a> {
    pub(super) region: &'a Region,
    /// Whole pages of it, at the same number for the guest.
    pub(super) pages: Span<Gpa>,
    /// Those devices.
    pub(super) devices: Vec<&'a Assigned>,
}

impl<'a> Facts<'a> {
    pub(super) fn of(hosts: &'a [HostMemory], request: &'a Request, plan: &'a Plan) -> Self {
        let devices: Vec<_> = request.devices.iter().chain(&request.later).collect();
        let mut concerned = Vec::new();
        for region in hosts.iter().flat_map(|host| &host.regions) {
            let here: Vec<_> = devices
                .iter()
                .copied()
                .filter(|device| reaches(&region.owners, device.address))
                .collect();
            // An RMR is in units of 64 KiB (Arm DEN 0049 E.d).
            let is_coarse = request.viommu == Some(Viommu::SmmuV3);
            let is_coarse = is_coarse && REACHED.contains(&region.kind);
            let unit_last = if is_coarse { 0xffff } else { PAGE_LAST };
            let first = Gpa::new(region.span.first().get() & !unit_last);
            let last = Gpa::new(region.span.last().get() | unit_last);
            if let (false, Some(pages)) = (here.is_empty(), Span::new(first, last)) {
                concerned.push(Concerned { region, pages, devices: here });
            }
        }
        let backed: Vec<_> =
            plan.map.iter().filter(|entry| entry.backed).map(|entry| entry.span).collect();
        let has_amd_host = hosts.iter().any(|host| host.iommu == Fact::Known(IommuMaker::Amd));
        let hole = Span::new(Gpa::new(HYPERTRANSPORT.0), Gpa::new(HYPERTRANSPORT.1));
        let hypertransport = hole.filter(|_| has_amd_host && !devices.is_empty());
        let backed = joined(&backed);
        Self { hosts, request, plan, devices, concerned, hypertransport, backed }
    }

    /// Everything that is set apart and concerns the VM.
    pub(super) fn set_apart(&self) -> Vec<Span<Gpa>> {
        self.concerned.iter().map(|one| one.pages).chain(self.hypertransport).collect()
    }

    /// Where nothing can be mapped, joined.
    pub(super) fn blocked(&self) -> Vec<Span<Gpa>> {
        let mut blocked = self.regions(UNMAPPABLE);
        blocked.extend(self.hypertransport);
        joined(&blocked)
    }

    /// The spans of entries with one of these uses.
    pub(super) fn used(&self, uses: &[Use]) -> Vec<Span<Gpa>> {
        let entries = self.plan.map.iter().filter(|entry| uses.contains(&entry.usage));
        entries.map(|entry| entry.span).collect()
    }

    /// Regions of these kinds that concern the VM, joined.
    pub(super) fn regions(&self, kinds: &[RegionKind]) -> Vec<Span<Gpa>> {
        let chosen = self.concerned.iter().filter(|one| kinds.contains(&one.region.kind));
        joined(&chosen.map(|one| one.pages).collect::<Vec<_>>())
    }

    /// Whether the guest's processor calls itself AMD's.
    pub(super) fn believes_in_amd(&self) -> bool {
        match self.request.vcpu {
            Some(vcpu) => vcpu == Vcpu::Amd,
            None => self.hosts.iter().any(|host| host.iommu == Fact::Known(IommuMaker::Amd)),
        }
    }
}

/// Where nothing can be mapped for devices.
pub(super) const UNMAPPABLE: &[RegionKind] =
    &[RegionKind::SoftwareMsi, RegionKind::Msi, RegionKind::Reserved];

/// Where devices reach host memory whatever is mapped, or could.
pub(super) const REACHED: &[RegionKind] = &[RegionKind::Relaxable, RegionKind::Direct];

/// Whether requests of `function` may go to a region with these owners: if nobody knows, they may.
fn reaches(owners: &Owners, function: PciAddress) -> bool {
    match owners {
        Owners::These(functions) | Owners::Among(functions) => functions.contains(&function),
        Owners::Range(first, last) => *first <= function && function <= *last,
        Owners::All | Owners::Unknown => true,
    }
}
