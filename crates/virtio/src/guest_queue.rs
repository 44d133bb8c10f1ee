//! The device's side of a split ring in guest memory.
//!
//! Virtio 1.2, sections 2.7.6 to 2.7.10. The guest's indices are read once each and are claims: how
//! far they moved is checked against the ring's size.

use std::sync::atomic::{Ordering, fence};

use ringfence_addr::{Gpa, Hva, Rights};
use ringfence_refusal::Refusal;
use virtio_bindings::virtio_ring::{VRING_AVAIL_F_NO_INTERRUPT, VRING_USED_F_NO_NOTIFY};
use zerocopy::IntoBytes;

use crate::chain::{Chain, DESCRIPTOR_BYTES, Source};
use crate::guest_memory::GuestMemory;
use crate::refusals::{BAD_AVAILABLE_INDEX, BAD_RING};
use crate::shared::Area;
use crate::threads::OneThread;

/// The largest split ring virtio has.
const RING_SIZE_MAX: u16 = 32768;

/// Bytes before the entries of an available or used ring: flags and index.
pub(crate) const RING_HEADER_BYTES: usize = 4;
/// Offset of the index in either ring.
pub(crate) const RING_INDEX: usize = 2;
/// Bytes of an entry of the used ring.
pub(crate) const USED_ENTRY_BYTES: usize = 8;

/// Where a part of a ring is, as whoever set it up says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RingAddress {
    /// A VMM says it, in its own addresses.
    Vmm(Hva),
    /// A guest says it.
    Guest(Gpa),
}

impl From<Hva> for RingAddress {
    fn from(address: Hva) -> Self {
        Self::Vmm(address)
    }
}

/// Where the parts of a ring are said to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingAddresses {
    pub(crate) descriptors: RingAddress,
    pub(crate) available: RingAddress,
    pub(crate) used: RingAddress,
}

/// Bytes of the available ring of `size` entries, with the event index after it.
pub(crate) fn available_bytes(size: u16) -> usize {
    RING_HEADER_BYTES + usize::from(size) * 2 + 2
}

/// Bytes of the used ring of `size` entries, with the event index after it.
pub(crate) fn used_bytes(size: u16) -> usize {
    RING_HEADER_BYTES + usize::from(size) * USED_ENTRY_BYTES + 2
}

