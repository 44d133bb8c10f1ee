//! Rings that cannot be, and rings that are changed while they run.

use ringfence_ledger::refusals::NOT_GRANTED;
use ringfence_refusal::Code;
use ringfence_virtio::refusals::{BAD_RING, BAD_WINDOW, MALFORMED_MESSAGE, OUT_OF_ORDER};
use ringfence_virtio::wire::VringAddress;
use vhost::vhost_user::message::FrontendReq;
use zerocopy::IntoBytes;

use crate::kit::*;

/// Where guest memory ends for the VMM.
const END: u64 = UVA + RAM_BYTES as u64;

/// The VMM places a ring where it cannot be; that is refused, and with the right place the queue
/// starts after all.
fn misplaced(code: &'static Code, wrong: impl Fn(&mut VringAddress)) {
    let mut world = World::stopped(Setup::default(), 0);
    world.frontend.prepare(0, &world.driver, 0);
    let mut address = Frontend::address_of(0, &world.driver);
    wrong(&mut address);
    let placed = FrontendReq::SET_VRING_ADDR;
    world.frontend.must(placed, address.as_bytes(), Vec::new());
    let kick = || vec![world.driver.kick.try_clone().expect("a duplicate")];
    let told = world.frontend.tell(FrontendReq::SET_VRING_KICK, &[0; 8], kick());
    assert_eq!(told, Some(1));
    world.stand.refused(code);
    assert!(world.stand.backend.known().rings.is_empty(), "the backend heard of it");
    let address = Frontend::address_of(0, &world.driver);
    world.frontend.must(placed, address.as_bytes(), Vec::new());
    world.round_trip(1);
    world.serves_the_next();
}

macro_rules! misplaced {
    ($($name:ident: $code:ident <- $field:ident = $place:expr;)*) => {
        $(#[test]
        fn $name() {
            misplaced(&$code, |address| address.$field = $place);
        })*
    };
}

misplaced! {
    a_descriptor_table_outside_of_memory: BAD_RING <- descriptors = END;
    an_available_ring_outside_of_memory: BAD_RING <- available = 0x1000;
    a_used_ring_outside_of_memory: BAD_RING <- used = UVA - 0x1000;
    a_descriptor_table_at_a_guest_address: BAD_RING <- descriptors = GPA;
    a_descriptor_table_that_passes_the_end: NOT_GRANTED <- descriptors = END - 64 * 16 + 16;
    an_available_ring_that_passes_the_end: NOT_GRANTED <- available = END - 64 * 2;
    a_used_ring_that_passes_the_end: NOT_GRANTED <- used = END - 64 * 8;
    a_descriptor_table_at_the_end_of_the_space: BAD_RING <- descriptors = u64::MAX - 15;
    a_used_ring_at_the_end_of_the_space: BAD_RING <- used = u64::MAX - 3;
    a_descriptor_table_misaligned: BAD_RING <- descriptors = UVA + 0x1008;
    an_available_ring_misaligned: BAD_RING <- available = UVA + 0x2001;
    a_used_ring_misaligned: BAD_RING <- used = UVA + 0x3002;
}

#[test]
fn a_ring_that_crosses_from_one_region_into_the_next() {
    let mut world = World::stopped(Setup::default(), 0);
    let memory = Memory::new("the-next-region", 0x1000);
    let next = ringfence_virtio::wire::MemoryRegion {
        guest_address: GPA + RAM_BYTES as u64,
        size: 0x1000,
        user_address: END,
        mmap_offset: 0,
    };
    let told = world.frontend.one_region(FrontendReq::ADD_MEM_REG, &next, vec![memory.file()]);
    assert_eq!(told, Some(0));
    world.frontend.prepare(0, &world.driver, 0);
    let address = VringAddress { descriptors: END - 32, ..Frontend::address_of(0, &world.driver) };
    world.frontend.must(FrontendReq::SET_VRING_ADDR, address.as_bytes(), Vec::new());
    let kick = vec![world.driver.kick.try_clone().expect("a duplicate")];
    assert_eq!(world.frontend.tell(FrontendReq::SET_VRING_KICK, &[0; 8], kick), Some(1));
    world.stand.refused(&BAD_RING);
}

#[test]
fn a_size_that_is_none() {
    for size in [0, 3, 65, 32_769, 65_535, 65_536, u32::MAX] {
        let mut world = World::stopped(Setup::default(), 0);
        let told = world.frontend.queue_number(FrontendReq::SET_VRING_NUM, 0, size);
        assert_eq!(told, Some(1), "{size}");
        world.stand.refused(&BAD_RING);
    }
}

#[test]
fn a_ring_too_large_for_the_window() {
    let mut world = World::stopped(Setup::default(), 0);
    world.driver = Driver::new(&world.frontend.memory, 0x1000, 32_768);
    world.frontend.prepare(0, &world.driver, 0);
    let kick = vec![world.driver.kick.try_clone().expect("a duplicate")];
    assert_eq!(world.frontend.tell(FrontendReq::SET_VRING_KICK, &[0; 8], kick), Some(1));
    world.stand.refused(&BAD_WINDOW);
}

