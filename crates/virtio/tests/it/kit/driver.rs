//! The guest's driver of one queue: a split ring in guest memory, written without any check.

use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use super::frontend::{GPA, UVA};
use super::memory::Memory;
use super::{PATIENCE, eventfd, signal, until, wait_for_signal};

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// A buffer as a descriptor names it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) writable: bool,
}

/// A device-readable buffer at an offset of guest memory.
pub(crate) fn from_guest(at: usize, length: usize) -> Buffer {
    Buffer { address: GPA + at as u64, length: length.try_into().expect("short"), writable: false }
}

/// A device-writable buffer at an offset of guest memory.
pub(crate) fn to_guest(at: usize, length: usize) -> Buffer {
    Buffer { writable: true, ..from_guest(at, length) }
}

/// One queue.
pub(crate) struct Driver {
    pub(crate) memory: Memory,
    /// Where the ring's parts begin in guest memory.
    pub(crate) descriptors: usize,
    pub(crate) available: usize,
    pub(crate) used: usize,
    pub(crate) size: u16,
    pub(crate) event_index: bool,
    pub(crate) next_available: u16,
    published: u16,
    pub(crate) last_used: u16,
    pub(crate) kick: OwnedFd,
    pub(crate) call: OwnedFd,
    pub(crate) error: OwnedFd,
}

impl Driver {
    /// A zeroed ring of `size` at an offset of guest memory; it takes less than 32 bytes an entry.
    pub(crate) fn new(memory: &Memory, at: usize, size: u16) -> Self {
        let descriptors = at;
        let available = descriptors + usize::from(size) * 16;
        let used = (available + 6 + usize::from(size) * 2).next_multiple_of(4);
        let end = used + 6 + usize::from(size) * 8;
        memory.write(at, &vec![0; end - at]);
        Self {
            memory: memory.clone(),
            descriptors,
            available,
            used,
            size,
            event_index: false,
            next_available: 0,
            published: 0,
            last_used: 0,
            kick: eventfd(),
            call: eventfd(),
            error: eventfd(),
        }
    }

    /// The same ring as a driver that reset its device sees it: empty.
    pub(crate) fn reset(&mut self) {
        let fresh = Self::new(&self.memory, self.descriptors, self.size);
        *self = Self { event_index: self.event_index, ..fresh };
    }

    pub(crate) fn user(at: usize) -> u64 {
        UVA + at as u64
    }

    /// Writes one descriptor as it is.
    pub(crate) fn describe(&self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        let at = self.descriptors + usize::from(index) * 16;
        self.memory.write(at, &descriptor(address, length, flags, next));
    }

    /// Chains buffers in descriptors from `first` on.
    pub(crate) fn chain(&self, first: u16, buffers: &[Buffer]) -> u16 {
        let at = self.descriptors + usize::from(first) * 16;
        self.memory.write(at, &table(first, buffers));
        first
    }

    /// Chains buffers in an indirect table at an offset of guest memory.
    pub(crate) fn indirect(&self, index: u16, at: usize, buffers: &[Buffer]) -> u16 {
        let bytes = table(0, buffers);
        self.memory.write(at, &bytes);
        let length = bytes.len().try_into().expect("short");
        self.describe(index, GPA + at as u64, length, INDIRECT, 0);
        index
    }

    /// Enters a head in the available ring.
    pub(crate) fn offer(&mut self, head: u16) {
        let entry = usize::from(self.next_available % self.size);
        self.memory.store(self.available + 4 + entry * 2, head);
        self.next_available = self.next_available.wrapping_add(1);
    }

    /// Moves the available index to what was offered; says whether the device wants a kick.
    pub(crate) fn publish(&mut self) -> bool {
        let (old, new) = (self.published, self.next_available);
        self.memory.store(self.available + 2, new);
        self.published = new;
        fence(Ordering::SeqCst);
        if self.event_index {
            let event = self.memory.load(self.used + 4 + usize::from(self.size) * 8);
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            self.memory.load(self.used) & 1 == 0
        }
    }

    pub(crate) fn kick(&self) {
        signal(&self.kick);
    }

    /// Offers one chain and kicks in any case.
    pub(crate) fn submit(&mut self, head: u16) {
        self.offer(head);
        self.publish();
        self.kick();
    }

    /// The next completion, if there is one.
    pub(crate) fn take_used(&mut self) -> Option<(u32, u32)> {
        if self.memory.load(self.used + 2) == self.last_used {
            return None;
        }
        let entry = usize::from(self.last_used % self.size);
        let bytes = self.memory.read(self.used + 4 + entry * 8, 8);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four"));
        self.last_used = self.last_used.wrapping_add(1);
        Some((word(0), word(4)))
    }

    /// Waits for the next completion, looking at the ring.
    pub(crate) fn wait_used(&mut self) -> (u32, u32) {
        until("a completion", || self.take_used())
    }

    /// Waits for the next completion as a driver does that sleeps: by its interrupt alone.
    pub(crate) fn wait_used_asleep(&mut self) -> (u32, u32) {
        loop {
            if let Some(used) = self.take_used() {
                return used;
            }
            if self.event_index {
                self.memory.store(self.available + 4 + usize::from(self.size) * 2, self.last_used);
            }
            fence(Ordering::SeqCst);
            if self.memory.load(self.used + 2) == self.last_used {
                assert!(wait_for_signal(&self.call, PATIENCE), "an interrupt was lost");
            }
        }
    }

    /// Whether the fence said on the error descriptor that the queue stopped.
    pub(crate) fn was_stopped(&self) -> bool {
        wait_for_signal(&self.error, Duration::from_secs(2))
    }
}

fn table(first: u16, buffers: &[Buffer]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (position, buffer) in (first..).zip(buffers) {
        let last = usize::from(position - first) + 1 == buffers.len();
        let flags = if buffer.writable { WRITE } else { 0 } | if last { 0 } else { NEXT };
        let next = if last { 0 } else { position + 1 };
        bytes.extend(descriptor(buffer.address, buffer.length, flags, next));
    }
    bytes
}

fn descriptor(address: u64, length: u32, flags: u16, next: u16) -> Vec<u8> {
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes
}
