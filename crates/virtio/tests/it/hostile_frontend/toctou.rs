//! A guest that changes a descriptor between the check of it and its use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringfence_ledger::refusals::NOT_GRANTED;
use ringfence_virtio::wire::MemoryRegion;
use ringfence_virtio::{Guard, Guards};

use crate::kit::*;

const SECRET: &[u8] = b"read between check and use";
const END: usize = RAM_BYTES - 0x800;
const LENGTH: usize = 64;
const GOOD: u64 = GPA + 0x10_0000;
const BAD: u64 = GPA + (END - LENGTH + SECRET.len()) as u64;

/// What came of a race.
struct Race {
    leaked: bool,
    /// Requests that were copied, and attempts that were refused.
    copied: u64,
    refused: u64,
}

/// Publishes a request again and again while another thread flips its address, until the secret
/// is in the window, or as often as `enough` says.
fn race(guards: Guards, enough: impl Fn(&Race) -> bool) -> Race {
    let mut world = World::stopped(Setup::guarded(guards), 0);
    let region = MemoryRegion { size: END as u64, ..region_of(&world.frontend.memory) };
    let file = world.frontend.memory.file();
    assert_eq!(world.frontend.name_memory(&[region], vec![file]), Some(0));
    world.frontend.memory.write(END, SECRET);
    world.frontend.start(0, &world.driver);
    let memory = world.frontend.memory.clone();
    let at = world.driver.descriptors;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _over = SetWhenDropped(&over);
        scope.spawn(|| {
            // Good for long enough to be taken, bad for long enough to be used.
            for round in 0u32.. {
                memory.store_address(at, GOOD);
                (0..round % 400).for_each(|_| std::hint::spin_loop());
                memory.store_address(at, BAD);
                (0..8).for_each(|_| std::hint::spin_loop());
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        until_over(&mut world, enough)
    })
}

/// Ends the other thread however this one ends.
struct SetWhenDropped<'a>(&'a AtomicBool);

impl Drop for SetWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn until_over(world: &mut World, enough: impl Fn(&Race) -> bool) -> Race {
    let mut race = Race { leaked: false, copied: 0, refused: 0 };
    loop {
        // The same chain in every place of the ring: each is read by itself.
        world.driver.describe(0, GOOD, LENGTH as u32, 0, 0);
        (0..64).for_each(|_| world.driver.offer(0));
        world.driver.publish();
        world.driver.kick();
        let mut done = 0;
        until("the requests to be served or refused", || {
            while let Some(popped) = world.stand.backend.pop(0) {
                let bytes = world.stand.backend.read(&popped.readable);
                race.leaked |= bytes.windows(SECRET.len()).any(|window| window == SECRET);
                world.stand.backend.complete(0, popped.head, 0);
                done += 1;
            }
            (done == 64 || world.stand.counters().refusals > race.refused).then_some(())
        });
        race.copied += done;
        if let Some(refusal) = world.stand.counters().last_refusal {
            assert_eq!(refusal.code(), &NOT_GRANTED);
        }
        race.refused = world.stand.counters().refusals;
        if enough(&race) {
            return race;
        }
        world.frontend.stop(0);
        world.driver.reset();
        world.frontend.start(0, &world.driver);
    }
}

/// Invariant `read-once`.
#[test]
fn an_address_that_changes_after_its_check() {
    let deadline = Instant::now() + 2 * PATIENCE;
    let open =
        race(Guards::without(Guard::ReadOnce), |race| race.leaked || Instant::now() > deadline);
    assert!(open.leaked, "no leak in {} requests and {} refusals", open.copied, open.refused);

    // As often as it took, never less than a second, and until both outcomes were seen.
    let (least, begun) = (open.copied + open.refused, Instant::now());
    let closed = race(Guards::default(), |race| {
        let raced = race.copied > 0 && race.refused > 0 && race.copied + race.refused >= least;
        let elapsed = begun.elapsed();
        race.leaked || elapsed > 2 * PATIENCE || (raced && elapsed > Duration::from_secs(1))
    });
    assert!(!closed.leaked, "leaked after {} requests", closed.copied);
    assert!(closed.copied > 0 && closed.refused > 0, "the race was never on");
}
