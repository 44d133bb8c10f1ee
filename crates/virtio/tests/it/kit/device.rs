//! The device's side of the rings in the window, driven by the test that has the backend.

use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use ringfence_virtio::wire::VringAddress;

use super::backend::{TestBackend, Window};
use super::driver::{INDIRECT, NEXT, WRITE};
use super::memory::Memory;
use super::{PATIENCE, signal, until, wait_for_signal};

/// One ring as the backend was told of it.
#[derive(Default)]
pub(crate) struct Ring {
    pub(crate) size: u16,
    pub(crate) descriptors: usize,
    pub(crate) available: usize,
    pub(crate) used: usize,
    pub(crate) next_available: u16,
    pub(crate) next_used: u16,
    pub(crate) kick: Option<OwnedFd>,
    pub(crate) call: Option<OwnedFd>,
    pub(crate) enabled: bool,
    pub(crate) event_index: bool,
    /// How often it was asked to stop.
    pub(crate) stops: u32,
    memory: Option<Memory>,
}

/// A piece of the window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) at: usize,
    pub(crate) length: usize,
}

/// A chain taken from a ring.
#[derive(Debug)]
pub(crate) struct Popped {
    pub(crate) head: u16,
    pub(crate) readable: Vec<Piece>,
    pub(crate) writable: Vec<Piece>,
}

impl Popped {
    /// Bytes of all writable pieces.
    pub(crate) fn room(&self) -> usize {
        self.writable.iter().map(|piece| piece.length).sum()
    }
}

impl Ring {
    pub(crate) fn place(&mut self, address: &VringAddress, window: &Window, event_index: bool) {
        let offset = |user: u64| usize::try_from(user - window.user).expect("in the window");
        self.descriptors = offset(address.descriptors);
        self.available = offset(address.available);
        self.used = offset(address.used);
        self.event_index = event_index;
        self.next_used = window.memory.load(self.used + 2);
        self.memory = Some(window.memory.clone());
    }

    fn memory(&self) -> &Memory {
        self.memory.as_ref().expect("the ring was placed")
    }

    fn pop(&mut self, window: &Window) -> Option<Popped> {
        let memory = self.memory.as_ref()?;
        if self.kick.is_none() || memory.load(self.available + 2) == self.next_available {
            return None;
        }
        let entry = usize::from(self.next_available % self.size);
        let head = memory.load(self.available + 4 + entry * 2);
        self.next_available = self.next_available.wrapping_add(1);
        let mut popped = Popped { head, readable: Vec::new(), writable: Vec::new() };
        popped.follow(memory, window, self.descriptors, head);
        Some(popped)
    }

    fn complete(&mut self, id: u32, length: u32) {
        let entry = usize::from(self.next_used % self.size);
        let bytes = [id.to_le_bytes(), length.to_le_bytes()].concat();
        self.memory().write(self.used + 4 + entry * 8, &bytes);
        let old = self.next_used;
        self.next_used = old.wrapping_add(1);
        self.memory().store(self.used + 2, self.next_used);
        fence(Ordering::SeqCst);
        let wanted = if self.event_index {
            let event = self.memory().load(self.available + 4 + usize::from(self.size) * 2);
            self.next_used.wrapping_sub(event).wrapping_sub(1) < 1
        } else {
            self.memory().load(self.available) & 1 == 0
        };
        if let Some(call) = self.call.as_ref().filter(|_| wanted) {
            signal(call);
        }
    }

    /// Asks for the next kick; false when there is something already.
    fn wants_kick(&self) -> bool {
        if self.event_index {
            let at = self.used + 4 + usize::from(self.size) * 8;
            self.memory().store(at, self.next_available);
        }
        fence(Ordering::SeqCst);
        self.memory().load(self.available + 2) == self.next_available
    }
}

