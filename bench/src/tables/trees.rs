//! Peers that keep mappings in trees of ranges: the standard library's, `rangemap`'s, vm-memory's.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use anyhow::Result;
use rangemap::RangeMap;
use vm_memory::{GuestAddress, Permissions};

use super::Subject;

const PAGE: u64 = 0x1000;

/// A `BTreeMap` from the first address to the length, the target and the rights.
pub(crate) struct Tree(BTreeMap<u64, (u64, u64, bool)>);

impl Subject for Tree {
    const NAME: &'static str = "BTreeMap";

    fn new(_: u64) -> Result<Self> {
        Ok(Self(BTreeMap::new()))
    }

    #[inline]
    fn map(&mut self, page: u64, frame: u64) {
        let first = page * PAGE;
        let before = self.0.range(..first + PAGE).next_back();
        let is_free = before.is_none_or(|(start, (length, ..))| start + length <= first);
        assert!(is_free, "nothing is mapped there");
        self.0.insert(first, (PAGE, frame * PAGE, true));
    }

    #[inline]
    fn lookup(&mut self, page: u64) -> Option<u64> {
        let wanted = page * PAGE;
        let (start, (length, target, writes)) = self.0.range(..=wanted).next_back()?;
        (*writes && wanted < start + length).then(|| (target + (wanted - start)) / PAGE)
    }

    #[inline]
    fn unmap(&mut self, page: u64) {
        assert!(self.0.remove(&(page * PAGE)).is_some(), "it is mapped");
    }
}

/// A `rangemap::RangeMap` to the distance and the rights.
pub(super) struct Ranges(RangeMap<u64, (u64, bool)>);

impl Subject for Ranges {
    const NAME: &'static str = "rangemap";

    fn new(_: u64) -> Result<Self> {
        Ok(Self(RangeMap::new()))
    }

    #[inline]
    fn map(&mut self, page: u64, frame: u64) {
        let first = page * PAGE;
        let range = first..first + PAGE;
        assert!(!self.0.overlaps(&range), "nothing is mapped there");
        self.0.insert(range, ((frame * PAGE).wrapping_sub(first), true));
    }

    #[inline]
    fn lookup(&mut self, page: u64) -> Option<u64> {
        let wanted = page * PAGE;
        let (distance, writes) = self.0.get(&wanted)?;
        writes.then(|| wanted.wrapping_add(*distance) / PAGE)
    }

    #[inline]
    fn unmap(&mut self, page: u64) {
        let first = page * PAGE;
        self.0.remove(first..first + PAGE);
    }
}

/// vm-memory's `Iotlb`.
pub(super) struct Iotlb(vm_memory::Iotlb);

impl Subject for Iotlb {
    const NAME: &'static str = "vm-memory Iotlb";

    fn new(_: u64) -> Result<Self> {
        Ok(Self(vm_memory::Iotlb::new()))
    }

    #[inline]
    fn map(&mut self, page: u64, frame: u64) {
        let (from, to) = (GuestAddress(page * PAGE), GuestAddress(frame * PAGE));
        let mapped = self.0.set_mapping(from, to, 0x1000, Permissions::ReadWrite);
        mapped.expect("it does not wrap");
    }

    #[inline]
    fn lookup(&mut self, page: u64) -> Option<u64> {
        found(&self.0, page)
    }

    #[inline]
    fn unmap(&mut self, page: u64) {
        self.0.invalidate_mapping(GuestAddress(page * PAGE), 0x1000);
    }
}

#[inline]
fn found(iotlb: &vm_memory::Iotlb, page: u64) -> Option<u64> {
    let wanted = GuestAddress(page * PAGE);
    let mut ranges = vm_memory::Iotlb::lookup(iotlb, wanted, 1, Permissions::Write).ok()?;
    ranges.next().map(|range| range.base.0 / PAGE)
}

/// The same behind the lock that lets others read it.
pub(super) struct LockedIotlb(RwLock<Iotlb>);

impl Subject for LockedIotlb {
    const NAME: &'static str = "locked Iotlb";

    fn new(pages: u64) -> Result<Self> {
        Ok(Self(RwLock::new(Iotlb::new(pages)?)))
    }

    fn map(&mut self, page: u64, frame: u64) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).map(page, frame);
    }

    #[inline]
    fn lookup(&mut self, page: u64) -> Option<u64> {
        found(&self.0.read().unwrap_or_else(PoisonError::into_inner).0, page)
    }

    fn unmap(&mut self, page: u64) {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).unmap(page);
    }
}
