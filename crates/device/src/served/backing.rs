//! Memory of a guest as a VMM brings it: a file of memory, and nothing else.
//!
//! The file is the VMM's, which may make it shorter, or leave it empty, at any time. Nothing here reads or
//! writes it; the kernel pins what it maps, and answers `EFAULT` for what is not there. What was pinned
//! before stays where it is for the function, and is no longer the VMM's: its own loss.

use std::fs::File;
use std::os::fd::OwnedFd;

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::fs::{SealFlags, fcntl_get_seals, fstat, fstatfs};

use crate::refusals::NOT_MEMORY;

/// `TMPFS_MAGIC` and `HUGETLBFS_MAGIC` of `linux/magic.h`: where files of memory live, memfds included.
const MEMORY_FILES: [u64; 2] = [0x0102_1994, 0x9584_58f6];

/// A file of memory.
#[derive(Debug)]
pub struct SharedMemory {
    file: File,
    file_offset: u64,
    identity: (u64, u64),
    is_sealed: bool,
}

impl SharedMemory {
    /// Takes what a client sent for memory. A disk's file, a pipe, a file of somebody's own file system,
    /// which could keep the kernel waiting, and memory of a device, which is not mapped for another one,
    /// are none.
    ///
    /// # Errors
    ///
    /// `RF0726` for what is no file of memory; a fault when it cannot be told.
    pub fn new(descriptor: OwnedFd, file_offset: u64) -> Result<Self, Failure> {
        let fault = |errno| Fault::new("look at", "a descriptor of guest memory", errno);
        let system = fstatfs(&descriptor).map_err(fault)?;
        let found = fstat(&descriptor).map_err(fault)?;
        let kind = u64::try_from(system.f_type).unwrap_or(0);
        let is_regular = rustix::fs::FileType::from_raw_mode(found.st_mode).is_file();
        if !MEMORY_FILES.contains(&kind) || !is_regular {
            let what = if is_regular { "a file" } else { "what is no ordinary file," };
            let detail = format!("{what} in a file system of type {kind:#x}");
            return Err(Refusal::new(&NOT_MEMORY, detail).into());
        }
        // One that cannot be sealed is not.
        let seals = fcntl_get_seals(&descriptor).unwrap_or(SealFlags::empty());
        Ok(Self {
            file: descriptor.into(),
            file_offset,
            identity: (found.st_dev, found.st_ino),
            is_sealed: seals.contains(SealFlags::SHRINK),
        })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where in it the memory begins, in bytes.
    pub fn file_offset(&self) -> u64 {
        self.file_offset
    }

    /// What two descriptors of one file have in common.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Whether nobody can make it shorter.
    pub fn is_sealed(&self) -> bool {
        self.is_sealed
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};

    use super::*;

    #[test]
    fn only_files_of_memory_are_taken() {
        let memfd = memfd_create("memory", MemfdFlags::ALLOW_SEALING).expect("a memfd");
        let again = memfd.try_clone().expect("a duplicate");
        let memory = SharedMemory::new(memfd, 0x1000).expect("it is memory");
        assert!(!memory.is_sealed());
        fcntl_add_seals(&again, SealFlags::SHRINK).expect("sealed");
        let again = SharedMemory::new(again, 0).expect("it is memory");
        assert!(again.is_sealed() && again.identity() == memory.identity());
        let (pipe, _end) = rustix::pipe::pipe().expect("a pipe");
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC);
        let null = File::open("/dev/null").expect("a file").into();
        let folder = File::open("/proc/self").expect("a folder").into();
        for wrong in [pipe, event.expect("an eventfd"), null, folder] {
            let failure = SharedMemory::new(wrong, 0).expect_err("no memory");
            assert!(failure.to_string().starts_with("RF0726"), "{failure}");
        }
    }
}
