//! An honest guest's driver, which knows exactly what may change in its memory, and when.

use super::input::Input;
use super::memory::{GPA, Ram};
use crate::chain::{DESCRIPTOR_BYTES, INDIRECT, NEXT, WRITE};
use crate::guest_queue::{RING_HEADER_BYTES, RING_INDEX, USED_ENTRY_BYTES, used_bytes};

/// Entries of its ring.
pub(super) const SIZE: u16 = 16;

/// Where the parts of its ring are in the guest's memory.
pub(super) const TABLE: usize = 0;
pub(super) const AVAILABLE: usize = 0x400;
pub(super) const USED: usize = 0x800;
const TABLES: usize = 0xa00;

/// Requests there can be at a time. Each has a place of its own: bytes to read, then room for an
/// answer. One of them crosses from the first region into the second.
const SLOTS: u8 = 8;
const SLOT_FIRST: usize = 0x1200;
const SLOT_BYTES: usize = 0x800;
const HALF: usize = SLOT_BYTES / 2;

/// A piece of the guest's memory.
type Piece = (usize, usize);

/// One request that was published and not completed.
#[derive(Clone, Debug)]
struct Request {
    writable: Vec<Piece>,
}

impl Request {
    fn room(&self) -> usize {
        self.writable.iter().map(|(_, length)| length).sum()
    }
}

/// The driver.
pub(super) struct Driver {
    ram: Ram,
    slots: [Option<Request>; SLOTS as usize],
    published: u16,
    last_used: u16,
    before: Vec<u8>,
}

impl Driver {
    /// A driver whose memory is full of what it never publishes.
    pub(super) fn new(ram: Ram) -> Self {
        ram.hide(SLOT_FIRST, usize::from(SLOTS) * SLOT_BYTES);
        Self { ram, slots: Default::default(), published: 0, last_used: 0, before: Vec::new() }
    }

    /// The next entry of the available ring.
    pub(super) fn published(&self) -> u16 {
        self.published
    }

    /// Begins with an empty ring. Whatever was outstanding no longer is.
    pub(super) fn reset(&mut self) {
        self.slots = Default::default();
        self.ram.write(TABLE, &[0; 0xa00]);
        (self.published, self.last_used) = (0, 0);
    }

    /// Publishes a request in a free slot.
    pub(super) fn publish(&mut self, input: &mut Input, indirect: bool) {
        let shape = input.byte();
        let slot = usize::from(shape % SLOTS);
        if self.slots[slot].is_some() {
            return;
        }
        let at = SLOT_FIRST + slot * SLOT_BYTES;
        self.ram.hide(at, SLOT_BYTES);
        let cut = |first: usize, length: usize| match shape & 0x40 {
            0 => vec![(first, length)],
            _ => vec![(first, length.div_ceil(2)), (first + HALF / 2, length / 2 + 1)],
        };
        let mut readable = cut(at, usize::from(input.byte()) + 1);
        let writable = cut(at + HALF, usize::from(input.u16()) % (HALF / 2) + 1);
        let indirect = indirect && shape & 0x80 != 0;
        let writable = if indirect || shape & 0x40 == 0 {
            writable
        } else {
            // A ring without tables has two descriptors for each slot.
            readable.truncate(1);
            vec![writable[0]]
        };
        for (first, length) in &readable {
            self.ram.write(*first, &vec![0x11 * (shape % 10); *length]);
        }
        let head = u16::try_from(slot * 2).expect("slots are few");
        if indirect {
            let table = TABLES + slot * 4 * DESCRIPTOR_BYTES;
            let length = self.describe(table, 0, &readable, &writable);
            self.ram.write(
                TABLE + usize::from(head) * DESCRIPTOR_BYTES,
                &bytes_of((table, length), INDIRECT, 0),
            );
        } else {
            let at = TABLE + usize::from(head) * DESCRIPTOR_BYTES;
            self.describe(at, head, &readable, &writable);
        }
        self.slots[slot] = Some(Request { writable });
        let entry = usize::from(self.published % SIZE);
        self.ram.write(AVAILABLE + RING_HEADER_BYTES + entry * 2, &head.to_le_bytes());
        self.published = self.published.wrapping_add(1);
        self.ram.write(AVAILABLE + RING_INDEX, &self.published.to_le_bytes());
    }

