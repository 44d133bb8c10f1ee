//! What a guest can write into its rings.

use ringfence_ledger::refusals::{EMPTY, NOT_GRANTED, WRAPS};
use ringfence_refusal::Code;
use ringfence_virtio::features;
use ringfence_virtio::refusals::{BAD_AVAILABLE_INDEX, BAD_CHAIN};

use crate::kit::*;

const DATA: usize = 0x10_0000;
const TABLE: usize = 0x8000;
const END: u64 = GPA + RAM_BYTES as u64;

/// The guest does one thing wrong; the queue stops for it with `code`, the backend sees nothing
/// of it, and after a reset everything works.
fn is_refused(code: &'static Code, wrong: impl Fn(&mut World)) {
    is_refused_without(0, code, wrong);
}

fn is_refused_without(features: u64, code: &'static Code, wrong: impl Fn(&mut World)) {
    let mut world = World::without(Setup::default(), features);
    wrong(&mut world);
    world.stand.blames(Peer::Guest, code);
    assert!(world.driver.was_stopped(), "the VMM was not told");
    assert!(world.stand.backend.sees_nothing(0), "the backend was given it");
    assert_eq!(world.stand.counters().bytes_to_device, 0);
    assert_eq!(world.driver.take_used(), None);
    world.reset_and_round_trip();
    assert_eq!(world.stand.counters().refusals, 1);
    world.serves_the_next();
}

/// One descriptor, as it is.
fn one(address: u64, length: u32, flags: u16) -> impl Fn(&mut World) {
    move |world| {
        world.driver.describe(0, address, length, flags, 0);
        world.driver.submit(0);
    }
}

/// An indirect table of `length` bytes, of good descriptors.
fn table_of(length: u32) -> impl Fn(&mut World) {
    move |world| {
        world.driver.indirect(0, TABLE, &[from_guest(DATA, 64); 1100]);
        world.driver.describe(0, GPA + TABLE as u64, length, INDIRECT, 0);
        world.driver.submit(0);
    }
}

macro_rules! cases {
    ($($name:ident: $code:ident <- $wrong:expr;)*) => {
        $(#[test]
        fn $name() {
            is_refused(&$code, $wrong);
        })*
    };
}

