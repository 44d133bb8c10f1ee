//! The driver's side of a split ring in the window.
//!
//! The backend can scribble over all of it at any time, so nothing in it is ever read back but two
//! things: the used index and the used entries, once each, as claims. Which descriptors are free
//! and which requests are outstanding is kept privately.

use std::sync::atomic::{Ordering, fence};

use ringfence_addr::{Address, Iova};
use ringfence_refusal::Refusal;
use virtio_bindings::virtio_ring::{VRING_AVAIL_F_NO_INTERRUPT, VRING_USED_F_NO_NOTIFY};
use zerocopy::IntoBytes;

use crate::chain::{DESCRIPTOR_BYTES, Descriptor, INDIRECT, NEXT, WRITE};
use crate::guest_queue::{
    RING_HEADER_BYTES, RING_INDEX, USED_ENTRY_BYTES, available_bytes, passes, used_bytes,
};
use crate::pages::{PAGE_BYTES, Run};
use crate::refusals::BAD_USED_INDEX;
use crate::shared::Area;
use crate::threads::OneThread;

/// A buffer in the window, as the backend is told of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WindowBuffer {
    pub(crate) address: Iova,
    pub(crate) length: u32,
    pub(crate) writable: bool,
}

/// One completion as the backend alleges it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) id: u32,
    pub(crate) length: u32,
}

/// Where the parts of the ring are for the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingLocation {
    pub(crate) descriptors: Iova,
    pub(crate) available: Iova,
    pub(crate) used: Iova,
}

/// Offsets of the parts of a ring of `size` within its pages.
#[derive(Clone, Copy)]
struct Layout {
    available: usize,
    used: usize,
    bytes: usize,
}

impl Layout {
    fn of(size: u16) -> Self {
        // The parts lie cache lines apart, so that the two sides' writes do not collide.
        let available = (usize::from(size) * DESCRIPTOR_BYTES).next_multiple_of(64);
        let used = (available + available_bytes(size)).next_multiple_of(64);
        Self { available, used, bytes: used + used_bytes(size) }
    }
}

/// How many pages a ring of `size` takes.
pub(crate) fn ring_pages(size: u16) -> u32 {
    u32::try_from(Layout::of(size).bytes.div_ceil(PAGE_BYTES)).expect("rings are small")
}

/// One queue towards the backend, seen as its driver.
#[derive(Debug)]
pub(crate) struct BackendQueue {
    size: u16,
    run: Run,
    location: RingLocation,
    descriptors: Area,
    available: Area,
    used: Area,
    event_index: bool,
    next_available: u16,
    published_available: u16,
    next_used: u16,
    /// Descriptors free to use, the one freed last on top.
    free: Vec<u16>,
    /// Per head of an outstanding request, the descriptors it holds.
    held: Vec<Vec<u16>>,
    /// Per head of an outstanding request, how many were given before it.
    before: Vec<u64>,
    given: u64,
    outstanding: u16,
    _alone: OneThread,
}

impl BackendQueue {
    /// A new, empty ring in the pages of `run`.
    pub(crate) fn new(size: u16, run: Run, area: &Area, first: Iova, event_index: bool) -> Self {
        let layout = Layout::of(size);
        area.clear();
        let part = |offset, length| area.part(offset, length).expect("the run was sized for it");
        let at = |offset: usize| first.checked_add(offset as u64).expect("within the window");
        Self {
            size,
            run,
            location: RingLocation {
                descriptors: first,
                available: at(layout.available),
                used: at(layout.used),
            },
            descriptors: part(0, usize::from(size) * DESCRIPTOR_BYTES),
            available: part(layout.available, available_bytes(size)),
            used: part(layout.used, used_bytes(size)),
            event_index,
            next_available: 0,
            published_available: 0,
            next_used: 0,
            free: (0..size).rev().collect(),
            held: vec![Vec::new(); usize::from(size)],
            before: vec![0; usize::from(size)],
            given: 0,
            outstanding: 0,
            _alone: OneThread::default(),
        }
    }

    /// The pages the ring lies in.
    pub(crate) fn run(&self) -> Run {
        self.run
    }

    /// Where the backend finds it.
    pub(crate) fn location(&self) -> RingLocation {
        self.location
    }

    /// Requests given to the backend since the ring was made, modulo 2^16.
    pub(crate) fn given(&self) -> u16 {
        self.next_available
    }

    /// Requests given and not completed.
    pub(crate) fn outstanding(&self) -> u16 {
        self.outstanding
    }

