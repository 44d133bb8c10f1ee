//! A fence, a VMM connected to it, and a first queue that runs.

use ringfence_refusal::{Code, Refusal};
use ringfence_virtio::{Guard, Guards};

use super::driver::{Buffer, Driver, from_guest, to_guest};
use super::frontend::Frontend;
use super::stand::{Setup, Stand};

/// Where the ring of the first queue is in guest memory.
const RING: usize = 0x1000;

/// Entries of the first queue.
const SIZE: u16 = 64;

/// Everything a test needs. The VMM goes first when it is dropped.
pub(crate) struct World {
    pub(crate) frontend: Frontend,
    pub(crate) driver: Driver,
    pub(crate) stand: Stand,
}

impl Default for World {
    fn default() -> Self {
        Self::new(Setup::default())
    }
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        Self::without(setup, 0)
    }

    /// A world whose VMM declines some features.
    pub(crate) fn without(setup: Setup, features: u64) -> Self {
        let mut world = Self::stopped(setup, features);
        world.frontend.start(0, &world.driver);
        world
    }

    /// A world whose queue was not set up yet.
    pub(crate) fn stopped(setup: Setup, features: u64) -> Self {
        let stand = Stand::new(setup);
        let frontend = Frontend::connect(&stand.socket(), features);
        let mut driver = Driver::new(&frontend.memory, RING, SIZE);
        driver.event_index = frontend.event_index();
        Self { frontend, driver, stand }
    }

    /// The guest writes bytes to its memory, and a buffer is made of it.
    pub(crate) fn put(&self, at: usize, bytes: &[u8]) -> Buffer {
        self.frontend.memory.write(at, bytes);
        from_guest(at, bytes.len())
    }

    /// Publishes `count` requests of eight bytes, each its own number from 1.
    pub(crate) fn publish(&mut self, count: u16) {
        for each in 0..count {
            let at = 0x10_0000 + usize::from(each) * 32;
            let out = self.put(at, &[each as u8 + 1; 8]);
            self.driver.chain(each * 2, &[out, to_guest(at + 16, 8)]);
            self.driver.offer(each * 2);
        }
        self.driver.publish();
        self.driver.kick();
    }

    /// One request there and back, with other bytes each time.
    pub(crate) fn round_trip(&mut self, seed: u8) {
        let bytes: Vec<u8> = (0..200u8).map(|byte| byte.wrapping_mul(7) ^ seed).collect();
        let out = self.put(0x10_0000, &bytes);
        self.frontend.memory.write(0x10_1000, &[0; 300]);
        let head = self.driver.chain(0, &[out, to_guest(0x10_1000, 300)]);
        self.driver.submit(head);
        let popped = self.stand.backend.wait_pop(0);
        self.stand.backend.echo(0, &popped);
        assert_eq!(self.driver.wait_used(), (head.into(), 300));
        let expected: Vec<u8> = bytes.iter().copied().cycle().take(300).collect();
        assert_eq!(self.frontend.memory.read(0x10_1000, 300), expected);
    }

    /// The guest resets its device; everything works again.
    pub(crate) fn reset_and_round_trip(&mut self) {
        self.frontend.stop(0);
        self.driver.reset();
        self.frontend.start(0, &self.driver);
        self.round_trip(0x5a);
    }

    /// Another VMM after this one is served as if nothing had been.
    pub(crate) fn serves_the_next(self) {
        let Self { frontend, driver, stand } = self;
        drop(frontend);
        drop(driver);
        let frontend = Frontend::connect(&stand.socket(), 0);
        let mut driver = Driver::new(&frontend.memory, RING, SIZE);
        driver.event_index = frontend.event_index();
        let mut world = Self { frontend, driver, stand };
        world.frontend.start(0, &world.driver);
        world.round_trip(0xa5);
    }
}

/// How an attack ended.
pub(crate) enum Outcome {
    /// The attacker got what it should not have.
    Escaped,
    /// It did not; this is what the fence said.
    Held(Option<Refusal>),
}

/// Runs one attack twice: without its guard it must succeed, so that it is one; with all guards
/// it must be refused with `code`.
pub(crate) fn escapes_only_without(
    guard: Guard,
    code: Option<&'static Code>,
    attack: impl Fn(Guards) -> Outcome,
) {
    match attack(Guards::without(guard)) {
        Outcome::Escaped => {}
        Outcome::Held(refusal) => panic!("without {guard:?} the attack did nothing: {refusal:?}"),
    }
    match attack(Guards::default()) {
        Outcome::Held(refusal) => assert_eq!(refusal.map(|refusal| refusal.code()), code),
        Outcome::Escaped => panic!("with {guard:?} the attack succeeded"),
    }
}
