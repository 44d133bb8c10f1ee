//! The only memory an untrusted backend can see.
//!
//! A memory file of our own, sealed against shrinking, growing and further seals, and against
//! being executed. The backend is told one region of "guest memory": this file, at a made-up
//! address. It holds the rings the backend sees and a bounce buffer for every request in flight;
//! it is made new for every connection of a VMM, so nothing of a former one is left in it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ringfence_addr::{Address, Iova, Span};
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use vm_memory::{FileOffset, MmapRegion};

use crate::guards::{Guard, Guards};
use crate::pages::{PAGE_BYTES, Pages, Run};
use crate::refusals::BAD_WINDOW;
use crate::shared::Area;

/// The smallest window that makes sense, in bytes.
pub const WINDOW_BYTES_MIN: u64 = 1 << 20;
/// The largest window, in bytes.
pub const WINDOW_BYTES_MAX: u64 = 1 << 36;
/// What a window has when nothing is said: enough for a disk with 128 large requests in flight.
pub const WINDOW_BYTES_DEFAULT: u64 = 64 << 20;

/// Where the window begins for the backend. Any address would do; this one is easy to tell from
/// a guest's in a trace.
const FIRST: Iova = Iova::new(0x1000_0000_0000);

/// What the backend is told as the VMM's address of it. It tells nothing of any process here.
/// Invariant `no-addresses`.
const USER_FIRST: u64 = 0x2000_0000_0000;

/// The window of one device.
#[derive(Debug)]
pub(crate) struct Window {
    file: OwnedFd,
    area: Area,
    span: Span<Iova>,
    /// The same place as the backend is told it of the VMM.
    user_first: u64,
    /// The first eighth, for rings: they come and go while buffers are in use, and must not break
    /// up the room for large requests.
    rings: Pages,
    /// The rest, for buffers.
    buffers: Pages,
}

impl Window {
    /// A new window of `bytes`, rounded up to whole pages, for `queues` queues.
    pub(crate) fn new(bytes: u64, queues: usize, guards: Guards) -> Result<Self, Failure> {
        check_size(bytes)?;
        let bytes = bytes.next_multiple_of(PAGE_BYTES as u64);
        let file =
            file_for(bytes, guards).map_err(|errno| Fault::new("create", "a window", errno))?;
        rustix::fs::ftruncate(&file, bytes)
            .map_err(|errno| Fault::new("size", "a window", errno))?;
        // Invariant `window-only`: what it is when it is handed over it stays.
        if guards.stands(Guard::Seals) && guards.stands(Guard::OwnWindow) {
            rustix::fs::fcntl_add_seals(
                &file,
                SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL,
            )
            .map_err(|errno| Fault::new("seal", "a window", errno))?;
        }
        let mapped = file
            .try_clone()
            .map_err(|error| Fault::new("duplicate the descriptor of", "a window", error))?;
        let length = usize::try_from(bytes).expect("a window fits this machine's addresses");
        let mapping = MmapRegion::from_file(FileOffset::new(mapped.into(), 0), length)
            .map_err(|error| Fault::new("map", "a window", std::io::Error::other(error)))?;
        let pages = u32::try_from(length / PAGE_BYTES).expect("a window has fewer pages");
        let ring_pages = pages / 8;
        #[cfg(feature = "unguarded")]
        let user_first =
            if guards.stands(Guard::Addresses) { USER_FIRST } else { mapping.as_ptr() as u64 };
        #[cfg(not(feature = "unguarded"))]
        let user_first = USER_FIRST;
        Ok(Self {
            file,
            area: Area::whole(Arc::new(mapping)),
            user_first,
            span: Span::from_parts(FIRST, bytes).expect("a window fits above its first address"),
            rings: Pages::new(ring_pages, queues),
            buffers: Pages::new(pages - ring_pages, queues),
        })
    }

    /// The file to hand to the backend.
    pub(crate) fn file(&self) -> &OwnedFd {
        &self.file
    }

    /// Where the window is for the backend.
    pub(crate) fn span(&self) -> Span<Iova> {
        self.span
    }

    /// What the backend is told as the VMM's address of `address`.
    pub(crate) fn user_address(&self, address: Iova) -> u64 {
        let offset = self.span.offset_of(address).expect("an address of the window");
        self.user_first + offset
    }

    /// Which file this is, to tell whether a peer names it as guest memory.
    pub(crate) fn identity(&self) -> Result<(u64, u64), Fault> {
        identity(&self.file).map_err(|errno| Fault::new("look at", "a window", errno))
    }

    /// Opens a queue: takes the pages of its ring and keeps a share of the buffers for it.
    pub(crate) fn open_queue(&mut self, queue: usize, ring_pages: u32) -> Result<Run, Refusal> {
        let Some(run) = self.rings.take(queue, ring_pages) else {
            // It is refused, and does not wait.
            self.rings.set_open(queue, false);
            let detail = format!(
                "the ring of queue {queue} takes {ring_pages} pages, which a window of {} bytes has no room for",
                self.area.length()
            );
            return Err(Refusal::new(&BAD_WINDOW, detail));
        };
        self.buffers.set_open(queue, true);
        Ok(run)
    }

