//! Which parts of a function's registers and memory a VMM maps, and which it asks for.
//!
//! What is lent is the function's own file, with the place of the region in it: the guest's accesses go
//! to the function and to nobody else. Three things follow from that, none of which is hidden:
//!
//! - The file is more than its mappings. Whoever has it can reset the function, change where its
//!   interrupts go and write its config space, bus mastering included. It cannot change what the function
//!   reaches: mappings belong to the group's container or iommufd, which is not lent. So a
//!   [`Fence`](super::Fence) is never just the bus master bit: what is fenced has its mappings taken
//!   away, too, before any memory is given to somebody else.
//! - A mapping stays in the VMM when the function is taken away from the guest, until the VMM ends. It
//!   reaches the function's registers, no memory of the host's. So a function goes to another VM only
//!   when nobody has its file any more, which [`Hold::take_back`](crate::Hold::take_back) asks the kernel.
//! - [`Lending::Nothing`] keeps the file back: every access is asked for, and costs a message.
//!
//! A function's memory is never mapped for other devices to reach: a descriptor of it that comes back as
//! guest memory is refused (`RF0726`), so there is nothing to revoke when a BAR is turned off
//! or moved (I21).

use ringfence_vfio_user::RegionPart;

/// `VFIO_REGION_INFO_FLAG_READ`, `_WRITE`, `_MMAP` and `_CAPS`.
const READS: u32 = 1;
const WRITES: u32 = 2;
const MAPS: u32 = 4;
const HAS_CAPABILITIES: u32 = 8;

/// `VFIO_REGION_INFO_CAP_SPARSE_MMAP`.
const SPARSE: u16 = 1;

/// Where things are in `struct vfio_region_info`.
const FLAGS_AT: usize = 4;
const CHAIN_AT: usize = 12;
const LENGTH_AT: usize = 16;
const OFFSET_AT: usize = 24;
/// And in the capability that lists what can be mapped.
const COUNT_AT: usize = 8;
const AREAS_AT: usize = 16;
const AREA_BYTES: usize = 16;

/// Whether a VMM is given the function's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lending {
    /// It is: BARs are as fast as the function.
    #[default]
    Descriptors,
    /// It is not: each access is a message, and what only the file can do, nobody does.
    Nothing,
}

/// A region, as VFIO describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Described {
    /// Bytes; none if it is not there.
    pub length: u64,
    /// Where it begins in the function's file.
    pub file_offset: u64,
    /// Whether it can be read.
    pub is_readable: bool,
    /// Whether it can be written.
    pub is_writable: bool,
    /// What of it can be mapped, in whole pages.
    pub parts: Vec<RegionPart>,
}

/// Reads `struct vfio_region_info` with its capabilities (`linux/vfio.h`). It comes from the kernel, and
/// is read as if it did not: no offset leads outside, and none back.
pub(super) fn described(info: &[u8]) -> Option<Described> {
    let flags = word(info, FLAGS_AT)?;
    let (length, file_offset) = (long(info, LENGTH_AT)?, long(info, OFFSET_AT)?);
    file_offset.checked_add(length)?;
    let whole = RegionPart { offset: 0, size: length };
    let parts = match flags & MAPS != 0 && length > 0 {
        true => sparse(info, flags)?.unwrap_or(vec![whole]),
        false => Vec::new(),
    };
    let is_inside =
        |part: &RegionPart| part.offset.checked_add(part.size).is_some_and(|end| end <= length);
    let (is_readable, is_writable) = (flags & READS != 0, flags & WRITES != 0);
    parts.iter().all(is_inside).then_some(())?;
    Some(Described { length, file_offset, is_readable, is_writable, parts })
}

