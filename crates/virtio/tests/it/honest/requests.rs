//! Requests of every shape, one at a time and many at once.

use ringfence_virtio::features::{EVENT_INDEX, INDIRECT, PROTOCOL_FEATURES};
use ringfence_virtio::refusals;

use crate::kit::*;

/// Where requests have their buffers in guest memory.
const DATA: usize = 0x10_0000;

#[test]
fn one_request_goes_there_and_back() {
    let mut world = World::default();
    for seed in 0..20 {
        world.round_trip(seed);
    }
    let counted = world.stand.counters();
    assert_eq!((counted.requests, counted.refusals), (20, 0));
    assert_eq!((counted.bytes_to_device, counted.bytes_to_guest), (20 * 200, 20 * 300));
}

/// Buffers of odd sizes at odd places, readable ones first.
fn odd_buffers(world: &World) -> (Vec<Buffer>, Vec<u8>, usize) {
    let mut buffers = Vec::new();
    let mut bytes = Vec::new();
    let mut room = 0;
    let mut at = DATA + 3;
    for length in [1, 15, 4096, 4097, 63, 9000] {
        let part: Vec<u8> = (0..length).map(|byte| (byte * 31 % 251) as u8).collect();
        buffers.push(world.put(at, &part));
        bytes.extend(part);
        at += length + 5;
    }
    for length in [16, 1, 5000, 4096] {
        buffers.push(to_guest(at, length));
        room += length;
        at += length;
    }
    (buffers, bytes, room)
}

fn arrives_in_order(world: &mut World, head: u16, buffers: &[Buffer], bytes: &[u8], room: usize) {
    world.driver.submit(head);
    let popped = world.stand.backend.wait_pop(0);
    assert_eq!(popped.readable.len() + popped.writable.len(), buffers.len());
    assert_eq!(world.stand.backend.read(&popped.readable), bytes);
    world.stand.backend.echo(0, &popped);
    assert_eq!(world.driver.wait_used(), (head.into(), u32::try_from(room).expect("short")));
    let first = buffers.iter().find(|buffer| buffer.writable).expect("one is writable");
    let at = usize::try_from(first.address - GPA).expect("in guest memory");
    let expected: Vec<u8> = bytes.iter().copied().cycle().take(room).collect();
    assert_eq!(world.frontend.memory.read(at, room), expected);
}

#[test]
fn direct_chains_arrive_in_order() {
    let mut world = World::default();
    let (buffers, bytes, room) = odd_buffers(&world);
    let head = world.driver.chain(20, &buffers);
    arrives_in_order(&mut world, head, &buffers, &bytes, room);
}

#[test]
fn indirect_chains_arrive_in_order() {
    let mut world = World::default();
    let (buffers, bytes, room) = odd_buffers(&world);
    let head = world.driver.indirect(7, 0x8000, &buffers);
    arrives_in_order(&mut world, head, &buffers, &bytes, room);
}

/// Virtio 1.2, section 2.7.5.3.2: a device handles plain descriptors followed by one indirect.
#[test]
fn a_chain_may_end_in_an_indirect_table() {
    let mut world = World::default();
    let (buffers, bytes, room) = odd_buffers(&world);
    let head = world.driver.chain(0, &buffers[..2]);
    let last = buffers[1];
    world.driver.describe(1, last.address, last.length, NEXT, 9);
    world.driver.indirect(9, 0x8000, &buffers[2..]);
    arrives_in_order(&mut world, head, &buffers, &bytes, room);
}

#[test]
fn an_indirect_table_may_be_longer_than_the_ring() {
    let mut world = World::default();
    let mut buffers: Vec<Buffer> =
        (0..300).map(|each| world.put(DATA + each, &[each as u8])).collect();
    buffers.push(to_guest(DATA + 0x1000, 300));
    let bytes: Vec<u8> = (0..300).map(|each| each as u8).collect();
    let head = world.driver.indirect(0, 0x8000, &buffers);
    arrives_in_order(&mut world, head, &buffers, &bytes, 300);
}

#[test]
fn a_used_length_below_the_room_copies_only_that_much() {
    let mut world = World::default();
    world.frontend.memory.write(DATA, &[9; 100]);
    let head = world.driver.chain(0, &[to_guest(DATA, 40), to_guest(DATA + 40, 60)]);
    world.driver.submit(head);
    let popped = world.stand.backend.wait_pop(0);
    world.stand.backend.write(&popped.writable, &[1; 100]);
    world.stand.backend.complete(0, popped.head, 50);
    assert_eq!(world.driver.wait_used(), (0, 50));
    let expected = [vec![1; 50], vec![9; 50]].concat();
    assert_eq!(world.frontend.memory.read(DATA, 100), expected);
}

