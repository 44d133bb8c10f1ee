//! A DMAR with an RMRR for each region: otherwise as QEMU makes it (`build_dmar_q35`).

use ringfence_tables::dmar::{Dmar, Drhd, Rmrr, Scope, ScopeKind, Scopes, Structure};
use ringfence_tables::{Content, Table};

use super::header;
use crate::map::Plan;
use crate::viommu::GuestIommu;

/// Where the unit's registers are on q35 (`Q35_HOST_BRIDGE_IOMMU_ADDR`).
pub(super) const REGISTERS: u64 = 0xfed9_0000;
/// Where q35's I/O APIC says that its requests come from.
const IO_APIC: (u8, [u8; 2]) = (0xff, [0, 0]);
/// QEMU names every function there is; for all of them stands this.
const INCLUDE_ALL: u8 = 1;
/// Widths that QEMU's has.
const WIDTHS: [u8; 2] = [39, 48];

/// How many bits of address it translates.
pub(super) fn width(plan: &Plan) -> u8 {
    let [narrow, wide] = WIDTHS;
    if plan.settings.address_bits <= narrow { narrow } else { wide }
}

pub(super) fn table(plan: &Plan, told: &GuestIommu) -> Table {
    let (bus, path) = IO_APIC;
    let scopes = Scopes { list: vec![Scope::new(ScopeKind::IoApic, bus, &[path])], rest: vec![] };
    let (size, segment, base) = (0, 0, REGISTERS);
    let unit = Drhd { flags: INCLUDE_ALL, size, segment, base, scopes };
    let mut structures = vec![Structure::Drhd(unit)];
    structures.extend(told.regions.iter().map(|region| {
        let scope = |at: &ringfence_addr::PciAddress| {
            Scope::new(ScopeKind::Endpoint, at.bus(), &[[at.device(), at.function()]])
        };
        let scopes = Scopes { list: region.devices.iter().map(scope).collect(), rest: vec![] };
        let (base, limit) = (region.span.first().get(), region.span.last().get());
        Structure::Rmrr(Rmrr { reserved: 0, segment: 0, base, limit, scopes })
    }));
    let dmar = Dmar::new(width(plan), structures);
    Table::new(header(plan, *b"DMAR", 1), Content::Dmar(dmar))
}
