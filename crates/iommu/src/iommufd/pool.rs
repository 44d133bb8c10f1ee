//! The address space that no device uses: what all others are copied from.
//!
//! A piece of memory is in it once, whole, for as long as a domain has some of it. It lies where it lies
//! in this process: there no two pieces overlap, and each begins with a page. Nothing is pinned by its
//! being here.

use std::collections::BTreeMap;
use std::fs::File;

use ringfence_addr::{Iova, Rights, Span};
use rustix::io::Errno;
use rustix::mm::ProtFlags;

use crate::iommufd_sys::{self as sys, Ioas};
use crate::memory::Memory;

/// How the kernel was given a piece of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By its file (`IOMMU_IOAS_MAP_FILE`): what this process has at the address does not matter.
    File,
    /// By its address in this process.
    Address,
}

#[derive(Debug)]
struct Pooled {
    memory: Memory,
    way: Way,
    /// Mappings copied from it.
    copies: u64,
}

#[derive(Debug)]
pub(super) struct Pool {
    ioas: Ioas,
    /// By where each is.
    pieces: BTreeMap<u64, Pooled>,
    /// The kernel does not take files at all.
    takes_no_file: bool,
}

fn place(memory: &Memory) -> u64 {
    memory.region().as_ptr() as u64
}

impl Pool {
    pub(super) fn new(iommufd: &File) -> Result<Self, Errno> {
        let ioas = sys::allocate(iommufd)?;
        Ok(Self { ioas, pieces: BTreeMap::new(), takes_no_file: false })
    }

    pub(super) fn way(&self, memory: &Memory) -> Option<Way> {
        self.pieces.get(&place(memory)).map(|pooled| pooled.way)
    }

    /// Maps what is at `offset` of `memory` in another address space, at `span`.
    pub(super) fn copy(
        &mut self,
        iommufd: &File,
        (memory, offset): (&Memory, u64),
        to: Ioas,
        span: Span<Iova>,
        rights: Rights,
    ) -> Result<(), Errno> {
        let place = place(memory);
        let from = Iova::new(place.checked_add(offset).ok_or(Errno::OVERFLOW)?);
        if !self.pieces.contains_key(&place) {
            let way = self.give(iommufd, memory, Iova::new(place))?;
            self.pieces.insert(place, Pooled { memory: memory.clone(), way, copies: 0 });
        }
        let copied = sys::copy(iommufd, (self.ioas, from), (to, span), rights);
        if let (Ok(()), Some(pooled)) = (copied, self.pieces.get_mut(&place)) {
            pooled.copies += 1;
        } else {
            self.drop_unused(iommufd, place);
        }
        copied
    }

    /// One copy of `memory` is gone.
    pub(super) fn copy_gone(&mut self, iommufd: &File, memory: &Memory) {
        let place = place(memory);
        if let Some(pooled) = self.pieces.get_mut(&place) {
            pooled.copies = pooled.copies.saturating_sub(1);
        }
        self.drop_unused(iommufd, place);
    }

    /// Gives the kernel a piece of memory, by its file if it has one and the kernel takes it.
    fn give(&mut self, iommufd: &File, memory: &Memory, at: Iova) -> Result<Way, Errno> {
        let region = memory.region();
        // What this process may not write a device may not either.
        let may_write = u32::try_from(region.prot())
            .is_ok_and(|protection| protection & ProtFlags::WRITE.bits() != 0);
        let rights = if may_write { Rights::READ_WRITE } else { Rights::READ };
        if let (Some((file, start)), false) = (memory.file(), self.takes_no_file) {
            let part = (file, start, region.size() as u64);
            match sys::map_file(iommufd, self.ioas, at, part, rights) {
                Ok(()) => return Ok(Way::File),
                Err(Errno::NOTTY) => self.takes_no_file = true,
                // A file that is no memory file; if it is something else, that is said again below.
                Err(_) => {}
            }
        }
        sys::map(iommufd, self.ioas, at, region, rights).map(|()| Way::Address)
    }

    /// If the kernel keeps it all the same, it is pinned by nobody, and it stays here.
    fn drop_unused(&mut self, iommufd: &File, place: u64) {
        let Some(pooled) = self.pieces.get(&place).filter(|pooled| pooled.copies == 0) else {
            return;
        };
        let bytes = pooled.memory.region().size() as u64;
        let span = Span::from_parts(Iova::new(place), bytes);
        let unmapped = span.map(|span| sys::unmap(iommufd, self.ioas, span));
        if unmapped == Some(Ok(bytes)) {
            self.pieces.remove(&place);
        }
    }
}
