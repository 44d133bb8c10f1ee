//! Rings from a guest that writes anything anywhere in its memory, also between any two accesses
//! of the broker's.
//!
//! Whatever it does, the backend sees no byte of what is not the guest's, no such byte changes, and
//! when the queue is closed everything it took of the window is back.

use ringfence_addr::Iova;

use super::input::Input;
use super::memory::{FIRST_BYTES, GPA, GUEST_BYTES, Ram, assert_no_secret_in, user};
use super::raced;
use crate::backend_queue::{BackendQueue, RingLocation, ring_pages};
use crate::bounce::{Bounce, Surroundings};
use crate::counters::Counters;
use crate::guards::Guards;
use crate::guest_memory::GuestMemory;
use crate::guest_queue::{
    GuestQueue, RING_HEADER_BYTES, RING_INDEX, RingAddresses, USED_ENTRY_BYTES,
};
use crate::quota::Throttle;
use crate::shared::Area;
use crate::window::{WINDOW_BYTES_MIN, Window};

/// Where the parts of the ring are in the guest's memory, and where indirect tables often are.
const TABLE: usize = 0;
const AVAILABLE: usize = 0x400;
const USED: usize = 0x800;
const INDIRECT: usize = 0x1000;

/// The most one input may have the guest do.
const STEPS: usize = 96;

/// Writes of the guest's that wait for their moment: after so many accesses, at this place.
type Race = Vec<(u8, usize, Vec<u8>)>;

struct World {
    ram: Ram,
    guards: Guards,
    memory: GuestMemory,
    window: Window,
    counters: Counters,
    bounce: Option<Bounce>,
    size: u16,
    event_index: bool,
    indirect: bool,
    published: u16,
    is_second_named: bool,
}

/// The target.
pub(super) fn run(guards: Guards, data: &[u8]) {
    let mut input = Input::new(data);
    let shape = input.byte();
    let window = Window::new(WINDOW_BYTES_MIN, 2, guards).expect("a window");
    let ram = Ram::new();
    let memory = ram.named(window.identity().expect("a file"), guards);
    let mut world = World {
        ram,
        guards,
        memory,
        window,
        counters: Counters::default(),
        bounce: None,
        size: 1 << (shape % 6),
        event_index: shape & 0x40 != 0,
        indirect: shape & 0x80 != 0,
        published: 0,
        is_second_named: true,
    };
    for _ in 0..STEPS {
        if input.is_over() {
            break;
        }
        world.step(&mut input);
    }
    world.close(0);
    assert_no_secret_in(world.window.file());
    world.ram.assert_secrets_stand();
}

impl World {
    fn step(&mut self, input: &mut Input) {
        match input.below(16) {
            0..=3 => self.describe(input, TABLE, self.size.into()),
            4 | 5 => self.describe(input, INDIRECT, 64),
            6 => {
                let (at, length) = (usize::from(input.u16()), input.below(24).into());
                self.ram.write(at, &input.take(length));
            }
            7..=9 => self.publish(input),
            10..=12 => {
                let race = read_race(input);
                self.serve(race);
            }
            13 => self.complete(input),
            14 => self.change_memory(input),
            _ => match input.below(4) {
                0 => self.close(input.u16()),
                1 => self.begin_again(),
                2 => {
                    if let Some(bounce) = self.bounce.as_mut() {
                        bounce.suppress_notifications();
                    }
                }
                _ => {
                    let missed = self.bounce.as_mut().map(Bounce::want_notifications);
                    if missed.is_some_and(|missed| missed.is_err()) {
                        self.close(0);
                    }
                }
            },
        }
    }

    /// The guest writes a descriptor that may be a good one.
    fn describe(&mut self, input: &mut Input, table: usize, entries: usize) {
        let index = usize::from(input.byte()) % entries;
        let bytes = descriptor(input);
        self.ram.write(table + index * 16, &bytes);
    }

    fn publish(&mut self, input: &mut Input) {
        let head = u16::from(input.byte());
        let head = if head < 240 { head % self.size } else { head };
        let entry = usize::from(self.published % self.size);
        self.ram.write(AVAILABLE + RING_HEADER_BYTES + entry * 2, &head.to_le_bytes());
        let step = if input.is_one_in(32) { input.u16() } else { 1 };
        self.published = self.published.wrapping_add(step);
        self.ram.write(AVAILABLE + RING_INDEX, &self.published.to_le_bytes());
    }

    fn open(&mut self) -> Option<Bounce> {
        let at = RingAddresses {
            descriptors: user(TABLE).into(),
            available: user(AVAILABLE).into(),
            used: user(USED).into(),
        };
        let (size, events) = (self.size, self.event_index);
        let base = self.published;
        let guest = GuestQueue::new(&self.memory, at, size, base, events, self.indirect).ok()?;
        let backend = self.stand_in();
        Some(Bounce::new(0, guest, backend, Throttle::default(), self.guards))
    }

    fn stand_in(&mut self) -> BackendQueue {
        let run = self.window.open_queue(0, ring_pages(self.size)).expect("room for one ring");
        let (area, first) = (self.window.area_of(run), self.window.address_of(run));
        BackendQueue::new(self.size, run, &area, first, self.event_index)
    }

