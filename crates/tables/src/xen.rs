//! What Xen 4.20 makes of the tables: whether it uses the IOMMU at all, and which pages it maps.
//!
//! `xen/drivers/passthrough/vtd/dmar.c` and `xen/drivers/passthrough/amd/iommu_acpi.c`: Xen rounds
//! outward to pages, and gives the whole table up over things that Linux lives with.

use ringfence_addr::{Alignment, Hpa, Span};

use crate::region::ReservedRegion;
use crate::{Content, Table, codes, reserved_regions};

/// What Xen makes of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsXen {
    /// Why the IOMMU stays off: the findings over which Xen refuses the table.
    pub off: Vec<String>,
    /// The pages it maps at their own number, with the region they are of.
    pub regions: Vec<(Span<Hpa>, ReservedRegion)>,
}

/// Over what findings Xen gives up the table.
const GIVES_UP: &[&crate::FindingCode] = &[
    &codes::DMAR_ZERO_LENGTH,
    &codes::DMAR_SHORT,
    &codes::DMAR_NO_UNITS,
    &codes::DRHD_BASE,
    &codes::DRHD_TWO_ALL,
    &codes::ATSR_TWO_ALL,
    &codes::SCOPE_BROKEN,
    &codes::SCOPE_NO_PATH,
    &codes::RMRR_INVERTED,
    &codes::RMRR_OVERLAP,
    &codes::IVRS_PAST_END,
    &codes::IVRS_SHORT,
    &codes::IVRS_NO_UNITS,
    &codes::IVRS_ZERO_LENGTH,
    &codes::IVHD_BASE,
    &codes::IVHD_ENTRY_BROKEN,
    &codes::IVHD_ENTRY_UNKNOWN,
    &codes::IVHD_RANGE,
    &codes::IVHD_SPECIAL,
    &codes::IVMD_FLAGS,
    &codes::IVMD_RANGE,
    &codes::IVMD_BEYOND_LAST,
    &codes::IVMD_OVERLAP,
    &codes::IVMD_NO_IOMMU,
];

/// What Xen makes of a DMAR or IVRS. Of other tables it reads nothing.
pub fn as_xen(table: &Table) -> AsXen {
    if !matches!(table.content, Content::Dmar(_) | Content::Ivrs(_)) {
        return AsXen::default();
    }
    let is_ivrs = matches!(table.content, Content::Ivrs(_));
    let findings = table.findings();
    let mut off: Vec<String> = findings
        .iter()
        .filter(|it| GIVES_UP.contains(&it.code) || (is_ivrs && it.code == &codes::CHECKSUM))
        .map(ToString::to_string)
        .collect();
    if matches!(&table.content, Content::Dmar(dmar) if dmar.width == 0) {
        off.push("Zero: Invalid DMAR width".to_owned());
    }
    let regions = if off.is_empty() { reserved_regions([table]) } else { Vec::new() };
    let regions = regions.into_iter().filter(|region| !region.devices.is_empty());
    let regions = regions.map(|it| (it.span.aligned_out(Alignment::PAGE_4K), it)).collect();
    AsXen { off, regions }
}

#[cfg(test)]
mod tests;
