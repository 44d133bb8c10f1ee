//! Guest memory that comes in several regions and changes while requests are on their way.

use ringfence_virtio::wire::MemoryRegion;
use vhost::vhost_user::message::FrontendReq;

use crate::kit::*;

const DATA: usize = 0x10_0000;

/// Memory beyond what the guest began with, in a file of its own.
fn added(world: &mut World, first: u64) -> Memory {
    let memory = Memory::new("more-memory", 0x10_000);
    let region = MemoryRegion {
        guest_address: first,
        size: 0x10_000,
        user_address: UVA + (1 << 32),
        mmap_offset: 0,
    };
    let told = world.frontend.one_region(FrontendReq::ADD_MEM_REG, &region, vec![memory.file()]);
    assert_eq!(told, Some(0));
    memory
}

#[test]
fn memory_added_while_queues_run_can_be_used() {
    let mut world = World::default();
    world.round_trip(1);
    let first = GPA + (1 << 30);
    let memory = added(&mut world, first);
    memory.write(0x300, b"added while running");
    let out = Buffer { address: first + 0x300, length: 19, writable: false };
    let back = Buffer { address: first + 0x1000, length: 19, writable: true };
    let head = world.driver.chain(0, &[out, back]);
    world.driver.submit(head);
    let popped = world.stand.backend.wait_pop(0);
    world.stand.backend.echo(0, &popped);
    world.driver.wait_used();
    assert_eq!(memory.read(0x1000, 19), b"added while running");
    world.round_trip(2);
}

#[test]
fn a_buffer_may_cross_regions_that_touch() {
    let mut world = World::default();
    let end = GPA + RAM_BYTES as u64;
    let memory = added(&mut world, end);
    world.frontend.memory.write(RAM_BYTES - 5, b"first");
    memory.write(0, b"second");
    let out = Buffer { address: end - 5, length: 11, writable: false };
    let back = Buffer { address: end - 100, length: 200, writable: true };
    let head = world.driver.chain(0, &[out, back]);
    world.driver.submit(head);
    let popped = world.stand.backend.wait_pop(0);
    assert_eq!(world.stand.backend.read(&popped.readable), b"firstsecond");
    let bytes: Vec<u8> = (0..200).collect();
    world.stand.backend.write(&popped.writable, &bytes);
    world.stand.backend.complete(0, popped.head, 200);
    world.driver.wait_used();
    assert_eq!(world.frontend.memory.read(RAM_BYTES - 100, 100), bytes[..100]);
    assert_eq!(memory.read(0, 100), bytes[100..]);
}

#[test]
fn a_table_may_have_several_regions_of_one_file() {
    let mut world = World::stopped(Setup::default(), 0);
    let half = RAM_BYTES as u64 / 2;
    // The second half of the file comes first for the guest, far away for the VMM.
    let whole = region_of(&world.frontend.memory);
    let low = MemoryRegion { size: half, ..whole };
    let high = MemoryRegion {
        guest_address: GPA - half,
        size: half,
        user_address: UVA + (1 << 33),
        mmap_offset: half,
    };
    let files = vec![world.frontend.memory.file(), world.frontend.memory.file()];
    assert_eq!(world.frontend.name_memory(&[low, high], files), Some(0));
    world.frontend.start(0, &world.driver);
    world.round_trip(3);
    let at = RAM_BYTES / 2 + 0x4000;
    world.frontend.memory.write(at, b"in the other half");
    let out = Buffer { address: GPA - half + 0x4000, length: 17, writable: false };
    let head = world.driver.chain(0, &[out]);
    world.driver.submit(head);
    let popped = world.stand.backend.wait_pop(0);
    assert_eq!(world.stand.backend.read(&popped.readable), b"in the other half");
    assert_eq!(world.stand.counters().guest_memory_bytes, RAM_BYTES as u64);
}

#[test]
fn memory_named_anew_while_queues_run_moves_the_rings() {
    let mut world = World::default();
    world.round_trip(1);
    // The same guest in another file, as after a balloon or a machine that was moved.
    let copy = Memory::new("guest-memory-moved", RAM_BYTES);
    copy.write(0, &world.frontend.memory.all());
    assert_eq!(world.frontend.name_memory(&[region_of(&copy)], vec![copy.file()]), Some(0));
    world.frontend.memory = copy.clone();
    world.driver.memory = copy;
    world.round_trip(2);
}

#[test]
fn memory_removed_and_added_again_serves_again() {
    let mut world = World::default();
    let first = GPA + (1 << 30);
    let memory = added(&mut world, first);
    let region = MemoryRegion {
        guest_address: first,
        size: 0x10_000,
        user_address: UVA + (1 << 32),
        mmap_offset: 0,
    };
    let told = world.frontend.one_region(FrontendReq::REM_MEM_REG, &region, Vec::new());
    assert_eq!(told, Some(0));
    assert_eq!(world.stand.counters().guest_memory_bytes, RAM_BYTES as u64);
    let told = world.frontend.one_region(FrontendReq::ADD_MEM_REG, &region, vec![memory.file()]);
    assert_eq!(told, Some(0));
    world.round_trip(4);
    assert_eq!(world.frontend.memory.read(DATA, 1), [4]);
}
