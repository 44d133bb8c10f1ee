//! Rings from a backend that writes anything anywhere in its window, also between any two accesses
//! of the broker's, under an honest guest.
//!
//! Whatever it does, the guest's memory changes only where a request in flight lets it, each request
//! is completed once at most, and what the guest did not publish is not in the window.

use super::guest_rings::Ring;
use super::honest::{AVAILABLE, Driver, SIZE, TABLE, USED};
use super::input::Input;
use super::memory::{Ram, assert_no_secret_in, user, without_secret};
use super::raced;
use crate::backend_queue::{BackendQueue, ring_pages};
use crate::bounce::{Bounce, Surroundings};
use crate::counters::Counters;
use crate::guards::Guards;
use crate::guest_memory::GuestMemory;
use crate::guest_queue::{GuestQueue, RING_HEADER_BYTES, RING_INDEX, RingAddresses, used_bytes};
use crate::quota::Throttle;
use crate::shared::Area;
use crate::window::{WINDOW_BYTES_MIN, Window};

/// The most one input may have anybody do.
const STEPS: usize = 96;

/// Where buffers begin in the smallest window: after the eighth that is for rings.
const BUFFERS: usize = 0x2_0000;

struct World {
    guards: Guards,
    driver: Driver,
    memory: GuestMemory,
    window: Window,
    counters: Counters,
    bounce: Option<Bounce>,
    event_index: bool,
    indirect: bool,
    /// Whether a refusal stopped the queue.
    stopped: bool,
}

/// The target.
pub(super) fn run(guards: Guards, data: &[u8]) {
    let mut input = Input::new(data);
    let shape = input.byte();
    let window = Window::new(WINDOW_BYTES_MIN, 1, guards).expect("a window");
    let ram = Ram::new();
    let memory = ram.named(window.identity().expect("a file"), guards);
    let mut world = World {
        guards,
        driver: Driver::new(ram),
        memory,
        window,
        counters: Counters::default(),
        bounce: None,
        event_index: shape & 1 != 0,
        indirect: shape & 2 != 0,
        stopped: false,
    };
    world.open();
    for _ in 0..STEPS {
        if input.is_over() {
            break;
        }
        world.step(&mut input);
    }
    world.close(0);
    assert_no_secret_in(world.window.file());
}

impl World {
    fn step(&mut self, input: &mut Input) {
        match input.below(12) {
            0..=2 => self.driver.publish(input, self.indirect),
            3 | 4 => {
                let writes = (0..input.below(4)).map(|_| (input.below(40), write(input))).collect();
                self.serve(writes);
            }
            5 | 6 => {
                let length = match input.below(4) {
                    0 => input.u32(),
                    1 => u32::from(input.u16()) % 1024,
                    _ => input.byte().into(),
                };
                self.ring().complete(SIZE, input.byte(), length);
            }
            7 | 8 => {
                let write = write(input);
                write.carry_out(&self.ring(), self.window.area());
            }
            9 => {
                let unbegun = input.u16();
                self.close(unbegun);
                self.open();
            }
            10 => self.begin_again(),
            _ => {
                let bounce = self.bounce.as_mut().expect("it is open");
                bounce.suppress_notifications();
                if !self.stopped {
                    self.stopped = bounce.want_notifications().is_err();
                }
            }
        }
    }

    fn ring(&self) -> Ring {
        let bounce = self.bounce.as_ref().expect("it is open");
        Ring::of(&self.window, bounce.backend().location())
    }

    fn open(&mut self) {
        self.driver.reset();
        let at = RingAddresses {
            descriptors: user(TABLE).into(),
            available: user(AVAILABLE).into(),
            used: user(USED).into(),
        };
        let base = self.driver.published();
        let (events, indirect) = (self.event_index, self.indirect);
        let guest = GuestQueue::new(&self.memory, at, SIZE, base, events, indirect);
        let backend = self.stand_in();
        let guest = guest.expect("a good ring");
        self.bounce = Some(Bounce::new(0, guest, backend, Throttle::default(), self.guards));
        self.stopped = false;
    }

    fn stand_in(&mut self) -> BackendQueue {
        let run = self.window.open_queue(0, ring_pages(SIZE)).expect("room for one ring");
        let (area, first) = (self.window.area_of(run), self.window.address_of(run));
        BackendQueue::new(SIZE, run, &area, first, self.event_index)
    }

    /// Serves the queue while the backend races; what is refused stops it, as a device does.
    fn serve(&mut self, mut writes: Vec<(u8, Write)>) {
        if self.stopped {
            return;
        }
        let (ring, window) = (self.ring(), self.window.area().clone());
        let racer = move || {
            writes.retain_mut(|(left, write)| {
                let is_now = *left == 0;
                if is_now {
                    write.carry_out(&ring, &window);
                }
                *left = left.wrapping_sub(1);
                !is_now
            });
        };
        let bounce = self.bounce.as_mut().expect("it is open");
        let mut around = Surroundings {
            memory: &self.memory,
            window: &mut self.window,
            counters: &self.counters,
        };
        let served = self.driver.watch(|| raced(racer, || bounce.serve(&mut around)));
        self.stopped = served.is_err();
        assert_no_secret_in(self.window.file());
    }

    /// The backend dies: what it completed is taken, and its successor gets a new window.
    fn begin_again(&mut self) {
        if self.stopped {
            return;
        }
        let bounce = self.bounce.as_mut().expect("it is open");
        let mut around = Surroundings {
            memory: &self.memory,
            window: &mut self.window,
            counters: &self.counters,
        };
        let reaped = self.driver.watch(|| bounce.reap_all(&mut around));
        if reaped.is_err() {
            self.stopped = true;
            return;
        }
        self.window = Window::new(WINDOW_BYTES_MIN, 1, self.guards).expect("a window");
        let ring = self.stand_in();
        self.bounce.as_mut().expect("it is open").begin_again(ring);
    }

    /// Stops the queue: whatever it had of the window is back.
    fn close(&mut self, unbegun: u16) {
        if let Some(bounce) = self.bounce.take() {
            let unbegun = unbegun % (bounce.backend().outstanding() + 1);
            let window = &mut self.window;
            self.driver.watch(|| bounce.close(window, unbegun));
            assert_eq!(self.window.used_bytes(), 0, "pages of a closed queue are in use");
        }
    }
}

/// Something a backend writes to its window.
struct Write {
    whereabouts: u8,
    at: usize,
    bytes: Vec<u8>,
}

fn write(input: &mut Input) -> Write {
    let whereabouts = input.below(8);
    let at = usize::from(input.u16());
    let length = if whereabouts < 6 { input.below(12).into() } else { input.byte().into() };
    let bytes = input.take(length).into_iter().map(without_secret).collect();
    Write { whereabouts, at, bytes }
}

impl Write {
    fn carry_out(&self, ring: &Ring, window: &Area) {
        let used = used_bytes(SIZE);
        let at = match self.whereabouts {
            0 => ring.descriptors + self.at % 0x100,
            1 => ring.available + self.at % 0x26,
            // The words that are believed the most.
            2 | 3 => ring.used + RING_INDEX,
            4 | 5 => ring.used + RING_HEADER_BYTES + self.at % (used - RING_HEADER_BYTES),
            _ => BUFFERS + self.at,
        };
        window.write(at, &self.bytes);
    }
}
