//! An owner's memory, which the owner's process reads and writes by file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use ringfence_iommu::Memory;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};

use crate::told::{PAGE, faulted};

/// Pages of a memory file.
pub(crate) struct Owned {
    pub(crate) file: File,
    pub(crate) memory: Memory,
    pub(crate) pages: u64,
}

impl Owned {
    /// So many pages of a new file.
    pub(crate) fn new(pages: u64) -> Result<Self, String> {
        let file = memfd_create("owner", MemfdFlags::CLOEXEC).map_err(|errno| errno.to_string())?;
        ftruncate(&file, pages * PAGE).map_err(|errno| errno.to_string())?;
        Self::of(file.into(), pages)
    }

    /// So many pages of a file that somebody else has, too.
    pub(crate) fn of(file: File, pages: u64) -> Result<Self, String> {
        let bytes = usize::try_from(pages * PAGE).map_err(|error| error.to_string())?;
        let copy = file.try_clone().map_err(|error| error.to_string())?;
        let memory = Memory::of_file(copy, 0, bytes).map_err(|fault| faulted(&fault))?;
        Ok(Self { file, memory, pages })
    }

    /// What the owner reads at the start of a page.
    pub(crate) fn word(&self, page: u64) -> Result<u32, String> {
        let mut bytes = [0; 4];
        self.file.read_exact_at(&mut bytes, page * PAGE).map_err(|error| error.to_string())?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// What the owner writes there.
    pub(crate) fn set(&self, page: u64, word: u32) -> Result<(), String> {
        let bytes = word.to_le_bytes();
        self.file.write_all_at(&bytes, page * PAGE).map_err(|error| error.to_string())
    }

    /// Gives a page back to the system, as a balloon does, and asks nobody.
    pub(crate) fn punch(&self, page: u64) -> Result<(), String> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.file, flags, page * PAGE, PAGE).map_err(|errno| errno.to_string())
    }
}
