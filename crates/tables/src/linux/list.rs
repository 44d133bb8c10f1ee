//! A group's list of reserved regions, in the kernel's order and merged as it merges.

use std::fmt;

use ringfence_addr::{Iova, Span};

/// A line of `reserved_regions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinuxRegion {
    /// Which bus addresses.
    pub span: Span<Iova>,
    /// What of them.
    pub kind: LinuxKind,
}

/// What the kernel calls a region, in the order of its numbers (`enum iommu_resv_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinuxKind {
    /// Mapped at its own number, always: VFIO refuses the device.
    Direct,
    /// Mapped at its own number until somebody takes the device: VFIO maps other memory over it.
    Relaxable,
    /// Not to be mapped.
    Reserved,
    /// Writes are interrupts.
    Msi,
    /// Where the kernel itself puts the interrupt controller's page.
    SoftwareMsi,
}

impl fmt::Display for LinuxKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Direct => "direct",
            Self::Relaxable => "direct-relaxable",
            Self::Reserved => "reserved",
            Self::Msi | Self::SoftwareMsi => "msi",
        })
    }
}

/// As the kernel prints it.
impl fmt::Display for LinuxRegion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.span.first().get(), self.span.last().get());
        write!(formatter, "{first:#018x} {last:#018x} {}", self.kind)
    }
}

/// One list of the lists of a group's functions: sorted by beginning and kind, regions of the same
/// kind that overlap or touch made one (`iommu_insert_resv_region`).
pub fn group<'a>(regions: impl IntoIterator<Item = &'a LinuxRegion>) -> Vec<LinuxRegion> {
    let mut sorted: Vec<LinuxRegion> = regions.into_iter().copied().collect();
    sorted.sort_by_key(|region| (region.span.first(), region.kind, region.span.last()));
    let mut merged: Vec<LinuxRegion> = Vec::new();
    for region in sorted {
        let same = merged.iter_mut().rev().find(|before| before.kind == region.kind);
        match same.and_then(|before| Some((before.span.join(&region.span)?, before))) {
            Some((joined, before)) => before.span = joined,
            None => merged.push(region),
        }
    }
    merged
}