cases! {
    an_address_outside_of_memory: NOT_GRANTED <- one(0x1000, 16, 0);
    an_address_right_after_memory: NOT_GRANTED <- one(END, 1, 0);
    an_address_right_before_memory: NOT_GRANTED <- one(GPA - 1, 1, 0);
    a_buffer_that_begins_before_memory: NOT_GRANTED <- one(GPA - 1, 2, 0);
    a_buffer_that_passes_the_end_of_memory: NOT_GRANTED <- one(END - 1, 2, 0);
    a_writable_buffer_that_passes_the_end_of_memory: NOT_GRANTED <- one(END - 1, 2, WRITE);
    the_address_of_the_vmm: NOT_GRANTED <- one(UVA, 16, 0);
    the_address_of_the_window: NOT_GRANTED <- one(0x1000_0000_0000, 16, WRITE);
    a_buffer_that_wraps: WRAPS <- one(u64::MAX - 7, 16, 0);
    a_writable_buffer_that_wraps: WRAPS <- one(u64::MAX, 2, WRITE);
    a_buffer_that_ends_with_the_space: NOT_GRANTED <- one(u64::MAX, 1, 0);
    an_empty_buffer: EMPTY <- one(GPA, 0, 0);
    an_empty_writable_buffer: EMPTY <- one(GPA, 0, WRITE);
    an_empty_table: BAD_CHAIN <- table_of(0);
    a_table_of_odd_length: BAD_CHAIN <- table_of(24);
    a_table_below_one_entry: BAD_CHAIN <- table_of(15);
    a_table_without_bounds: BAD_CHAIN <- table_of(1025 * 16);
    a_table_of_four_gigabytes: BAD_CHAIN <- table_of(0xffff_fff0);
    a_table_outside_of_memory: NOT_GRANTED <- one(END, 16, INDIRECT);
    a_table_that_passes_the_end_of_memory: NOT_GRANTED <- one(END - 16, 32, INDIRECT);
    a_table_that_wraps: WRAPS <- one(u64::MAX - 15, 32, INDIRECT);
    a_buffer_that_spans_a_hole: NOT_GRANTED <- |world: &mut World| {
        let memory = Memory::new("beyond-the-hole", 0x1000);
        let beyond = ringfence_virtio::wire::MemoryRegion {
            guest_address: END + 0x1000,
            size: 0x1000,
            user_address: UVA + (1 << 32),
            mmap_offset: 0,
        };
        let add = vhost::vhost_user::message::FrontendReq::ADD_MEM_REG;
        assert_eq!(world.frontend.one_region(add, &beyond, vec![memory.file()]), Some(0));
        one(END - 0x100, 0x1200, 0)(world);
    };
    the_second_buffer_of_a_chain: NOT_GRANTED <- |world: &mut World| {
        let beyond = Buffer { address: END, length: 16, writable: true };
        let head = world.driver.chain(0, &[from_guest(DATA, 64), beyond]);
        world.driver.submit(head);
    };
    a_buffer_of_an_indirect_table: NOT_GRANTED <- |world: &mut World| {
        let beyond = Buffer { address: END, length: 16, writable: false };
        let head = world.driver.indirect(0, TABLE, &[from_guest(DATA, 64), beyond]);
        world.driver.submit(head);
    };
    a_chain_that_is_its_own_next: BAD_CHAIN <- |world: &mut World| {
        world.driver.describe(0, GPA, 16, NEXT, 0);
        world.driver.submit(0);
    };
    a_loop_of_the_whole_table: BAD_CHAIN <- |world: &mut World| {
        for index in 0..64 {
            world.driver.describe(index, GPA, 16, NEXT, (index + 1) % 64);
        }
        world.driver.submit(5);
    };
    a_loop_in_an_indirect_table: BAD_CHAIN <- |world: &mut World| {
        let head = world.driver.indirect(0, TABLE, &[from_guest(DATA, 8), from_guest(DATA, 8)]);
        // The last entry goes on with the first.
        world.frontend.memory.store(TABLE + 16 + 12, NEXT);
        world.driver.submit(head);
    };
    a_next_beyond_the_table: BAD_CHAIN <- |world: &mut World| {
        world.driver.describe(0, GPA, 16, NEXT, 64);
        world.driver.submit(0);
    };
    a_next_beyond_the_indirect_table: BAD_CHAIN <- |world: &mut World| {
        let head = world.driver.indirect(0, TABLE, &[from_guest(DATA, 8), from_guest(DATA, 8)]);
        world.frontend.memory.store(TABLE + 14, 2);
        world.driver.submit(head);
    };
    a_head_beyond_the_ring: BAD_CHAIN <- |world: &mut World| world.driver.submit(64);
    the_highest_head_there_is: BAD_CHAIN <- |world: &mut World| world.driver.submit(u16::MAX);
    a_table_within_a_table: BAD_CHAIN <- |world: &mut World| {
        let head = world.driver.indirect(0, TABLE, &[from_guest(TABLE, 16)]);
        world.frontend.memory.store(TABLE + 12, INDIRECT);
        world.driver.submit(head);
    };
    a_table_with_descriptors_after_it: BAD_CHAIN <- |world: &mut World| {
        world.driver.indirect(0, TABLE, &[from_guest(DATA, 16)]);
        world.driver.describe(0, GPA + TABLE as u64, 16, INDIRECT | NEXT, 1);
        world.driver.chain(1, &[from_guest(DATA, 16)]);
        world.driver.submit(0);
    };
    a_readable_buffer_after_a_writable_one: BAD_CHAIN <- |world: &mut World| {
        let head = world.driver.chain(0, &[to_guest(DATA, 16), from_guest(DATA, 16)]);
        world.driver.submit(head);
    };
    more_than_four_gigabytes: BAD_CHAIN <- |world: &mut World| {
        let most = Buffer { address: GPA, length: u32::MAX, writable: false };
        let head = world.driver.chain(0, &[most, most]);
        world.driver.submit(head);
    };
    an_available_index_that_jumps: BAD_AVAILABLE_INDEX <- |world: &mut World| {
        world.driver.chain(0, &[from_guest(DATA, 16)]);
        world.frontend.memory.store(world.driver.available + 2, 65);
        world.driver.kick();
    };
    an_available_index_that_goes_back: BAD_AVAILABLE_INDEX <- |world: &mut World| {
        world.frontend.memory.store(world.driver.available + 2, u16::MAX);
        world.driver.kick();
    };
}