    /// Serves the queue while the guest races; what is refused stops it, as a device does.
    fn serve(&mut self, mut race: Race) {
        if self.bounce.is_none() {
            self.bounce = self.open();
        }
        let Some(bounce) = self.bounce.as_mut() else { return };
        let mut around = Surroundings {
            memory: &self.memory,
            window: &mut self.window,
            counters: &self.counters,
        };
        let ram = self.ram.clone();
        let racer = move || {
            race.retain_mut(|(left, at, bytes)| {
                let is_now = *left == 0;
                if is_now {
                    ram.write(*at, bytes);
                }
                *left = left.wrapping_sub(1);
                !is_now
            });
        };
        if raced(racer, || bounce.serve(&mut around)).is_err() {
            self.close(0);
        }
        assert_no_secret_in(self.window.file());
    }

    /// The backend completes something, most often a request it has.
    fn complete(&mut self, input: &mut Input) {
        let Some(bounce) = self.bounce.as_ref() else { return };
        let ring = Ring::of(&self.window, bounce.backend().location());
        ring.complete(self.size, input.byte(), input.u16().into());
    }

    /// The VMM takes the second region away, or brings it back.
    fn change_memory(&mut self, input: &mut Input) {
        let region = self.ram.regions()[1];
        if self.is_second_named {
            self.memory.remove(&region).expect("it was named");
        } else {
            self.memory.add(&region, self.ram.file()).expect("it is as it says");
        }
        self.is_second_named = !self.is_second_named;
        let remapped = self.bounce.as_mut().map(|bounce| bounce.remap(&self.memory));
        if remapped.is_some_and(|remapped| remapped.is_err()) {
            self.close(input.u16());
        }
    }

    /// The backend dies; its successor gets a new window.
    fn begin_again(&mut self) {
        if self.bounce.is_none() {
            return;
        }
        self.window = Window::new(WINDOW_BYTES_MIN, 2, self.guards).expect("a window");
        let ring = self.stand_in();
        let bounce = self.bounce.as_mut().expect("just seen");
        bounce.begin_again(ring);
    }

    /// Stops the queue: whatever it had of the window is back.
    fn close(&mut self, unbegun: u16) {
        if let Some(bounce) = self.bounce.take() {
            let unbegun = unbegun % (bounce.backend().outstanding() + 1);
            self.published = bounce.close(&mut self.window, unbegun);
            self.ram.write(AVAILABLE + RING_INDEX, &self.published.to_le_bytes());
            assert_eq!(self.window.used_bytes(), 0, "pages of a closed queue are in use");
        }
    }
}

/// A descriptor that is a good one more often than not.
pub(super) fn descriptor(input: &mut Input) -> Vec<u8> {
    let kind = input.byte();
    let address = match kind % 8 {
        0 => input.edge(GPA + GUEST_BYTES as u64),
        1 => GPA + FIRST_BYTES as u64 - u64::from(input.byte()),
        2 => GPA + INDIRECT as u64 + u64::from(input.byte()) * 16,
        _ => GPA + u64::from(input.u16()) % GUEST_BYTES as u64,
    };
    let length = match kind / 8 % 8 {
        0 => u32::try_from(input.edge(GUEST_BYTES as u64) & 0xffff_ffff).expect("32 bits"),
        1 => 4096 + u32::from(input.byte()),
        2 | 3 => u32::from(input.below(4)) * 16 + 16,
        _ => u32::from(input.byte()) + 1,
    };
    let flags = u16::from(input.byte()) & 7;
    let next = u16::from(input.byte()) % 64;
    let mut bytes = address.to_le_bytes().to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes.extend(next.to_le_bytes());
    bytes
}

fn read_race(input: &mut Input) -> Race {
    let count = input.below(4);
    let write = |_| {
        let after = input.below(48);
        if input.below(4) < 3 {
            let table = [TABLE, INDIRECT][usize::from(input.below(2))];
            let at = table + usize::from(input.below(16)) * 16;
            let mut bytes = descriptor(input);
            // Often another address, and all else as it was.
            bytes.truncate([8, 16][usize::from(input.below(2))]);
            (after, at, bytes)
        } else {
            let at = usize::from(input.u16()) % (USED + 0x100);
            (after, at, input.take(2))
        }
    };
    (0..count).map(write).collect()
}

/// A ring in the window as the backend sees it.
pub(super) struct Ring {
    window: Area,
    pub(super) descriptors: usize,
    pub(super) available: usize,
    pub(super) used: usize,
}

impl Ring {
    pub(super) fn of(window: &Window, at: RingLocation) -> Self {
        let offset = |address: Iova| {
            let offset = window.span().offset_of(address).expect("rings lie in the window");
            usize::try_from(offset).expect("a window's size")
        };
        Self {
            window: window.area().clone(),
            descriptors: offset(at.descriptors),
            available: offset(at.available),
            used: offset(at.used),
        }
    }

    /// Enters a completion and shows it: by `id`, of what was given at this place of the ring, or at
    /// the one before, or of anything.
    pub(super) fn complete(&self, size: u16, id: u8, length: u32) {
        let mut index = [0; 2];
        self.window.read(self.used + RING_INDEX, &mut index);
        let index = u16::from_le_bytes(index);
        let entry = usize::from(index % size);
        let given = |index: u16| {
            let mut head = [0; 2];
            let entry = usize::from(index % size);
            self.window.read(self.available + RING_HEADER_BYTES + entry * 2, &mut head);
            u16::from_le_bytes(head)
        };
        let id = match id {
            0..0xa0 => given(index),
            0xa0..0xd0 => given(index.wrapping_sub(1)),
            _ => u16::from(id % 40),
        };
        let bytes = [u32::from(id).to_le_bytes(), length.to_le_bytes()].concat();
        self.window.write(self.used + RING_HEADER_BYTES + entry * USED_ENTRY_BYTES, &bytes);
        self.window.write(self.used + RING_INDEX, &index.wrapping_add(1).to_le_bytes());
    }
}
