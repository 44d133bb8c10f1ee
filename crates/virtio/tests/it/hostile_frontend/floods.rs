//! Thousands of messages of every kind: descriptors and lists stay as few as the last of them needs.

use std::os::fd::OwnedFd;

use ringfence_virtio::wire::MemoryRegion;
use ringfence_virtio::wire::VRING_NO_DESCRIPTOR;
use vhost::vhost_user::message::FrontendReq as F;
use zerocopy::IntoBytes;

use crate::kit::*;

/// How often each is sent.
const TIMES: usize = 1500;

/// One message again and again, whatever comes of it: of its descriptors, `most` at a time are
/// open besides those the test has itself.
fn flood(name: &str, request: impl Into<u32>, payload: &[u8], files: usize, most: usize) {
    let request = request.into();
    let mut world = World::default();
    let memory = Memory::new(name, RAM_BYTES);
    let before = descriptors_named(name);
    for _ in 0..TIMES {
        let files: Vec<OwnedFd> = (0..files).map(|_| memory.file()).collect();
        assert!(world.frontend.tell_number(request, payload, files).is_some());
    }
    let left = descriptors_named(name) - before;
    assert!(left <= most, "{left} descriptors are open after {TIMES} messages {request}");
    let counters = world.stand.counters();
    assert!(counters.offences.len() <= 2, "{:?}", counters.offences);
    drop(world);
    until("all to be closed", || (descriptors_named(name) == before).then_some(()));
}

macro_rules! floods {
    ($($name:ident: $request:expr, $payload:expr, $files:literal, $most:literal;)*) => {
        $(#[test]
        fn $name() {
            flood(concat!("flood-", stringify!($name)), $request, $payload.as_bytes(), $files, $most);
        })*
    };
}

floods! {
    calls_of_one_queue: F::SET_VRING_CALL, 1u64, 1, 1;
    errors_of_one_queue: F::SET_VRING_ERR, 1u64, 1, 1;
    kicks_of_one_queue: F::SET_VRING_KICK, 1u64, 1, 1;
    calls_taken_back: F::SET_VRING_CALL, 1 | VRING_NO_DESCRIPTOR, 0, 0;
    channels_for_requests: F::SET_BACKEND_REQ_FD, [0u8; 0], 1, 1;
    features_with_descriptors: F::SET_FEATURES, u64::MAX, 8, 0;
    tables_without_regions: F::SET_MEM_TABLE, [0u8; 8], 8, 0;
    tables_cut_short: F::SET_MEM_TABLE, [8u8, 0, 0, 0, 0, 0, 0, 0], 8, 0;
    regions_of_nothing: F::ADD_MEM_REG, [0u8; 40], 1, 0;
    regions_removed_with_descriptors: F::REM_MEM_REG, [0u8; 40], 8, 0;
    logs: F::SET_LOG_BASE, [0u8; 16], 1, 0;
    log_descriptors: F::SET_LOG_FD, [0u8; 0], 1, 0;
    postcopy: F::POSTCOPY_ADVISE, [0u8; 0], 8, 0;
    requests_that_do_not_exist: 4000u32, [0xffu8; 4096], 8, 0;
}

/// The whole table, again and again: each takes the place of the one before.
#[test]
fn memory_tables() {
    let name = "flood-of-tables";
    let mut world = World::default();
    let memory = Memory::new(name, RAM_BYTES);
    let before = descriptors_named(name);
    let region = region_of(&memory);
    for _ in 0..TIMES {
        let files = vec![memory.file()];
        assert_eq!(world.frontend.name_memory(&[region], files), Some(0));
    }
    assert_eq!(descriptors_named(name) - before, 1);
    assert_eq!(world.stand.counters().guest_memory_bytes, RAM_BYTES as u64);
}

/// Regions come and go.
#[test]
fn regions_added_and_removed() {
    let name = "flood-of-regions";
    let mut world = World::default();
    let memory = Memory::new(name, 4096);
    let before = descriptors_named(name);
    let bytes = world.stand.counters().guest_memory_bytes;
    let region =
        MemoryRegion { guest_address: 1 << 40, user_address: 1 << 45, size: 4096, mmap_offset: 0 };
    for _ in 0..TIMES {
        let files = vec![memory.file()];
        assert_eq!(world.frontend.one_region(F::ADD_MEM_REG, &region, files), Some(0));
        let files = vec![memory.file()];
        assert_eq!(world.frontend.one_region(F::REM_MEM_REG, &region, files), Some(0));
    }
    assert_eq!(descriptors_named(name), before);
    assert_eq!(world.stand.counters().guest_memory_bytes, bytes);
    world.round_trip(9);
}

/// A queue is set up and taken down, with descriptors of its own each time.
#[test]
fn queues_started_and_stopped() {
    let mut world = World::default();
    world.round_trip(1);
    let used = world.stand.counters().window_used_bytes;
    for round in 0..300 {
        world.reset_and_round_trip();
        // The gauge is brought up to date after the guest has its answer.
        until(&format!("the window's pages after {round}"), || {
            (world.stand.counters().window_used_bytes <= used).then_some(())
        });
    }
    assert_eq!(world.stand.counters().refusals, 0);
}