#[test]
fn an_indirect_table_that_was_not_negotiated() {
    is_refused_without(features::INDIRECT, &BAD_CHAIN, |world| {
        let head = world.driver.indirect(0, TABLE, &[from_guest(DATA, 16)]);
        world.driver.submit(head);
    });
}

/// Both requests are the guest's own, so both are served; nothing in the broker takes a
/// descriptor for free or taken because the guest says so.
#[test]
fn the_same_chain_many_times_at_once() {
    let mut world = World::default();
    let out = world.put(DATA, b"again");
    let head = world.driver.chain(3, &[out, to_guest(DATA + 64, 5)]);
    (0..64).for_each(|_| world.driver.offer(head));
    world.driver.publish();
    world.driver.kick();
    let popped: Vec<Popped> = (0..32).map(|_| world.stand.backend.wait_pop(0)).collect();
    assert!(world.stand.backend.sees_nothing(0), "64 chains of two do not fit 64 descriptors");
    popped.iter().for_each(|popped| world.stand.backend.echo(0, popped));
    (0..32).for_each(|_| {
        let popped = world.stand.backend.wait_pop(0);
        world.stand.backend.echo(0, &popped);
    });
    (0..64).for_each(|_| assert_eq!(world.driver.wait_used(), (3, 5)));
    world.round_trip(1);
}

/// Buffers of one chain may overlap one another: the broker copies each by itself.
#[test]
fn buffers_that_overlap_within_a_chain() {
    let mut world = World::default();
    let out = world.put(DATA, b"overlapping");
    let head = world.driver.chain(0, &[out, from_guest(DATA + 4, 4), to_guest(DATA, 11)]);
    world.driver.submit(head);
    let popped = world.stand.backend.wait_pop(0);
    assert_eq!(world.stand.backend.read(&popped.readable), b"overlappinglapp");
    world.stand.backend.echo(0, &popped);
    world.driver.wait_used();
    world.round_trip(1);
}

/// One stopped queue does not stop another.
#[test]
fn a_bad_chain_on_one_queue_leaves_the_others_running() {
    let mut world = World::default();
    let mut second = Driver::new(&world.frontend.memory, 0x4000, 16);
    second.event_index = true;
    world.frontend.start(1, &second);
    second.describe(0, END, 16, 0, 0);
    second.submit(0);
    world.stand.refused(&NOT_GRANTED);
    (0..5).for_each(|seed| world.round_trip(seed));
}

/// What other requests of the queue read or write when a bad chain stops it comes home before
/// the guest is told that its ring has stopped.
#[test]
fn a_bad_chain_behind_good_ones_on_their_way() {
    let mut world = World::default();
    let out = world.put(DATA, b"good");
    let head = world.driver.chain(0, &[out, to_guest(DATA + 64, 4)]);
    world.driver.submit(head);
    let popped = world.stand.backend.wait_pop(0);
    world.driver.describe(2, END, 16, 0, 0);
    world.driver.submit(2);
    world.stand.refused(&NOT_GRANTED);
    let World { frontend, driver, stand } = &mut world;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            stand.backend.echo(0, &popped);
        });
        frontend.stop(0);
    });
    let stops = stand.backend.with_ring(0, |ring| ring.stops);
    assert_eq!(stops, 1, "the backend was not told to stop, and may still write to the window");
    assert_eq!(driver.take_used(), Some((0, 4)));
    assert_eq!(frontend.memory.read(DATA + 64, 4), b"good");
    driver.reset();
    frontend.start(0, driver);
    world.round_trip(1);
}
