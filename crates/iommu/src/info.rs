//! What VFIO says of an IOMMU: which bus addresses it translates.
//!
//! `struct vfio_iommu_type1_info` and its chain of capabilities (`linux/vfio.h`). It comes from the
//! kernel, and is read as if it did not: no offset leads outside, and none back.

use ringfence_addr::{Iova, Span, SpanSet};

/// `VFIO_IOMMU_INFO_CAPS`: there is a chain.
const HAS_CAPABILITIES: u32 = 2;
const FLAGS_AT: usize = 4;
const CHAIN_AT: usize = 16;
/// `VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE`, and where its count and ranges are.
const RANGES: u16 = 1;
const COUNT_AT: usize = 8;
const RANGES_AT: usize = 16;
const RANGE_BYTES: usize = 16;

/// The ranges that can be mapped, or `None` if the kernel does not say.
pub(crate) fn apertures(info: &[u8]) -> Option<SpanSet<Iova>> {
    if word(info, FLAGS_AT)? & HAS_CAPABILITIES == 0 {
        return None;
    }
    let mut at = usize::try_from(word(info, CHAIN_AT)?).ok()?;
    while at != 0 {
        let capability = info.get(at..)?;
        let id = u16::from_ne_bytes(capability.get(..2)?.try_into().ok()?);
        if id == RANGES {
            return ranges(capability);
        }
        let next = usize::try_from(word(capability, 4)?).ok()?;
        if next != 0 && next <= at {
            return None;
        }
        at = next;
    }
    None
}

fn ranges(capability: &[u8]) -> Option<SpanSet<Iova>> {
    let count = usize::try_from(word(capability, COUNT_AT)?).ok()?;
    let mut ranges = SpanSet::new();
    for range in capability.get(RANGES_AT..)?.chunks_exact(RANGE_BYTES).take(count) {
        let (first, last) = range.split_at(8);
        let number = |bytes: &[u8]| Some(Iova::new(u64::from_ne_bytes(bytes.try_into().ok()?)));
        ranges.insert(Span::new(number(first)?, number(last)?)?);
    }
    Some(ranges)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(next: u32, ranges: &[(u64, u64)]) -> Vec<u8> {
        let mut info = vec![0; 24];
        info[4..8].copy_from_slice(&3_u32.to_ne_bytes());
        info[16..20].copy_from_slice(&24_u32.to_ne_bytes());
        // A capability of another kind comes first.
        info.extend([9, 0, 1, 0]);
        info.extend(next.to_ne_bytes());
        info.extend([1, 0, 1, 0, 0, 0, 0, 0]);
        info.extend(u32::try_from(ranges.len()).unwrap_or(0).to_ne_bytes());
        info.extend([0; 4]);
        for (first, last) in ranges {
            info.extend(first.to_ne_bytes());
            info.extend(last.to_ne_bytes());
        }
        info
    }

    #[test]
    fn ranges_are_found_behind_other_capabilities() {
        let ranges = [(0, 0xfedf_ffff), (0xfef0_0000, 0xffff_ffff_ffff)];
        let found = apertures(&info(32, &ranges)).expect("there are ranges");
        assert_eq!(found.to_string(), "0x0-0xfedfffff, 0xfef00000-0xffffffffffff");
    }

    #[test]
    fn what_leads_nowhere_is_not_followed() {
        assert_eq!(apertures(&info(24, &[])), None, "to itself");
        assert_eq!(apertures(&info(8, &[])), None, "back");
        assert_eq!(apertures(&info(9000, &[])), None, "outside");
        assert_eq!(apertures(&info(32, &[(2, 1)])), None, "no span");
        assert_eq!(apertures(&[]), None);
        let whole = info(32, &[(0, 1)]);
        for length in 0..whole.len() {
            let _ = apertures(&whole[..length]);
        }
    }
}