    /// Closes a queue, whose buffers were given back before.
    pub(crate) fn close_queue(&mut self, queue: usize, ring: Run) {
        self.rings.give_back(queue, ring);
        self.buffers.set_open(queue, false);
    }

    /// Takes pages for a request of `queue`; `None` means wait.
    pub(crate) fn take(&mut self, queue: usize, count: u32) -> Option<Run> {
        let run = self.buffers.take(queue, count)?;
        Some(Run { first: run.first + self.rings.total(), count: run.count })
    }

    /// Gives the pages of a request back.
    pub(crate) fn give_back(&mut self, queue: usize, run: Run) {
        let first = run.first - self.rings.total();
        self.buffers.give_back(queue, Run { first, count: run.count });
    }

    /// The most pages one request can have.
    pub(crate) fn most_for_one_request(&self) -> u32 {
        self.buffers.most_for_one_queue()
    }

    /// Bytes in all.
    pub(crate) fn bytes(&self) -> u64 {
        self.area.length() as u64
    }

    /// Bytes in use.
    pub(crate) fn used_bytes(&self) -> u64 {
        u64::from(self.rings.used() + self.buffers.used()) * PAGE_BYTES as u64
    }

    /// The memory of a run.
    pub(crate) fn area_of(&self, run: Run) -> Area {
        let length = run.count as usize * PAGE_BYTES;
        self.area.part(offset_of(run), length).expect("a run lies in the window")
    }

    /// Where a run is for the backend.
    pub(crate) fn address_of(&self, run: Run) -> Iova {
        let offset = offset_of(run) as u64;
        self.span.first().checked_add(offset).expect("a run lies in the window")
    }

    /// The whole window's memory, for copies by offset.
    pub(crate) fn area(&self) -> &Area {
        &self.area
    }
}

/// Where a run begins in the window.
pub(crate) fn offset_of(run: Run) -> usize {
    run.first as usize * PAGE_BYTES
}

/// Whether a window of `bytes` makes sense.
///
/// # Errors
///
/// `RF0218` with the limits.
pub fn check_size(bytes: u64) -> Result<(), Refusal> {
    if (WINDOW_BYTES_MIN..=WINDOW_BYTES_MAX).contains(&bytes) {
        return Ok(());
    }
    let detail = format!("{bytes} bytes, not {WINDOW_BYTES_MIN} to {WINDOW_BYTES_MAX}");
    Err(Refusal::new(&BAD_WINDOW, detail))
}

/// A new file, which nobody else has. Invariant `apart`.
#[cfg_attr(
    not(feature = "unguarded"),
    expect(unused_variables, reason = "the same call compiles with and without the feature")
)]
fn file_for(bytes: u64, guards: Guards) -> Result<OwnedFd, Errno> {
    #[cfg(feature = "unguarded")]
    if !guards.stands(Guard::OwnWindow) {
        return the_one_of(bytes);
    }
    memory_file()
}

/// The one file for all windows of a size, for tests that show why each has its own.
#[cfg(feature = "unguarded")]
fn the_one_of(bytes: u64) -> Result<OwnedFd, Errno> {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};

    static ALL: Mutex<BTreeMap<u64, OwnedFd>> = Mutex::new(BTreeMap::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(file) = all.get(&bytes) {
        return rustix::io::fcntl_dupfd_cloexec(file, 0);
    }
    let file = memory_file()?;
    all.insert(bytes, rustix::io::fcntl_dupfd_cloexec(&file, 0)?);
    Ok(file)
}

fn memory_file() -> Result<OwnedFd, Errno> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create("ringfence-window", flags | MemfdFlags::NOEXEC_SEAL) {
        // Kernels before 6.3 do not know the flag that seals against execution.
        Err(Errno::INVAL) => rustix::fs::memfd_create("ringfence-window", flags),
        made => made,
    }
}

/// Device and inode of an open file.
pub(crate) fn identity(file: impl AsFd) -> Result<(u64, u64), Errno> {
    let status = rustix::fs::fstat(file)?;
    Ok((status.st_dev, status.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_sealed_as_it_says() {
        let window = Window::new(WINDOW_BYTES_MIN, 1, Guards::default()).expect("a window");
        let seals = rustix::fs::fcntl_get_seals(window.file()).expect("seals");
        assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL));
        assert!(rustix::fs::ftruncate(window.file(), 0).is_err());
        assert!(rustix::fs::ftruncate(window.file(), WINDOW_BYTES_MIN * 2).is_err());
    }

    #[test]
    fn a_window_without_sense_is_refused() {
        for bytes in [0, WINDOW_BYTES_MIN - 1, WINDOW_BYTES_MAX + 1, u64::MAX] {
            let Err(Failure::Refused(refusal)) = Window::new(bytes, 1, Guards::default()) else {
                panic!("a window of {bytes} bytes");
            };
            assert_eq!(refusal.code().number, BAD_WINDOW.number);
        }
    }

    #[test]
    fn odd_sizes_are_rounded_up_to_pages() {
        let window = Window::new(WINDOW_BYTES_MIN + 1, 1, Guards::default()).expect("a window");
        assert_eq!(window.span().length(), u128::from(WINDOW_BYTES_MIN) + 4096);
    }
}