/// Virtio 1.2, section 2.7.7.1: whether moving from `old` to `new` passes `event`.
pub(crate) fn passes(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// The three parts of a ring, each checked and mapped.
#[derive(Debug)]
struct Parts {
    descriptors: Area,
    available: Area,
    used: Area,
}

impl Parts {
    fn of(memory: &GuestMemory, at: RingAddresses, size: u16) -> Result<Self, Refusal> {
        let table = usize::from(size) * DESCRIPTOR_BYTES;
        let parts = Self {
            descriptors: memory.ring(at.descriptors, table, Rights::READ, "descriptor table")?,
            available: memory.ring(
                at.available,
                available_bytes(size),
                Rights::READ,
                "available ring",
            )?,
            used: memory.ring(at.used, used_bytes(size), Rights::READ_WRITE, "used ring")?,
        };
        for (area, alignment, what) in [
            (&parts.descriptors, 16, "descriptor table"),
            (&parts.available, 2, "available ring"),
            (&parts.used, 4, "used ring"),
        ] {
            if !area.is_aligned(alignment) {
                let detail = format!("{what} is not aligned to {alignment} bytes");
                return Err(Refusal::new(&BAD_RING, detail));
            }
        }
        Ok(parts)
    }
}

/// One queue of the guest's, seen as its device.
#[derive(Debug)]
pub(crate) struct GuestQueue {
    size: u16,
    at: RingAddresses,
    parts: Parts,
    event_index: bool,
    indirect: bool,
    next_available: u16,
    next_used: u16,
    published_used: u16,
    _alone: OneThread,
}

impl GuestQueue {
    /// Takes up a ring of `size` entries where the guest left it: `base` is the next entry of the
    /// available ring, as the VMM says.
    pub(crate) fn new(
        memory: &GuestMemory,
        at: RingAddresses,
        size: u16,
        base: u16,
        event_index: bool,
        indirect: bool,
    ) -> Result<Self, Refusal> {
        check_size(size)?;
        let parts = Parts::of(memory, at, size)?;
        // The used index lives in the ring; a device that takes over goes on from there.
        let next_used = parts.used.load_u16(RING_INDEX, Ordering::Acquire);
        Ok(Self {
            size,
            at,
            parts,
            event_index,
            indirect,
            next_available: base,
            next_used,
            published_used: next_used,
            _alone: OneThread::default(),
        })
    }

    /// Finds the ring again after the guest's memory was named anew.
    pub(crate) fn remap(&mut self, memory: &GuestMemory) -> Result<(), Refusal> {
        self.parts = Parts::of(memory, self.at, self.size)?;
        Ok(())
    }

    /// Entries of the ring.
    pub(crate) fn size(&self) -> u16 {
        self.size
    }

    /// The next entry of the available ring that would be taken.
    pub(crate) fn next_available(&self) -> u16 {
        self.next_available
    }

    /// How many chains the guest has published that were not taken.
    pub(crate) fn waiting(&self) -> Result<u16, Refusal> {
        let index = self.parts.available.load_u16(RING_INDEX, Ordering::Acquire);
        let waiting = index.wrapping_sub(self.next_available);
        if waiting > self.size {
            let detail = format!(
                "from {} to {index}, {waiting} requests in a ring of {}",
                self.next_available, self.size
            );
            return Err(Refusal::new(&BAD_AVAILABLE_INDEX, detail));
        }
        Ok(waiting)
    }

    /// Takes the next published chain into `chain`. The caller saw that one is waiting.
    pub(crate) fn take(&mut self, memory: &GuestMemory, chain: &mut Chain) -> Result<(), Refusal> {
        let entry = usize::from(self.next_available % self.size);
        let head = self.parts.available.load_u16(RING_HEADER_BYTES + entry * 2, Ordering::Relaxed);
        self.read_chain(memory, head, chain)?;
        chain.position = self.next_available;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(())
    }

    /// Leaves the chain that was taken last in the ring, to be taken again.
    pub(crate) fn put_back(&mut self) {
        self.next_available = self.next_available.wrapping_sub(1);
    }

    /// Reads the chain that starts at `head` as it stands now.
    pub(crate) fn read_chain(
        &self,
        memory: &GuestMemory,
        head: u16,
        chain: &mut Chain,
    ) -> Result<(), Refusal> {
        let source = Source {
            table: &self.parts.descriptors,
            size: self.size,
            indirect: self.indirect,
            memory,
        };
        chain.read(&source, head)
    }

    /// Enters a completed chain in the used ring; [`GuestQueue::publish`] shows it to the guest.
    pub(crate) fn complete(&mut self, head: u16, length: u32) {
        let entry = usize::from(self.next_used % self.size);
        let used = [u32::from(head).to_le(), length.to_le()];
        self.parts.used.write(RING_HEADER_BYTES + entry * USED_ENTRY_BYTES, used.as_bytes());
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Shows what was completed to the guest; says whether it wants to be interrupted for it.
    pub(crate) fn publish(&mut self) -> bool {
        let (old, new) = (self.published_used, self.next_used);
        if old == new {
            return false;
        }
        self.parts.used.store_u16(RING_INDEX, new, Ordering::Release);
        self.published_used = new;
        // The guest looks at the index after it says what it waits for; we look the other way
        // round, so one of the two sees the other's.
        fence(Ordering::SeqCst);
        if self.event_index {
            let at = RING_HEADER_BYTES + usize::from(self.size) * 2;
            passes(self.parts.available.load_u16(at, Ordering::Relaxed), new, old)
        } else {
            let flags = self.parts.available.load_u16(0, Ordering::Relaxed);
            u32::from(flags) & VRING_AVAIL_F_NO_INTERRUPT == 0
        }
    }

    /// Asks the guest not to kick.
    pub(crate) fn suppress_kicks(&mut self) {
        // With event indices, an event that stays behind is never passed again.
        if !self.event_index {
            self.set_used_flags(VRING_USED_F_NO_NOTIFY);
        }
    }

    /// Asks the guest to kick for the next chain. Whoever goes to sleep looks at the ring once
    /// more after this.
    pub(crate) fn want_kicks(&mut self) {
        if self.event_index {
            let at = RING_HEADER_BYTES + usize::from(self.size) * USED_ENTRY_BYTES;
            self.parts.used.store_u16(at, self.next_available, Ordering::Relaxed);
        } else {
            self.set_used_flags(0);
        }
        fence(Ordering::SeqCst);
    }

    fn set_used_flags(&mut self, flags: u32) {
        let flags = u16::try_from(flags).expect("flags of a ring have 16 bits");
        self.parts.used.store_u16(0, flags, Ordering::Relaxed);
    }
}

/// Whether a ring may have `size` entries.
pub(crate) fn check_size(size: u16) -> Result<(), Refusal> {
    if size.is_power_of_two() && size <= RING_SIZE_MAX {
        return Ok(());
    }
    let detail = format!("{size} entries, not a power of two up to {RING_SIZE_MAX}");
    Err(Refusal::new(&BAD_RING, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_passed_exactly_when_it_lies_in_the_step() {
        for old in [0u16, 1, 0x7fff, 0xfff0, 0xffff] {
            for step in 0..40u16 {
                let new = old.wrapping_add(step);
                for offset in 0..80u16 {
                    let event = old.wrapping_sub(20).wrapping_add(offset);
                    // By the plain meaning: one of the entries old, old+1, … new-1 is the event.
                    let plain = (0..step).any(|each| old.wrapping_add(each) == event);
                    assert_eq!(passes(event, new, old), plain, "{event} in {old}..{new}");
                }
            }
        }
    }

    #[test]
    fn ring_sizes_are_powers_of_two() {
        for size in [1, 2, 128, 32768] {
            assert!(check_size(size).is_ok(), "{size}");
        }
        for size in [0, 3, 127, 32769, 65535] {
            assert!(check_size(size).is_err(), "{size}");
        }
    }
}