/// The parts that can be mapped, where not all of it can.
fn sparse(info: &[u8], flags: u32) -> Option<Option<Vec<RegionPart>>> {
    let mut at = match flags & HAS_CAPABILITIES {
        0 => 0,
        _ => usize::try_from(word(info, CHAIN_AT)?).ok()?,
    };
    while at != 0 {
        let capability = info.get(at..)?;
        if u16::from_ne_bytes(capability.get(..2)?.try_into().ok()?) == SPARSE {
            let count = usize::try_from(word(capability, COUNT_AT)?).ok()?;
            let areas = capability.get(AREAS_AT..)?.chunks_exact(AREA_BYTES).take(count);
            let part =
                |area: &[u8]| Some(RegionPart { offset: long(area, 0)?, size: long(area, 8)? });
            let parts: Option<Vec<_>> = areas.map(part).collect();
            return Some(Some(parts.filter(|parts| parts.len() == count)?));
        }
        let next = usize::try_from(word(capability, 4)?).ok()?;
        if next != 0 && next <= at {
            return None;
        }
        at = next;
    }
    Some(None)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(flags: u32, chain: u32, length: u64, rest: &[u8]) -> Vec<u8> {
        let words = [64, flags, 2, chain].map(u32::to_ne_bytes).concat();
        let longs = [length, 2 << 40].map(u64::to_ne_bytes).concat();
        [&words[..], &longs, rest].concat()
    }

    fn capability(id: u16, next: u32, areas: &[(u64, u64)]) -> Vec<u8> {
        let mut bytes = [id.to_ne_bytes(), 1_u16.to_ne_bytes()].concat();
        bytes.extend(next.to_ne_bytes());
        bytes.extend(u32::try_from(areas.len()).unwrap_or(0).to_ne_bytes());
        bytes.extend([0; 4]);
        for (offset, size) in areas {
            bytes.extend(offset.to_ne_bytes());
            bytes.extend(size.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn what_can_be_mapped_is_all_or_what_is_listed() {
        let whole = described(&info(7, 0, 0x3000, &[])).expect("a region");
        assert_eq!(whole.parts, [RegionPart { offset: 0, size: 0x3000 }]);
        assert_eq!(
            (whole.file_offset, whole.is_readable, whole.is_writable),
            (2 << 40, true, true)
        );
        let trapped = described(&info(3, 0, 0x3000, &[])).expect("a region");
        assert!(trapped.parts.is_empty());
        // `VFIO_REGION_INFO_CAP_MSIX_MAPPABLE` comes first, and says nothing of parts.
        let chain = [capability(3, 48, &[]), capability(1, 0, &[(0, 0x1000), (0x2000, 0x1000)])];
        let listed = described(&info(15, 32, 0x3000, &chain.concat())).expect("a region");
        assert_eq!(listed.parts[1], RegionPart { offset: 0x2000, size: 0x1000 });
        let mappable = described(&info(15, 32, 0x3000, &capability(3, 0, &[])));
        assert_eq!(mappable.expect("a region").parts.len(), 1);
        assert_eq!(described(&info(0, 0, 0, &[])).expect("nothing").length, 0);
    }

    #[test]
    fn what_leads_nowhere_is_not_followed() {
        let outside = capability(1, 0, &[(0x2000, 0x2000)]);
        assert_eq!(described(&info(15, 32, 0x3000, &outside)), None, "a part beyond the end");
        assert_eq!(described(&info(15, 32, 0x3000, &capability(3, 32, &[]))), None, "a circle");
        assert_eq!(described(&info(15, 9000, 0x3000, &[])), None, "outside");
        let mut short = capability(1, 0, &[(0, 0x1000)]);
        short[8] = 2;
        assert_eq!(described(&info(15, 32, 0x3000, &short)), None, "fewer than it says");
        assert_eq!(described(&info(7, 0, u64::MAX, &[])), None, "longer than a file");
        let whole = info(15, 32, 0x3000, &capability(1, 0, &[(0, 0x1000)]));
        for length in 0..whole.len() {
            let _ = described(&whole[..length]);
        }
    }
}
