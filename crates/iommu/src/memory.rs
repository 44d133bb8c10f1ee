//! Memory that devices may be let at: what a domain maps, and what an owner gets back.

use std::fs::File;
use std::sync::Arc;

use ringfence_refusal::{Fault, Refusal};
use rustix::fs::{FallocateFlags, fallocate};
use vm_memory::{FileOffset, MmapRegion};

use crate::refusals::NOT_THERE;

/// What stands behind an owner's memory, as a domain is told of it.
pub trait Backing: Clone {
    /// How many bytes there are of it.
    fn bytes(&self) -> u64;

    /// Gives the system back what is in `length` bytes from `offset` on; they read as zero from here on.
    /// Only called for memory that nothing reaches.
    ///
    /// # Errors
    ///
    /// The system says no: the memory stays.
    fn discard(&self, offset: u64, length: u64) -> Result<(), Fault>;
}

/// Memory of this process or of a file, zeroed when it is made here.
///
/// It is never read or written as ordinary memory. A file's can be shortened by whoever has it: the
/// kernel then refuses to pin what is not there, and nothing of ours looks.
#[derive(Clone, Debug)]
pub struct Memory {
    region: Arc<MmapRegion>,
    file: Option<(Arc<File>, u64)>,
}

impl Memory {
    /// So many bytes of this process's own, a multiple of 4 KiB.
    ///
    /// # Errors
    ///
    /// The system has not as much.
    pub fn new(bytes: usize) -> Result<Self, Fault> {
        let region = MmapRegion::new(bytes).map_err(|error| {
            Fault::new("map", format!("{bytes} bytes of memory"), std::io::Error::other(error))
        })?;
        Ok(Self { region: Arc::new(region), file: None })
    }

    /// So many bytes of a file, from `offset` on, shared with whoever else has it: a guest's memory.
    ///
    /// # Errors
    ///
    /// The file is shorter, or cannot be mapped.
    pub fn of_file(file: File, offset: u64, bytes: usize) -> Result<Self, Fault> {
        let fault = |error| Fault::new("map", format!("{bytes} bytes of a memory file"), error);
        let file = Arc::new(file);
        let part = FileOffset::from_arc(Arc::clone(&file), offset);
        let region = MmapRegion::from_file(part, bytes)
            .map_err(|error| fault(std::io::Error::other(error)))?;
        Ok(Self { region: Arc::new(region), file: Some((file, offset)) })
    }

    /// Whether both are the same, not only alike.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.region, &other.region)
    }

    /// Where it is in this process.
    pub(crate) fn region(&self) -> &MmapRegion {
        &self.region
    }

    /// The file it is of, and where in it.
    pub fn file(&self) -> Option<(&File, u64)> {
        self.file.as_ref().map(|(file, offset)| (&**file, *offset))
    }
}

impl Backing for Memory {
    fn bytes(&self) -> u64 {
        self.region.size() as u64
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), Fault> {
        let Some((file, start)) = &self.file else {
            let error = std::io::Error::other("it is no file's");
            return Err(Fault::new("give back", "memory of this process", error));
        };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let place = start.checked_add(offset).ok_or(rustix::io::Errno::OVERFLOW);
        place
            .and_then(|place| fallocate(file, flags, place, length))
            .map_err(|errno| Fault::new("give back", format!("{length:#x} bytes"), errno))
    }
}

/// Memory by where it is: for page tables that a device walks without a kernel between.
impl Backing for ringfence_addr::Hpa {
    fn bytes(&self) -> u64 {
        (u64::MAX - self.get()).saturating_add(1)
    }

    fn discard(&self, _offset: u64, _length: u64) -> Result<(), Fault> {
        Ok(())
    }
}

/// Refuses bytes that are not all there.
pub(crate) fn check<M: Backing>(memory: &M, offset: u64, length: u64) -> Result<(), Refusal> {
    match offset.checked_add(length) {
        Some(end) if end <= memory.bytes() => Ok(()),
        _ => {
            let detail = format!("{length:#x} bytes at {offset:#x} of {:#x}", memory.bytes());
            Err(Refusal::new(&NOT_THERE, detail))
        }
    }
}
