//! The memory that the ledger's journal is kept in: a sealed file without a name, which outlives us in
//! whoever else holds it.
//!
//! What is written and how it is read is `ringfence_ledger::journal`'s affair. The file cannot be made
//! shorter by anybody: whoever holds a copy reads it without care.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use ringfence_ledger::Handle;
use ringfence_ledger::journal::{Found, SLOT_BYTES, Slot, read};
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

use crate::refusals::JOURNAL_UNFIT;

/// What the file's length may be: 2^24 mappings.
const BYTES_MAX: u64 = 1 << 30;

/// What it must not be possible to do to the file.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// A journal with room for so many mappings at a time.
#[derive(Debug)]
pub struct Journal {
    file: Arc<File>,
    region: MmapRegion,
}

impl Journal {
    /// An empty one, for `mappings` at a time. Memory is taken as slots are used.
    ///
    /// # Errors
    ///
    /// `RF0913` for none or more than 2^24; the system has no such files.
    pub fn new(mappings: u32) -> Result<Self, Failure> {
        let bytes = u64::from(mappings) * SLOT_BYTES as u64;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fault = |errno: rustix::io::Errno| Fault::new("make", "a journal", errno);
        let file = memfd_create("ringfence-journal", flags).map_err(fault)?;
        rustix::fs::ftruncate(&file, bytes).map_err(fault)?;
        fcntl_add_seals(&file, SEALS).map_err(fault)?;
        Self::of(file.into())
    }

    /// One that another process, or this one in an earlier life, has written.
    ///
    /// # Errors
    ///
    /// `RF0913` when it is not sealed, or no journal by its length.
    pub fn of(file: File) -> Result<Self, Failure> {
        let fault = |error: std::io::Error| Fault::new("look at", "a journal", error);
        let bytes = file.metadata().map_err(fault)?.len();
        // What cannot be sealed is not.
        let sealed = fcntl_get_seals(&file).unwrap_or(SealFlags::empty());
        let is_whole = bytes.is_multiple_of(SLOT_BYTES as u64) && (1..=BYTES_MAX).contains(&bytes);
        if !is_whole || !sealed.contains(SEALS) {
            let seals = format!("{sealed:?}").replace("SealFlags", "");
            let detail = format!("{bytes} bytes, at most {BYTES_MAX}; sealed against{seals}");
            return Err(Refusal::new(&JOURNAL_UNFIT, detail).into());
        }
        let file = Arc::new(file);
        let length = usize::try_from(bytes).expect("at most 1 GiB");
        let region = MmapRegion::from_file(FileOffset::from_arc(Arc::clone(&file), 0), length)
            .map_err(|error| Fault::new("map", "a journal", std::io::Error::other(error)))?;
        Ok(Self { file, region })
    }

    /// The file, for whoever is to hold it, too.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Whether a mapping has a place in it.
    pub fn has_room_for(&self, handle: Handle) -> bool {
        let end = Slot::offset(handle).checked_add(SLOT_BYTES as u64);
        end.is_some_and(|end| end <= self.region.size() as u64)
    }

    /// Writes what stands in a mapping's place; what has none is not written.
    ///
    /// **Invariant:** the word with the check is written last, and is no longer there when the first of
    /// the others changes: whoever reads after a crash finds the slot before, the slot after, or none.
    pub fn write(&self, handle: Handle, slot: &Slot) {
        if !self.has_room_for(handle) {
            return;
        }
        let Ok(start) = usize::try_from(Slot::offset(handle)) else { return };
        let Ok(place) = self.region.get_slice(start, SLOT_BYTES) else { return };
        let mut words = slot.bytes().chunks_exact(8).enumerate();
        let Some((_, first)) = words.next() else { return };
        let store = |index: usize, bytes: &[u8]| {
            let word = u64::from_ne_bytes(bytes.try_into().unwrap_or_default());
            // It is in the file: only an address outside of it could fail.
            let _inside = place.store(word, index * 8, Ordering::Release);
        };
        store(0, &[0; 8]);
        fence(Ordering::Release);
        for (index, bytes) in words {
            store(index, bytes);
        }
        store(0, first);
    }

    /// What stands in it.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn found(&self) -> Result<Found, Fault> {
        let fault = |error: std::io::Error| Fault::new("read", "the journal", error);
        let mut bytes = vec![0; self.region.size()];
        // What was never written takes no memory, and none to read; holes are most of it.
        let mut at = 0;
        while at < bytes.len() as u64 {
            let Ok(data) = rustix::fs::seek(&*self.file, rustix::fs::SeekFrom::Data(at)) else {
                break;
            };
            let hole = rustix::fs::seek(&*self.file, rustix::fs::SeekFrom::Hole(data))
                .map_err(|errno| fault(errno.into()))?;
            let part = usize::try_from(data).ok().zip(usize::try_from(hole).ok());
            let part = part.and_then(|(data, hole)| bytes.get_mut(data..hole));
            let Some(part) = part else { break };
            self.file.read_exact_at(part, data).map_err(fault)?;
            at = hole;
        }
        Ok(read(&bytes))
    }
}