    /// How many of the `most` requests given last are outstanding, from the last one back to the
    /// first that is not.
    pub(crate) fn outstanding_last(&self, most: u16) -> u16 {
        let mut outstanding = vec![false; usize::from(most)];
        for (held, before) in self.held.iter().zip(&self.before) {
            if held.is_empty() {
                continue;
            }
            let back = usize::try_from(self.given - before - 1).unwrap_or(usize::MAX);
            if let Some(mark) = outstanding.get_mut(back) {
                *mark = true;
            }
        }
        let last = outstanding.iter().take_while(|outstanding| **outstanding).count();
        u16::try_from(last).expect("at most as many as were asked for")
    }

    /// Whether a chain of `buffers` has room.
    pub(crate) fn has_room(&self, buffers: usize, indirect: bool) -> bool {
        self.free.len() >= if indirect { 1 } else { buffers }
    }

    /// Enters a chain; [`BackendQueue::publish`] shows it to the backend. With `table`, the chain
    /// goes into an indirect table there. The caller saw that there is room.
    pub(crate) fn add(&mut self, buffers: &[WindowBuffer], table: Option<(&Area, Iova)>) -> u16 {
        let head = match table {
            Some((area, address)) => self.add_indirect(buffers, area, address),
            None => self.add_direct(buffers),
        };
        let entry = usize::from(self.next_available % self.size);
        let at = RING_HEADER_BYTES + entry * 2;
        self.available.store_u16(at, head, Ordering::Relaxed);
        self.next_available = self.next_available.wrapping_add(1);
        self.before[usize::from(head)] = self.given;
        self.given += 1;
        self.outstanding += 1;
        head
    }

    fn add_direct(&mut self, buffers: &[WindowBuffer]) -> u16 {
        let first = self.free.len() - buffers.len();
        let mut taken = self.free.split_off(first);
        taken.reverse();
        for (position, buffer) in buffers.iter().enumerate() {
            let next = taken.get(position + 1).copied();
            let at = usize::from(taken[position]) * DESCRIPTOR_BYTES;
            self.descriptors.write(at, descriptor(buffer, next).as_bytes());
        }
        let head = taken[0];
        self.held[usize::from(head)] = taken;
        head
    }

    fn add_indirect(&mut self, buffers: &[WindowBuffer], area: &Area, address: Iova) -> u16 {
        for (position, buffer) in buffers.iter().enumerate() {
            let next = (position + 1 < buffers.len())
                .then(|| u16::try_from(position + 1).expect("chains are bounded"));
            area.write(position * DESCRIPTOR_BYTES, descriptor(buffer, next).as_bytes());
        }
        let head = self.free.pop().expect("the caller saw room");
        let length = u32::try_from(buffers.len() * DESCRIPTOR_BYTES).expect("chains are bounded");
        let outer = Descriptor {
            address: address.get().to_le(),
            length: length.to_le(),
            flags: INDIRECT.to_le(),
            next: 0,
        };
        self.descriptors.write(usize::from(head) * DESCRIPTOR_BYTES, outer.as_bytes());
        self.held[usize::from(head)] = vec![head];
        head
    }

    /// Shows what was entered to the backend; says whether it wants to be kicked for it.
    pub(crate) fn publish(&mut self) -> bool {
        let (old, new) = (self.published_available, self.next_available);
        if old == new {
            return false;
        }
        self.available.store_u16(RING_INDEX, new, Ordering::Release);
        self.published_available = new;
        fence(Ordering::SeqCst);
        if self.event_index {
            let at = RING_HEADER_BYTES + usize::from(self.size) * USED_ENTRY_BYTES;
            passes(self.used.load_u16(at, Ordering::Relaxed), new, old)
        } else {
            let flags = self.used.load_u16(0, Ordering::Relaxed);
            u32::from(flags) & VRING_USED_F_NO_NOTIFY == 0
        }
    }

    /// How many completions the backend alleges that were not looked at.
    pub(crate) fn completed(&self) -> Result<u16, Refusal> {
        let index = self.used.load_u16(RING_INDEX, Ordering::Acquire);
        let completed = index.wrapping_sub(self.next_used);
        // Invariant `outstanding-once`.
        if completed > self.outstanding {
            let detail = format!(
                "from {} to {index}, {completed} completions of {} outstanding requests",
                self.next_used, self.outstanding
            );
            return Err(Refusal::new(&BAD_USED_INDEX, detail));
        }
        Ok(completed)
    }

