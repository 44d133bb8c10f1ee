//! Memory another process can write while we look at it.
//!
//! An [`Area`] is a piece of a shared mapping. It is only ever read by copying out, once, and
//! written by copying in; no reference into it exists, so nothing that was checked can change
//! after the check. All pointers stay inside `vm-memory`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vm_memory::{Bytes, MmapRegion, VolatileMemory, VolatileSlice};

/// `length` bytes of a shared mapping, which lives as long as any area of it.
#[derive(Clone, Debug)]
pub(crate) struct Area {
    mapping: Arc<MmapRegion<()>>,
    offset: usize,
    length: usize,
}

impl Area {
    /// The whole of a mapping.
    pub(crate) fn whole(mapping: Arc<MmapRegion<()>>) -> Self {
        let length = mapping.size();
        Self { mapping, offset: 0, length }
    }

    /// `length` bytes of this area from `offset`, or `None` when they are not all within it.
    pub(crate) fn part(&self, offset: usize, length: usize) -> Option<Self> {
        if offset.checked_add(length)? > self.length {
            return None;
        }
        let offset = self.offset.checked_add(offset)?;
        Some(Self { mapping: Arc::clone(&self.mapping), offset, length })
    }

    /// How many bytes the area has.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Whether the area's first byte lies on a multiple of `alignment` in this process.
    pub(crate) fn is_aligned(&self, alignment: usize) -> bool {
        // A mapping starts on a page, so the offset alone decides for anything up to a page.
        self.offset.is_multiple_of(alignment)
    }

    fn slice(&self, offset: usize, length: usize) -> VolatileSlice<'_> {
        #[cfg(feature = "fuzzing")]
        crate::fuzzing::between_accesses();
        let end = offset.checked_add(length).expect("offsets within an area do not overflow");
        assert!(end <= self.length, "access at {offset}+{length} of an area of {}", self.length);
        self.mapping
            .get_slice(self.offset + offset, length)
            .expect("an area lies within its mapping")
    }

    /// Copies `into.len()` bytes out.
    ///
    /// # Panics
    ///
    /// When they are not all within the area: the caller checked, or has a bug. So for the others.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) {
        self.slice(offset, into.len()).copy_to(into);
    }

    /// Copies `bytes` in.
    pub(crate) fn write(&self, offset: usize, bytes: &[u8]) {
        self.slice(offset, bytes.len()).copy_from(bytes);
    }

    /// Copies `length` bytes from here to another area.
    pub(crate) fn copy_to(&self, offset: usize, to: &Self, to_offset: usize, length: usize) {
        self.slice(offset, length).copy_to_volatile_slice(to.slice(to_offset, length));
    }

    /// Fills the area with zeroes.
    pub(crate) fn clear(&self) {
        const ZEROES: [u8; 4096] = [0; 4096];
        let mut offset = 0;
        while offset < self.length {
            let length = ZEROES.len().min(self.length - offset);
            self.write(offset, &ZEROES[..length]);
            offset += length;
        }
    }

    /// Loads a little-endian `u16` in one access.
    pub(crate) fn load_u16(&self, offset: usize, ordering: Ordering) -> u16 {
        let raw = self.slice(offset, 2).load::<u16>(0, ordering);
        u16::from_le(raw.expect("rings are aligned and within their area"))
    }

    /// Stores a little-endian `u16` in one access.
    pub(crate) fn store_u16(&self, offset: usize, value: u16, ordering: Ordering) {
        let stored = self.slice(offset, 2).store(value.to_le(), 0, ordering);
        stored.expect("rings are aligned and within their area");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(length: usize) -> Area {
        Area::whole(Arc::new(MmapRegion::new(length).expect("anonymous memory maps")))
    }

    #[test]
    fn a_part_ends_where_its_whole_ends() {
        let whole = area(4096);
        assert!(whole.part(4096, 0).is_some());
        assert!(whole.part(4095, 1).is_some());
        assert!(whole.part(4095, 2).is_none());
        assert!(whole.part(usize::MAX, 2).is_none());
        let part = whole.part(16, 32).expect("within");
        assert!(part.part(31, 2).is_none());
    }

    #[test]
    fn bytes_and_numbers_round_trip() {
        let whole = area(4096);
        let part = whole.part(64, 64).expect("within");
        part.write(2, b"ringfence");
        let mut bytes = [0; 9];
        whole.read(66, &mut bytes);
        assert_eq!(&bytes, b"ringfence");
        part.store_u16(0, 0x1234, Ordering::Release);
        whole.read(64, &mut bytes[..2]);
        assert_eq!(bytes[..2], [0x34, 0x12]);
        part.copy_to(0, &whole, 4000, 8);
        assert_eq!(whole.load_u16(4000, Ordering::Acquire), 0x1234);
        part.clear();
        assert_eq!(part.load_u16(0, Ordering::Acquire), 0);
        assert_eq!(whole.load_u16(4000, Ordering::Acquire), 0x1234);
    }

    #[test]
    #[should_panic(expected = "of an area of 64")]
    fn an_access_past_the_end_panics() {
        area(4096).part(0, 64).expect("within").write(60, &[0; 5]);
    }
}
