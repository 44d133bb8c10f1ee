//! What a backend can do to the window it shares with the broker.

use ringfence_virtio::Guard;
use ringfence_virtio::refusals::BAD_USED_INDEX;
use rustix::fs::{FallocateFlags, SealFlags};
use rustix::io::Errno;

use crate::kit::*;

const DATA: usize = 0x10_0000;

/// One request with something to read and room for an answer, taken by the backend.
fn on_its_way() -> (World, Popped) {
    let mut world = World::default();
    let out = world.put(DATA, b"what the guest says");
    world.frontend.memory.write(DATA + 0x100, &[0xcc; 64]);
    let head = world.driver.chain(5, &[out, to_guest(DATA + 0x100, 32)]);
    world.driver.submit(head);
    let popped = world.stand.backend.wait_pop(0);
    (world, popped)
}

#[test]
fn scribbling_over_descriptors_and_the_available_ring_changes_nothing() {
    let (mut world, popped) = on_its_way();
    let memory = world.stand.backend.window().memory;
    world.stand.backend.with_ring(0, |ring| {
        memory.write(ring.descriptors, &[0xff; 64 * 16]);
        memory.write(ring.available, &[0xff; 4 + 64 * 2]);
    });
    world.stand.backend.write(&popped.writable, &[0xee; 32]);
    world.stand.backend.complete(0, popped.head, 32);
    assert_eq!(world.driver.wait_used(), (5, 32));
    assert_eq!(world.frontend.memory.read(DATA + 0x100, 32), [0xee; 32]);
    assert_eq!(world.frontend.memory.read(DATA + 0x120, 32), [0xcc; 32]);
    assert_eq!(world.stand.counters().refusals, 0);
    world.reset_and_round_trip();
}

#[test]
fn rewriting_what_it_was_given_to_read_does_not_change_the_guests_copy() {
    let (mut world, popped) = on_its_way();
    world.stand.backend.write(&popped.readable, &[0xee; 19]);
    world.stand.backend.complete(0, popped.head, 0);
    world.driver.wait_used();
    assert_eq!(world.frontend.memory.read(DATA, 19), b"what the guest says");
}

#[test]
fn filling_the_whole_window_stops_the_queue_and_nothing_else() {
    for byte in [0xff, 0x01, 0x80] {
        let (world, _) = on_its_way();
        let before = world.frontend.memory.read(DATA - 0x1000, 0x4000);
        world.stand.backend.window().memory.fill(byte);
        world.driver.kick();
        world.stand.refused(&BAD_USED_INDEX);
        assert_eq!(world.frontend.memory.read(DATA - 0x1000, 0x4000), before);
        world.serves_the_next();
    }
}

/// Invariant `window-only`. A window cut short would kill the broker at its next access.
#[test]
fn shrinking_the_window() {
    escapes_only_without(Guard::Seals, None, |guards| {
        let world = World::new(Setup::guarded(guards));
        let memory = world.stand.backend.window().memory;
        // Only the last page, which nothing uses, as this process is the broker's.
        let shorter = memory.length() as u64 - 4096;
        match rustix::fs::ftruncate(memory.file(), shorter) {
            Ok(()) => Outcome::Escaped,
            Err(errno) => {
                assert_eq!(errno, Errno::PERM);
                Outcome::Held(None)
            }
        }
    });
}

#[test]
fn growing_the_window_or_changing_its_seals() {
    let mut world = World::default();
    world.round_trip(1);
    let memory = world.stand.backend.window().memory;
    let longer = memory.length() as u64 + 4096;
    assert_eq!(rustix::fs::ftruncate(memory.file(), longer), Err(Errno::PERM));
    let seals = rustix::fs::fcntl_add_seals(memory.file(), SealFlags::WRITE);
    assert_eq!(seals, Err(Errno::PERM));
    world.round_trip(2);
}

/// Pages taken out of the file come back as zeroes; the broker does not notice.
#[test]
fn punching_holes_into_the_window() {
    let (mut world, popped) = on_its_way();
    let memory = world.stand.backend.window().memory;
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(memory.file(), hole, 0, memory.length() as u64).expect("a hole");
    world.driver.kick();
    world.stand.backend.complete(0, popped.head, 32);
    // The used index was zeroed and is now one again, as it has to be.
    assert_eq!(world.driver.wait_used(), (5, 32));
    assert_eq!(
        world.frontend.memory.read(DATA + 0x100, 64),
        [vec![0; 32], vec![0xcc; 32]].concat()
    );
    world.serves_the_next();
}