#[test]
fn a_base_beyond_sixteen_bits() {
    let mut world = World::stopped(Setup::default(), 0);
    let told = world.frontend.queue_number(FrontendReq::SET_VRING_BASE, 0, 0x1_0000);
    assert_eq!(told, Some(1));
    world.stand.refused(&MALFORMED_MESSAGE);
}

/// A message for a queue that runs is refused with `code`, and the queue runs on.
fn while_it_runs(code: &'static Code, wrong: impl Fn(&mut World) -> Option<u64>) {
    let mut world = World::default();
    world.round_trip(1);
    assert_eq!(wrong(&mut world), Some(1));
    world.stand.refused(code);
    world.round_trip(2);
}

#[test]
fn a_ring_that_is_moved_while_it_runs() {
    while_it_runs(&OUT_OF_ORDER, |world| {
        let address = Frontend::address_of(0, &world.driver);
        world.frontend.tell(FrontendReq::SET_VRING_ADDR, address.as_bytes(), Vec::new())
    });
}

#[test]
fn a_ring_that_is_resized_while_it_runs() {
    while_it_runs(&OUT_OF_ORDER, |world| {
        world.frontend.queue_number(FrontendReq::SET_VRING_NUM, 0, 32_768)
    });
}

#[test]
fn a_ring_that_is_set_back_while_it_runs() {
    while_it_runs(&OUT_OF_ORDER, |world| {
        world.frontend.queue_number(FrontendReq::SET_VRING_BASE, 0, 0)
    });
}

#[test]
fn a_kick_that_is_replaced_while_its_queue_runs() {
    while_it_runs(&OUT_OF_ORDER, |world| {
        world.frontend.tell(FrontendReq::SET_VRING_KICK, &[0; 8], vec![eventfd()])
    });
}

#[test]
fn features_that_change_while_queues_run() {
    while_it_runs(&OUT_OF_ORDER, |world| {
        let fewer = world.frontend.accepted & !ringfence_virtio::features::EVENT_INDEX;
        world.frontend.tell(FrontendReq::SET_FEATURES, fewer.as_bytes(), Vec::new())
    });
}

#[test]
fn a_queue_enabled_by_half() {
    while_it_runs(&MALFORMED_MESSAGE, |world| {
        world.frontend.queue_number(FrontendReq::SET_VRING_ENABLE, 0, 2)
    });
}

/// A kick that cannot be waited for is said to be the wrong kind of descriptor.
#[test]
fn a_kick_that_is_a_plain_file() {
    let mut world = World::stopped(Setup::default(), 0);
    world.frontend.prepare(0, &world.driver, 0);
    let file = Memory::new("no-eventfd", 4096).file();
    assert_eq!(world.frontend.tell(FrontendReq::SET_VRING_KICK, &[0; 8], vec![file]), Some(1));
    world.stand.refused(&ringfence_virtio::refusals::WRONG_DESCRIPTORS);
}

/// Taking away the memory of a ring that runs stops the ring, not the broker.
#[test]
fn a_ring_whose_memory_is_taken_away() {
    let mut world = World::default();
    world.round_trip(1);
    let told = world.frontend.one_region(
        FrontendReq::REM_MEM_REG,
        &region_of(&world.frontend.memory),
        Vec::new(),
    );
    assert_eq!(told, Some(0));
    world.stand.refused(&BAD_RING);
    world.driver.kick();
    assert!(world.driver.was_stopped());
    assert_eq!(world.frontend.stop(0), 1);
    world.serves_the_next();
}

/// A request on its way whose memory was taken away is not written to where that memory was.
#[test]
fn a_request_whose_memory_is_taken_away() {
    let mut world = World::default();
    let memory = Memory::new("taken-away", 0x1000);
    let region = ringfence_virtio::wire::MemoryRegion {
        guest_address: GPA + (1 << 30),
        size: 0x1000,
        user_address: UVA + (1 << 32),
        mmap_offset: 0,
    };
    let told = world.frontend.one_region(FrontendReq::ADD_MEM_REG, &region, vec![memory.file()]);
    assert_eq!(told, Some(0));
    let back = Buffer { address: region.guest_address, length: 64, writable: true };
    let head = world.driver.chain(0, &[back]);
    world.driver.submit(head);
    let popped = world.stand.backend.wait_pop(0);
    let told = world.frontend.one_region(FrontendReq::REM_MEM_REG, &region, Vec::new());
    assert_eq!(told, Some(0));
    world.stand.backend.write(&popped.writable, &[0xee; 64]);
    world.stand.backend.complete(0, popped.head, 64);
    world.stand.refused(&NOT_GRANTED);
    assert_eq!(memory.read(0, 0x1000), [0; 0x1000]);
    world.reset_and_round_trip();
}
