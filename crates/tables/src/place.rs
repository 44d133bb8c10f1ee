//! Where a region must not be, whatever kind of table states it.

use ringfence_addr::{Hpa, Span};

use crate::codes;
use crate::finding::FindingCode;

/// Where writes are interrupts on x86 (Intel SDM volume 3, section 12.11.1).
pub(crate) const MSI: (u64, u64) = (0xfee0_0000, 0xfeef_ffff);
/// What no device reaches on AMD: HyperTransport's own.
pub(crate) const HYPERTRANSPORT: (u64, u64) = (0xfd_0000_0000, 0xff_ffff_ffff);
/// Where Linux puts the interrupt controller's page on Arm (`MSI_IOVA_BASE`).
pub(crate) const SOFTWARE_MSI: (u64, u64) = (0x0800_0000, 0x080f_ffff);

const LOW_END: u64 = 0xf_ffff;
const HIGH_START: u64 = 1 << 32;

/// What is to be said of a region there on a PC.
pub(crate) fn of_pc(span: Span<Hpa>) -> impl Iterator<Item = &'static FindingCode> {
    let low = (span.first().get() <= LOW_END).then_some(&codes::REGION_LOW);
    let msi = overlaps(span, MSI).then_some(&codes::REGION_MSI);
    let high = (span.last().get() >= HIGH_START).then_some(&codes::REGION_HIGH);
    [low, msi, high].into_iter().flatten()
}

pub(crate) fn overlaps(span: Span<Hpa>, (first, last): (u64, u64)) -> bool {
    span.first().get() <= last && span.last().get() >= first
}