impl Popped {
    fn follow(&mut self, memory: &Memory, window: &Window, table: usize, first: u16) {
        let mut index = first;
        loop {
            let bytes = memory.read(table + usize::from(index) * 16, 16);
            let address = u64::from_le_bytes(bytes[..8].try_into().expect("eight"));
            let length = u32::from_le_bytes(bytes[8..12].try_into().expect("four"));
            let flags = u16::from_le_bytes(bytes[12..14].try_into().expect("two"));
            let at = usize::try_from(address - window.guest).expect("in the window");
            let piece = Piece { at, length: length as usize };
            match flags {
                flags if flags & INDIRECT != 0 => return self.follow(memory, window, at, 0),
                flags if flags & WRITE != 0 => self.writable.push(piece),
                _ => self.readable.push(piece),
            }
            if flags & NEXT == 0 {
                return;
            }
            index = u16::from_le_bytes(bytes[14..].try_into().expect("two"));
        }
    }
}

impl TestBackend {
    /// The next chain of a queue, if there is one.
    pub(crate) fn pop(&self, queue: u32) -> Option<Popped> {
        let mut known = self.known();
        let window = known.window.clone()?;
        known.rings.get_mut(&queue)?.pop(&window)
    }

    /// Waits for the next chain, looking at the ring.
    pub(crate) fn wait_pop(&self, queue: u32) -> Popped {
        until("a request at the backend", || self.pop(queue))
    }

    /// Waits for the next chain as a backend does that sleeps: by its kick alone.
    pub(crate) fn wait_pop_asleep(&self, queue: u32) -> Popped {
        loop {
            if let Some(popped) = self.pop(queue) {
                return popped;
            }
            let kick = self.with_ring(queue, |ring| {
                let kick = ring.kick.as_ref().expect("the queue runs");
                ring.wants_kick().then(|| kick.try_clone().expect("a duplicate"))
            });
            if let Some(kick) = kick {
                assert!(wait_for_signal(&kick, PATIENCE), "a kick was lost");
            }
        }
    }

    pub(crate) fn with_ring<T>(&self, queue: u32, work: impl FnOnce(&mut Ring) -> T) -> T {
        work(self.known().rings.get_mut(&queue).expect("the backend knows the queue"))
    }

    pub(crate) fn read(&self, pieces: &[Piece]) -> Vec<u8> {
        let memory = self.window().memory;
        pieces.iter().flat_map(|piece| memory.read(piece.at, piece.length)).collect()
    }

    /// Writes bytes over the pieces, as far as they go.
    pub(crate) fn write(&self, pieces: &[Piece], mut bytes: &[u8]) {
        let memory = self.window().memory;
        for piece in pieces {
            let (now, rest) = bytes.split_at(bytes.len().min(piece.length));
            memory.write(piece.at, now);
            bytes = rest;
        }
    }

    /// Completes `id`, whatever that is, with `length` bytes written, allegedly.
    pub(crate) fn complete(&self, queue: u32, id: impl Into<u32>, length: usize) {
        let length = length.try_into().expect("a 32-bit length");
        self.with_ring(queue, |ring| ring.complete(id.into(), length));
    }

    /// Moves a used index without an entry, and calls.
    pub(crate) fn set_used_index(&self, queue: u32, index: u16) {
        self.with_ring(queue, |ring| {
            ring.memory().store(ring.used + 2, index);
            signal(ring.call.as_ref().expect("the queue runs"));
        });
    }

    /// What this device does when it is honest: it writes what it read, over and over, into all
    /// the room there is.
    pub(crate) fn echo(&self, queue: u32, popped: &Popped) {
        let read = self.read(&popped.readable);
        let room = popped.room();
        let bytes: Vec<u8> = read.iter().copied().cycle().take(room).collect();
        self.write(&popped.writable, &bytes);
        self.complete(queue, popped.head, bytes.len());
    }

    /// Echoes whatever is there; says how much that was.
    pub(crate) fn echo_all(&self, queue: u32) -> usize {
        std::iter::from_fn(|| self.pop(queue)).map(|popped| self.echo(queue, &popped)).count()
    }

    /// Whether no request turns up for a while.
    pub(crate) fn sees_nothing(&self, queue: u32) -> bool {
        std::thread::sleep(Duration::from_millis(20));
        self.pop(queue).is_none()
    }
}
