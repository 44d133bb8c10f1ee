//! Blocks inside a device that reach host memory whatever its IOMMU maps.
//!
//! Known are those of Intel's integrated graphics (`drivers/gpu/drm/i915`, the volumes on memory of its
//! programmer's reference manuals). For other devices nothing is known, and so nothing said.

use ringfence_addr::{Hpa, PciAddress, Span};
use ringfence_host::{Fact, HostMemory, Owners, Role, Stolen};

use super::check::Check;
use super::codes::{BYPASS, NOT_READ};

/// The first generation with GuC and HuC.
const MICROCONTROLLERS_FROM: u8 = 9;

/// One for each graphics function that `wanted` wants.
pub(super) fn checks(memory: &HostMemory, wanted: impl Fn(PciAddress) -> bool) -> Vec<Check> {
    let mut checks = Vec::new();
    for (address, stolen) in memory.stolen.iter().filter(|(address, _)| wanted(**address)) {
        checks.push(match stolen {
            Fact::Known(stolen) if stolen.span().is_some() => of_registers(*address, stolen),
            // Firmware gave it none: there is nothing to be reached.
            Fact::Known(_) => {
                Check::pass(&BYPASS, address, "it has no memory of its own on the host")
            }
            Fact::Unknown(why) => match region_of(memory, *address) {
                Some(span) => of_region(*address, span),
                None => Check::warn(
                    &NOT_READ,
                    address,
                    format!("which host memory its blocks reach past the IOMMU: {why}"),
                ),
            },
        });
    }
    // Of a host with nothing but tables.
    for region in memory.regions.iter().filter(|region| region.role == Role::Graphics) {
        let Owners::These(owners) = &region.owners else { continue };
        let rest = owners.iter().filter(|owner| !memory.stolen.contains_key(owner));
        checks.extend(rest.filter(|owner| wanted(**owner)).map(|at| of_region(*at, region.span)));
    }
    checks
}

fn region_of(memory: &HostMemory, address: PciAddress) -> Option<Span<Hpa>> {
    let own = memory
        .regions
        .iter()
        .find(|region| region.role == Role::Graphics && region.owners.may_include(address));
    own.map(|region| region.span)
}

fn of_registers(address: PciAddress, stolen: &Stolen) -> Check {
    let mut reached = Vec::new();
    let mut add = |span: Option<Span<Hpa>>, who: &str| {
        reached.extend(span.map(|span| format!("{who} {span}")));
    };
    add(stolen.page_table, "the graphics page table's walker");
    add(stolen.data, "display and the graphics page table");
    if stolen.generation >= MICROCONTROLLERS_FROM {
        match &stolen.firmware {
            Fact::Known(area) => add(*area, "GuC and HuC (WOPCM)"),
            Fact::Unknown(_) => add(stolen.data, "GuC and HuC (WOPCM, at the top of)"),
        }
    }
    let finding = format!("reached past the IOMMU, by host address: {}", reached.join("; "));
    Check::warn(&BYPASS, address, finding)
}

fn of_region(address: PciAddress, span: Span<Hpa>) -> Check {
    let finding = format!(
        "reached past the IOMMU, by host address: {span} (page table and own memory as one: its registers \
         were not read), by display, the graphics page table and, from generation {MICROCONTROLLERS_FROM} \
         on, GuC and HuC"
    );
    Check::warn(&BYPASS, address, finding)
}