    /// The next completion. The caller saw that there is one.
    pub(crate) fn next_completion(&mut self) -> Completion {
        let entry = usize::from(self.next_used % self.size);
        // Invariant `read-once`.
        let mut words = [0u32; 2];
        self.used.read(RING_HEADER_BYTES + entry * USED_ENTRY_BYTES, words.as_mut_bytes());
        self.next_used = self.next_used.wrapping_add(1);
        Completion { id: u32::from_le(words[0]), length: u32::from_le(words[1]) }
    }

    /// Takes a request's descriptors back; the caller saw that it is outstanding.
    pub(crate) fn release(&mut self, head: u16) {
        // Not its memory: the next request with this head brings its own, and until then a guest
        // could have one after the other hold as much as the longest chain there can be.
        self.free.extend(std::mem::take(&mut self.held[usize::from(head)]));
        self.outstanding -= 1;
    }

    /// Asks the backend not to call.
    pub(crate) fn suppress_calls(&mut self) {
        if !self.event_index {
            self.set_available_flags(VRING_AVAIL_F_NO_INTERRUPT);
        }
    }

    /// Asks the backend to call for the next completion. Whoever goes to sleep looks at the ring
    /// once more after this.
    pub(crate) fn want_calls(&mut self) {
        if self.event_index {
            let at = RING_HEADER_BYTES + usize::from(self.size) * 2;
            self.available.store_u16(at, self.next_used, Ordering::Relaxed);
        } else {
            self.set_available_flags(0);
        }
        fence(Ordering::SeqCst);
    }

    fn set_available_flags(&mut self, flags: u32) {
        let flags = u16::try_from(flags).expect("flags of a ring have 16 bits");
        self.available.store_u16(0, flags, Ordering::Relaxed);
    }
}

fn descriptor(buffer: &WindowBuffer, next: Option<u16>) -> Descriptor {
    let write = if buffer.writable { WRITE } else { 0 };
    let chained = if next.is_some() { NEXT } else { 0 };
    Descriptor {
        address: buffer.address.get().to_le(),
        length: buffer.length.to_le(),
        flags: (write | chained).to_le(),
        next: next.unwrap_or(0).to_le(),
    }
}

/// The bytes of a descriptor are copied as they are; this says that nothing is lost that way.
const _: () = assert!(size_of::<Descriptor>() == DESCRIPTOR_BYTES);

#[cfg(test)]
mod tests {
    use zerocopy::FromBytes;

    use super::*;

    #[test]
    fn the_parts_of_a_ring_do_not_overlap() {
        for size in [1u16, 2, 64, 128, 256, 1024, 32768] {
            let layout = Layout::of(size);
            assert!(layout.available >= usize::from(size) * DESCRIPTOR_BYTES);
            assert!(layout.used >= layout.available + available_bytes(size));
            assert!(layout.bytes >= layout.used + used_bytes(size));
            assert!(ring_pages(size) as usize * PAGE_BYTES >= layout.bytes);
        }
    }

    /// Long chains on one head after the other, as a guest can have it by chains of other lengths
    /// in between.
    #[test]
    fn what_was_held_is_not_kept() {
        const SIZE: u16 = 256;
        let bytes = ring_pages(SIZE) as usize * PAGE_BYTES;
        let mapping = vm_memory::MmapRegion::new(bytes).expect("anonymous memory maps");
        let area = Area::whole(std::sync::Arc::new(mapping));
        let run = Run { first: 0, count: ring_pages(SIZE) };
        let mut queue = BackendQueue::new(SIZE, run, &area, Iova::new(0x1000), false);
        let buffer = WindowBuffer { address: Iova::new(0), length: 1, writable: false };
        for length in (1..=usize::from(SIZE)).rev().chain(1..=usize::from(SIZE)) {
            let head = queue.add(&vec![buffer; length], None);
            queue.release(head);
            assert_eq!(queue.free.len(), usize::from(SIZE));
        }
        let held: usize = queue.held.iter().map(Vec::capacity).sum();
        assert!(held <= usize::from(SIZE), "room for {held} descriptors is kept");
    }

    #[test]
    fn a_descriptor_reads_back_as_written() {
        let buffer = WindowBuffer { address: Iova::new(0x1234), length: 7, writable: true };
        let bytes = descriptor(&buffer, Some(3));
        let read = Descriptor::read_from_bytes(bytes.as_bytes()).expect("as long as it is");
        assert_eq!((read.address, read.length, read.next), (0x1234, 7, 3));
        assert_eq!(read.flags, WRITE | NEXT);
    }
}