#[test]
fn completions_may_come_in_any_order() {
    let mut world = World::default();
    for head in 0..8u16 {
        let at = DATA + usize::from(head) * 64;
        let out = world.put(at, &[head as u8 + 1; 8]);
        world.driver.chain(head * 2, &[out, to_guest(at + 32, 8)]);
        world.driver.submit(head * 2);
    }
    let mut popped: Vec<Popped> = (0..8).map(|_| world.stand.backend.wait_pop(0)).collect();
    popped.swap(0, 5);
    popped.swap(2, 7);
    popped.iter().for_each(|popped| world.stand.backend.echo(0, popped));
    let mut heads: Vec<u32> = (0..8).map(|_| world.driver.wait_used().0).collect();
    assert_eq!(heads, [10, 2, 14, 6, 8, 0, 12, 4]);
    heads.sort_unstable();
    assert_eq!(heads, [0, 2, 4, 6, 8, 10, 12, 14]);
    for head in 0..8u8 {
        let at = DATA + usize::from(head) * 64 + 32;
        assert_eq!(world.frontend.memory.read(at, 8), [head + 1; 8]);
    }
}

/// Both peers sleep whenever they may, so one lost notification is the end.
fn nobody_sleeps_for_ever(guest_has: bool, backend_has: bool) {
    let mut setup = Setup::default();
    if !backend_has {
        setup.offer.features &= !EVENT_INDEX;
    }
    let without = if guest_has { 0 } else { EVENT_INDEX };
    let mut world = World::without(setup, without);
    assert_eq!(world.driver.event_index, guest_has);
    assert_eq!(world.stand.backend.known().features & EVENT_INDEX != 0, backend_has);
    for round in 0..400usize {
        let batch = round * 7 % 13 + 1;
        for each in 0..batch as u16 {
            let at = DATA + usize::from(each) * 16;
            let out = world.put(at, &(round as u32).to_le_bytes());
            world.driver.chain(each * 2, &[out, to_guest(at + 8, 4)]);
            world.driver.offer(each * 2);
        }
        if world.driver.publish() {
            world.driver.kick();
        }
        for _ in 0..batch {
            let popped = world.stand.backend.wait_pop_asleep(0);
            world.stand.backend.echo(0, &popped);
        }
        for _ in 0..batch {
            let (head, length) = world.driver.wait_used_asleep();
            let at = DATA + head as usize / 2 * 16 + 8;
            assert_eq!(length, 4);
            assert_eq!(world.frontend.memory.read(at, 4), (round as u32).to_le_bytes());
        }
        if round % 16 == 0 {
            // Long enough for the fence to go to sleep as well.
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    assert_eq!(world.stand.counters().refusals, 0);
}

#[test]
fn no_notification_is_lost_with_event_indices_on_neither_side() {
    nobody_sleeps_for_ever(false, false);
}

#[test]
fn no_notification_is_lost_with_event_indices_for_the_guest() {
    nobody_sleeps_for_ever(true, false);
}

#[test]
fn no_notification_is_lost_with_event_indices_for_the_backend() {
    nobody_sleeps_for_ever(false, true);
}

#[test]
fn no_notification_is_lost_with_event_indices_on_both_sides() {
    nobody_sleeps_for_ever(true, true);
}

#[test]
fn indices_wrap_around() {
    let mut world = World::default();
    let mut sent = 0u32;
    while sent < 70_000 {
        for each in 0..32u16 {
            let at = DATA + usize::from(each) * 16;
            let out = world.put(at, &(sent + u32::from(each)).to_le_bytes());
            world.driver.chain(each * 2, &[out, to_guest(at + 8, 4)]);
            world.driver.offer(each * 2);
        }
        world.driver.publish();
        world.driver.kick();
        let mut served = 0;
        while served < 32 {
            served +=
                until("requests", || Some(world.stand.backend.echo_all(0)).filter(|n| *n > 0));
        }
        for each in 0..32u32 {
            assert_eq!(world.driver.wait_used(), (each * 2, 4));
            let at = DATA + each as usize * 16 + 8;
            assert_eq!(world.frontend.memory.read(at, 4), (sent + each).to_le_bytes());
        }
        sent += 32;
    }
    assert!(world.driver.last_used < 32_768, "the index went round");
    assert_eq!(world.stand.counters().requests, u64::from(sent));
}

#[test]
fn a_ring_may_begin_anywhere() {
    let mut world = World::stopped(Setup::default(), 0);
    world.driver.next_available = 65_534;
    world.driver.last_used = 65_530;
    world.driver.publish();
    world.frontend.memory.store(world.driver.used + 2, 65_530);
    world.frontend.start(0, &world.driver);
    for seed in 0..10 {
        world.round_trip(seed);
    }
}

#[test]
fn many_large_requests_wait_for_room_in_the_window() {
    const EACH: usize = 100 << 10;
    const COUNT: u16 = 30;
    let mut world = World::default();
    for each in 0..COUNT {
        let at = DATA + usize::from(each) * (EACH + 0x1000);
        let out = world.put(at, &vec![each as u8 + 1; EACH]);
        world.driver.chain(each * 2, &[out, to_guest(at + EACH, 16)]);
        world.driver.offer(each * 2);
    }
    world.driver.publish();
    world.driver.kick();
    assert!(usize::from(COUNT) * EACH > 1 << 20, "or nothing would wait");
    let mut done = 0;
    let mut waiting: Vec<Popped> = Vec::new();
    let mut most = 0;
    while done < COUNT {
        waiting.extend(std::iter::from_fn(|| world.stand.backend.pop(0)));
        most = most.max(waiting.len());
        if waiting.is_empty() {
            waiting.push(world.stand.backend.wait_pop(0));
        }
        // The one in the middle, so that the room becomes ragged.
        let popped = waiting.remove(waiting.len() / 2);
        let bytes = world.stand.backend.read(&popped.readable);
        assert!(bytes.len() == EACH && bytes.iter().all(|byte| *byte == bytes[0]));
        world.stand.backend.echo(0, &popped);
        let (head, length) = world.driver.wait_used();
        let at = DATA + head as usize / 2 * (EACH + 0x1000) + EACH;
        assert_eq!(length, 16);
        assert_eq!(world.frontend.memory.read(at, 16), [head as u8 / 2 + 1; 16]);
        done += 1;
    }
    assert!(most < usize::from(COUNT), "all {most} were in the window at once");
    assert_eq!(world.stand.counters().refusals, 0);
}

#[test]
fn a_request_larger_than_the_window_is_refused_and_not_left_waiting() {
    let mut world = World::default();
    let head = world.driver.chain(0, &[from_guest(DATA, 1 << 20)]);
    world.driver.submit(head);
    world.stand.refused(&refusals::CHAIN_TOO_LARGE);
    assert!(world.driver.was_stopped());
    assert!(world.stand.backend.sees_nothing(0));
    world.reset_and_round_trip();
}

#[test]
fn queues_do_not_mix() {
    let mut world = World::default();
    let mut drivers: Vec<Driver> = Vec::new();
    for index in 1..4u16 {
        let mut driver =
            Driver::new(&world.frontend.memory, 0x1000 + usize::from(index) * 0x2000, 16);
        driver.event_index = true;
        world.frontend.start(index.into(), &driver);
        drivers.push(driver);
    }
    for round in 0..50u8 {
        for (index, driver) in (1..).zip(&mut drivers) {
            let at = 0x20_0000 + 0x1000 * index as usize;
            world.frontend.memory.write(at, &[round ^ index as u8; 16]);
            let head = driver.chain(0, &[from_guest(at, 16), to_guest(at + 16, 16)]);
            driver.submit(head);
        }
        world.round_trip(round);
        for index in (1..4).rev() {
            let popped = world.stand.backend.wait_pop(index);
            assert_eq!(world.stand.backend.read(&popped.readable), [round ^ index as u8; 16]);
            world.stand.backend.echo(index, &popped);
        }
        for (index, driver) in (1..).zip(&mut drivers) {
            assert_eq!(driver.wait_used(), (0, 16));
            let at = 0x20_0000 + 0x1000 * index + 16;
            assert_eq!(world.frontend.memory.read(at, 16), [round ^ index as u8; 16]);
        }
    }
}

#[test]
fn a_backend_of_few_features_will_do() {
    for (features, protocol) in [(0, 0), (PROTOCOL_FEATURES, 0), (PROTOCOL_FEATURES, 1)] {
        let mut setup = Setup::default();
        setup.offer.features = features | 1 << 32;
        setup.offer.protocol = protocol;
        let mut world = World::new(setup);
        assert_eq!(world.frontend.offered & INDIRECT, 0);
        (0..5).for_each(|seed| world.round_trip(seed));
        world.reset_and_round_trip();
    }
}
