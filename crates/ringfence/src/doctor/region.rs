//! Regions of firmware's: what they do to devices of a host, and to a VM whose memory nobody planned.

use std::collections::BTreeSet;

use ringfence_addr::{Gpa, PciAddress, Span};
use ringfence_host::{Host, HostMemory, Owners, Region, RegionKind, Role};
use ringfence_plan::refusals::{DIRECT_REGION, RESERVED_IN_MEMORY, SHARED_REGION};

use super::check::Check;
use super::codes::{GIVEN_UP, NOT_READ, SILENT_HOLE};
use crate::described::Described;

const LEGACY_USB: &str = "or turn off legacy USB support in firmware setup";

/// What a region is, in a few words.
pub(super) fn text(region: &Region) -> String {
    let source = region.sources.first().map_or("source unknown", String::as_str);
    format!("{} {} ({source})", region.span, region.kind)
}

/// For each device with a region what VFIO will make of it, whoever gets it.
pub(super) fn of_host(host: &Host, memory: &HostMemory) -> Vec<Check> {
    let mut checks = Vec::new();
    for region in memory.regions.iter().filter(|region| region.kind < RegionKind::SoftwareMsi) {
        for subject in subjects(&region.owners) {
            let text = text(region);
            checks.push(if region.kind == RegionKind::Direct {
                let finding =
                    format!("VFIO will refuse it (EINVAL): {text} stays mapped one to one");
                Check::warn(&DIRECT_REGION, &subject, finding)
            } else {
                let finding = format!("VFIO maps guest memory over {text} without a word");
                Check::warn(&GIVEN_UP, &subject, finding)
            });
        }
        checks.extend(shared(region));
    }
    let is_told = !host.table_bytes.is_empty() || !host.reserved_regions.is_empty();
    if checks.is_empty() && (is_told || host.tables.is_known()) {
        checks.push(Check::pass(
            &GIVEN_UP,
            super::host::HOST,
            "firmware reserved nothing for devices",
        ));
    }
    checks
}

fn subjects(owners: &Owners) -> Vec<String> {
    match owners {
        Owners::All => vec!["every device".to_owned()],
        Owners::These(all) | Owners::Among(all) => all.iter().map(ToString::to_string).collect(),
        Owners::Range(first, last) => vec![format!("{first} to {last}")],
        Owners::Unknown => vec!["unknown device".to_owned()],
    }
}

fn shared(region: &Region) -> Option<Check> {
    let Owners::These(owners) = &region.owners else { return None };
    let all: BTreeSet<PciAddress> = owners.union(&region.shared).copied().collect();
    let names: Vec<_> = all.iter().map(ToString::to_string).collect();
    let finding = format!("{} is shared by {}: for one VM only", text(region), names.join(", "));
    (all.len() > 1).then(|| Check::warn(&SHARED_REGION, names[0].clone(), finding))
}

/// What the memory of a VM that nobody planned does to the regions of its devices; `remedy` is what its
/// VMM would have to be told.
pub(super) fn of_vm(memory: &HostMemory, vm: &Described, remedy: &str) -> Vec<Check> {
    let Some(request) = vm.request() else {
        let finding = format!("where {} puts memory, on a machine that is not known", vm.name);
        let remedy = "name a machine that is: q35, pc (i440fx) or cloud-hypervisor";
        return vec![Check::warn(&NOT_READ, &vm.name, finding).remedy(remedy)];
    };
    let blocks = ringfence_plan::unplanned(memory, &request, vm.low_bytes);
    let mut checks = Vec::new();
    for region in &memory.regions {
        let owning: Vec<_> =
            vm.functions().filter(|address| region.owners.may_include(*address)).collect();
        let Some(span) = region.span.rebase(Gpa::new(region.span.first().get())) else { continue };
        let over: Vec<Span<Gpa>> =
            blocks.iter().filter_map(|block| block.intersection(&span)).collect();
        for address in owning {
            checks.extend(one(region, address, &over, vm, remedy));
        }
    }
    checks
}

fn one(
    region: &Region,
    address: PciAddress,
    over: &[Span<Gpa>],
    vm: &Described,
    remedy: &str,
) -> Option<Check> {
    let spans: Vec<_> = over.iter().map(ToString::to_string).collect();
    let text = text(region);
    if region.kind >= RegionKind::SoftwareMsi {
        let finding =
            format!("guest memory {} lies on {text}: VFIO refuses to map it", spans.join(", "));
        let check = Check::fail(&RESERVED_IN_MEMORY, address, finding);
        return (!over.is_empty()).then(|| check.remedy(remedy));
    }
    // A direct region is refused by the kernel before any memory is mapped; where it is not, this host's
    // kernel was changed to give it up like the others.
    if region.kind == RegionKind::Direct && !vm.request_allows_direct() {
        return None;
    }
    if over.is_empty() {
        return Some(Check::pass(&SILENT_HOLE, address, format!("no guest memory lies on {text}")));
    }
    let certain = !matches!(region.owners, Owners::Unknown);
    let finding = format!(
        "guest memory {} lies on {text}: the device goes on using it, VFIO maps it without a word, and it \
         silently corrupts",
        spans.join(", ")
    );
    let remedy = match region.role {
        Role::Usb => format!("{remedy}\n{LEGACY_USB}"),
        Role::Graphics | Role::Other => remedy.to_owned(),
    };
    if vm.keeps_off {
        let finding = format!(
            "guest memory {} lies on {text}; the VMM gives the guest a table or a map of its own, which may \
             tell it to keep off: that is not seen from here",
            spans.join(", ")
        );
        let inside = "look inside: `ringfence check`, or /proc/iomem of the guest";
        return Some(Check::warn(&SILENT_HOLE, address, finding).remedy(inside));
    }
    let check = if certain {
        Check::fail(&SILENT_HOLE, address, finding)
    } else {
        Check::warn(&SILENT_HOLE, address, format!("{finding}, if the region is its"))
    };
    Some(check.remedy(remedy))
}
