//! Out of guest memory: what a guest could read and write without the check of its addresses.

use ringfence_ledger::refusals::NOT_GRANTED;
use ringfence_virtio::wire::MemoryRegion;
use ringfence_virtio::{Guard, Guards};

use crate::kit::*;

/// The region ends in the middle of a page; the rest of that page is not the guest's, yet mapped,
/// as memory is mapped in pages.
const END: usize = RAM_BYTES - 0x800;

/// A VMM whose file holds something of its own after guest memory.
fn world(guards: Guards, secret: &[u8]) -> World {
    let mut world = World::stopped(Setup::guarded(guards), 0);
    let region = MemoryRegion { size: END as u64, ..region_of(&world.frontend.memory) };
    let file = world.frontend.memory.file();
    assert_eq!(world.frontend.name_memory(&[region], vec![file]), Some(0));
    world.frontend.memory.write(END, secret);
    world.frontend.start(0, &world.driver);
    world
}

/// Invariant `within-memory`.
#[test]
fn a_guest_reads_past_the_end_of_its_memory() {
    escapes_only_without(Guard::Memory, Some(&NOT_GRANTED), |guards| {
        let secret = b"of the VMM, not of the guest";
        let mut world = world(guards, secret);
        let head = world.driver.chain(0, &[from_guest(END - 16, 16 + secret.len())]);
        world.driver.submit(head);
        outcome(&world, |world| world.stand.backend.window().memory.contains(secret))
    });
}

/// Invariant `within-memory`.
#[test]
fn a_guest_writes_past_the_end_of_its_memory() {
    escapes_only_without(Guard::Memory, Some(&NOT_GRANTED), |guards| {
        let mut world = world(guards, b"of the VMM, not of the guest");
        let head = world.driver.chain(0, &[to_guest(END - 16, 32)]);
        world.driver.submit(head);
        outcome(&world, |world| {
            if let Some(popped) = world.stand.backend.pop(0) {
                world.stand.backend.write(&popped.writable, &[0xee; 32]);
                world.stand.backend.complete(0, popped.head, 32);
            }
            world.frontend.memory.read(END, 16) == [0xee; 16]
        })
    });
}

#[test]
fn a_guest_reads_past_the_end_by_an_indirect_table() {
    escapes_only_without(Guard::Memory, Some(&NOT_GRANTED), |guards| {
        // The table itself lies past the end; what it says is up to whoever wrote it there.
        let mut world = world(guards, &[]);
        world.frontend.memory.write(0x9000, b"named by the table");
        let table = [from_guest(0x9000, 18), from_guest(0x9000, 18)];
        let head = world.driver.indirect(0, END - 16, &table);
        world.driver.submit(head);
        outcome(&world, |world| world.stand.backend.window().memory.contains(b"named by the table"))
    });
}

/// Waits for the attack to succeed or to be refused.
fn outcome(world: &World, succeeded: impl Fn(&World) -> bool) -> Outcome {
    until("an end of the attack", || {
        if succeeded(world) {
            return Some(Outcome::Escaped);
        }
        let refusal = world.stand.counters().last_refusal?;
        // It was refused; now nothing may have happened either.
        Some(if succeeded(world) { Outcome::Escaped } else { Outcome::Held(Some(refusal)) })
    })
}
