//! Queues that may use only so much, by a clock that the test sets.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringfence_virtio::{Clock, Quota};

use crate::kit::*;

const SECOND: u64 = 1_000_000_000;

/// A world whose queues have a quota, and the time it goes by.
fn world(requests: u64, bytes: u64) -> (World, Arc<AtomicU64>) {
    let time = Arc::new(AtomicU64::new(0));
    let mut setup = Setup::default();
    setup.options.clock = Clock::set_by(Arc::clone(&time));
    setup.options.quota = Quota {
        requests_per_second: NonZeroU64::new(requests),
        bytes_per_second: NonZeroU64::new(bytes),
    };
    (World::new(setup), time)
}

/// Waits until a queue is made to wait for the `times`th time, and for good.
fn until_throttled(world: &World, times: u64) {
    until("a queue that waits for its quota", || {
        let counters = world.stand.counters();
        (counters.throttled >= times && counters.queues_throttled == 1).then_some(())
    });
}

/// Everything the backend was given so far, which it completes.
fn serve_all(world: &World, queue: u32) -> u64 {
    let mut served = 0;
    while let Some(popped) = world.stand.backend.pop(queue) {
        world.stand.backend.echo(queue, &popped);
        served += 1;
    }
    served
}

#[test]
fn a_queue_gets_its_burst_and_then_its_rate_without_another_kick() {
    let (mut world, time) = world(20, 0);
    world.publish(31);
    until_throttled(&world, 1);
    assert_eq!(serve_all(&world, 0), 20, "a second's worth");
    assert!(world.stand.backend.sees_nothing(0), "the time stands still");
    // Half a second later, half as many.
    time.store(SECOND / 2, Ordering::Release);
    let mut served = 0;
    until("ten more", || {
        served += serve_all(&world, 0);
        (served >= 10).then_some(())
    });
    until_throttled(&world, 2);
    assert_eq!(served + serve_all(&world, 0), 10);
    time.store(SECOND, Ordering::Release);
    until("the last", || (serve_all(&world, 0) == 1).then_some(()));
    until("all at the guest", || (world.stand.counters().requests == 31).then_some(()));
    until("no queue that waits", || (world.stand.counters().queues_throttled == 0).then_some(()));
    assert_eq!(world.stand.counters().refusals, 0);
    // It sleeps again for the guest's kick, which is not lost.
    time.store(10 * SECOND, Ordering::Release);
    world.driver.reset();
    world.frontend.stop(0);
    world.frontend.start(0, &world.driver);
    world.round_trip(3);
}

#[test]
fn bytes_are_bounded_and_what_a_device_did_not_write_is_given_back() {
    let (mut world, time) = world(0, 390);
    // Each is 8 bytes there and 8 bytes back.
    world.publish(32);
    until_throttled(&world, 1);
    // 24 take 384, so that one more may begin.
    let first: Vec<Popped> = std::iter::from_fn(|| world.stand.backend.pop(0)).collect();
    assert_eq!(first.len(), 25);
    let moved = |world: &World| {
        let counters = world.stand.counters();
        counters.bytes_to_device + counters.bytes_to_guest
    };
    assert_eq!(moved(&world), 25 * 8);
    // Nothing is written: 200 bytes come back, and with them the 112 of the rest are there.
    for popped in &first {
        world.stand.backend.complete(0, popped.head, 0);
    }
    until("the completions", || (world.stand.counters().requests == 25).then_some(()));
    time.store(SECOND / 10, Ordering::Release);
    let mut served = 0;
    until("the rest", || {
        served += serve_all(&world, 0);
        (served == 7).then_some(())
    });
    until("the rest at the guest", || (world.stand.counters().requests == 32).then_some(()));
    assert_eq!(moved(&world), 25 * 8 + 7 * 16);
    assert!(moved(&world) <= 390 + 39 + 16, "the burst, a tenth of the rate and one request");
}

#[test]
fn other_queues_have_a_quota_of_their_own() {
    let (mut world, _time) = world(8, 0);
    let mut other = Driver::new(&world.frontend.memory, 0x4000, 16);
    other.event_index = world.frontend.event_index();
    world.frontend.start(1, &other);
    world.publish(10);
    until_throttled(&world, 1);
    for round in 0..8u8 {
        let at = 0x20_0000;
        let out = world.put(at, &[round; 16]);
        let head = other.chain(0, &[out, to_guest(at + 16, 16)]);
        other.submit(head);
        let popped = world.stand.backend.wait_pop(1);
        assert_eq!(world.stand.backend.read(&popped.readable), [round; 16]);
        world.stand.backend.echo(1, &popped);
        assert_eq!(other.wait_used(), (0, 16));
    }
    assert_eq!(serve_all(&world, 0), 8);
    assert_eq!(world.stand.counters().queues_throttled, 1);
}

/// A queue that waits for its quota stops as any other, and gets no more by starting again.
#[test]
fn a_queue_that_waits_is_stopped_at_once_and_starts_with_what_it_had() {
    let (mut world, time) = world(4, 0);
    world.publish(6);
    until_throttled(&world, 1);
    assert_eq!(serve_all(&world, 0), 4);
    let base = world.frontend.stop(0);
    assert_eq!(base, 4, "what was not taken is left in the ring");
    assert_eq!(world.stand.counters().refusals, 0);
    world.frontend.start_at(0, &world.driver, base);
    until_throttled(&world, 1);
    assert!(world.stand.backend.sees_nothing(0));
    time.store(SECOND, Ordering::Release);
    let mut served = 0;
    until("the last two", || {
        served += serve_all(&world, 0);
        (served == 2).then_some(())
    });
}