    /// Writes descriptors from `at` on, of which the first has the number `first`; returns how many
    /// bytes that are.
    fn describe(&self, at: usize, first: u16, readable: &[Piece], writable: &[Piece]) -> usize {
        let pieces = readable.iter().map(|piece| (piece, 0));
        let pieces: Vec<_> = pieces.chain(writable.iter().map(|piece| (piece, WRITE))).collect();
        for (position, (piece, flags)) in (0u16..).zip(&pieces) {
            let is_last = usize::from(position) + 1 == pieces.len();
            let flags = flags | if is_last { 0 } else { NEXT };
            let bytes = bytes_of(**piece, flags, first + position + 1);
            self.ram.write(at + usize::from(position) * DESCRIPTOR_BYTES, &bytes);
        }
        pieces.len() * DESCRIPTOR_BYTES
    }

    /// Has `work` done, between a [`Driver::mark`] and a [`Driver::verify`].
    pub(super) fn watch<T>(&mut self, work: impl FnOnce() -> T) -> T {
        self.mark();
        let result = work();
        self.verify();
        result
    }

    /// Remembers what the guest's memory is like.
    pub(super) fn mark(&mut self) {
        self.before = self.ram.read();
    }

    /// Panics unless since the mark no more of the guest's memory changed than may: room for answers
    /// of requests that are outstanding, and the used ring; and unless every completion is of one of
    /// those, once, and no longer than its room.
    pub(super) fn verify(&mut self) {
        let after = self.ram.read();
        let mut may_change = vec![false; after.len()];
        may_change[USED..USED + used_bytes(SIZE)].fill(true);
        for (first, length) in self.slots.iter().flatten().flat_map(|slot| &slot.writable) {
            may_change[*first..first + length].fill(true);
        }
        for (request, length) in self.take_used(&after) {
            let mut left = length;
            for (first, whole) in request.writable {
                let part = left.min(whole);
                may_change[first + part..first + whole].fill(false);
                left -= part;
            }
        }
        let changed = self.before.iter().zip(&after).zip(&may_change);
        let wrong = changed.into_iter().position(|((old, new), may)| old != new && !may);
        assert_eq!(wrong, None, "guest memory changed where no request in flight lets it");
        self.ram.assert_secrets_stand();
    }

    fn take_used(&mut self, ram: &[u8]) -> Vec<(Request, usize)> {
        let number = |at: usize| {
            let bytes = ram[at..at + 4].try_into().expect("four bytes");
            u32::from_le_bytes(bytes) as usize
        };
        let index = number(USED) >> 16;
        let index = u16::try_from(index).expect("the upper half of it");
        let mut completed = Vec::new();
        while self.last_used != index {
            let entry = usize::from(self.last_used % SIZE) * USED_ENTRY_BYTES;
            let (id, length) = (
                number(USED + RING_HEADER_BYTES + entry),
                number(USED + RING_HEADER_BYTES + entry + 4),
            );
            self.last_used = self.last_used.wrapping_add(1);
            let slot = (id % 2 == 0).then(|| self.slots.get_mut(id / 2)).flatten();
            let request = slot.and_then(Option::take);
            let request =
                request.unwrap_or_else(|| panic!("{id} completed: it is not outstanding"));
            assert!(length <= request.room(), "{length} bytes of {}", request.room());
            completed.push((request, length));
        }
        completed
    }
}

fn bytes_of((at, length): Piece, flags: u16, next: u16) -> Vec<u8> {
    let mut bytes = (GPA + at as u64).to_le_bytes().to_vec();
    bytes.extend(u32::try_from(length).expect("pieces are small").to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes
}
