//! Completions of requests that are not there, or that did not go as is alleged.

use ringfence_refusal::Code;
use ringfence_virtio::Guard;
use ringfence_virtio::refusals::{
    BACKEND_REFUSES, BAD_USED_INDEX, UNKNOWN_COMPLETION, USED_LENGTH,
};
use ringfence_virtio::wire::VringState;
use vhost::vhost_user::message::FrontendReq;
use zerocopy::IntoBytes;

use crate::kit::*;

const DATA: usize = 0x10_0000;

/// Two requests with room for 64 bytes each, taken by the backend; around them guest memory that
/// must not change.
fn two_on_their_way(setup: Setup) -> (World, Popped, Popped) {
    let mut world = World::new(setup);
    world.frontend.memory.write(DATA - 0x1000, &[0xcc; 0x4000]);
    for (head, at) in [(0, DATA), (1, DATA + 0x1000)] {
        world.driver.chain(head, &[to_guest(at, 64)]);
        world.driver.offer(head);
    }
    world.driver.publish();
    world.driver.kick();
    let first = world.stand.backend.wait_pop(0);
    let second = world.stand.backend.wait_pop(0);
    (world, first, second)
}

/// The backend does one thing wrong with two requests on their way; the queue stops for it with
/// `code`, nothing of it reaches the guest, and after a reset everything works.
fn is_refused(code: &'static Code, wrong: impl Fn(&World, &Popped)) {
    let (mut world, first, _second) = two_on_their_way(Setup::with_conduct(honest()));
    let window = world.stand.backend.window().memory;
    world.stand.backend.write(&first.writable, &[0xee; 64]);
    let before = world.frontend.memory.read(DATA - 0x1000, 0x4000);
    wrong(&world, &first);
    world.stand.blames(Peer::Backend, code);
    assert!(world.driver.was_stopped());
    assert_eq!(world.driver.take_used(), None);
    assert_eq!(world.frontend.memory.read(DATA - 0x1000, 0x4000), before);
    let offered = world.frontend.offered;
    assert_eq!(world.frontend.ask_number(FrontendReq::GET_FEATURES), offered);
    drop(window);
    world.reset_and_round_trip();
    world.serves_the_next();
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
    an_id_that_was_never_issued: UNKNOWN_COMPLETION <- |world: &World, _: &Popped| {
        world.stand.backend.complete(0, 40u32, 64);
    };
    an_id_beyond_the_ring: UNKNOWN_COMPLETION <- |world: &World, _: &Popped| {
        world.stand.backend.complete(0, 64u32, 64);
    };
    an_id_that_is_right_in_its_lower_half: UNKNOWN_COMPLETION <- |world: &World, first: &Popped| {
        world.stand.backend.complete(0, 0x1_0000 + u32::from(first.head), 64);
    };
    the_highest_id_there_is: UNKNOWN_COMPLETION <- |world: &World, _: &Popped| {
        world.stand.backend.complete(0, u32::MAX, 64);
    };
    more_completions_than_requests: BAD_USED_INDEX <- |world: &World, _: &Popped| {
        world.stand.backend.set_used_index(0, 3);
    };
    a_used_index_that_goes_back: BAD_USED_INDEX <- |world: &World, _: &Popped| {
        world.stand.backend.set_used_index(0, u16::MAX);
    };
    a_used_index_half_way_round: BAD_USED_INDEX <- |world: &World, _: &Popped| {
        world.stand.backend.set_used_index(0, 0x8000);
    };
}

/// Invariant `outstanding-once`. The guest puts the memory of a completed request to another use; the backend completes the
/// request once more, with other bytes.
#[test]
fn a_request_completed_twice() {
    escapes_only_without(Guard::Outstanding, Some(&UNKNOWN_COMPLETION), |guards| {
        let (mut world, first, _second) = two_on_their_way(Setup::guarded(guards));
        world.stand.backend.write(&first.writable, &[1; 64]);
        world.stand.backend.complete(0, first.head, 64);
        assert_eq!(world.driver.wait_used(), (0, 64));
        world.frontend.memory.write(DATA, &[0x99; 64]);
        world.stand.backend.write(&first.writable, &[0xee; 64]);
        world.stand.backend.complete(0, first.head, 64);
        until("an end of the attack", || {
            if world.driver.take_used().is_some() {
                assert_eq!(world.frontend.memory.read(DATA, 64), [0xee; 64]);
                return Some(Outcome::Escaped);
            }
            let refusal = world.stand.counters().last_refusal?;
            assert_eq!(world.frontend.memory.read(DATA, 64), [0x99; 64]);
            Some(Outcome::Held(Some(refusal)))
        })
    });
}

/// Invariant `answers-only`. The backend alleges to have written more than the guest has room for.
#[test]
fn a_completion_longer_than_its_buffer() {
    escapes_only_without(Guard::UsedLength, Some(&USED_LENGTH), |guards| {
        let (mut world, first, _second) = two_on_their_way(Setup::guarded(guards));
        let piece = first.writable[0];
        let more = Piece { length: 128, ..piece };
        world.stand.backend.write(&[more], &[0xee; 128]);
        world.stand.backend.complete(0, first.head, 128);
        let (_, told) = world.driver.wait_used();
        assert_eq!(world.frontend.memory.read(DATA, 64), [0xee; 64], "its own buffer is filled");
        if world.frontend.memory.read(DATA + 64, 64) == [0xee; 64] {
            return Outcome::Escaped;
        }
        assert_eq!(told, 64, "Linux hands the length to its drivers unchecked");
        assert_eq!(world.frontend.memory.read(DATA + 64, 64), [0xcc; 64]);
        Outcome::Held(world.stand.counters().last_refusal)
    });
}

#[test]
fn a_completion_of_four_gigabytes() {
    let (mut world, first, second) = two_on_their_way(Setup::default());
    world.stand.backend.complete(0, second.head, 64);
    world.stand.backend.complete(0, first.head, u32::MAX as usize);
    assert_eq!(world.driver.wait_used(), (1, 64));
    assert_eq!(world.driver.wait_used(), (0, 64));
    world.stand.refused(&USED_LENGTH);
    assert_eq!(world.frontend.memory.read(DATA + 64, 64), [0xcc; 64]);
    world.round_trip(1);
}

/// A request without room for an answer has none, whatever its completion says.
#[test]
fn a_completion_with_bytes_of_a_request_that_is_only_read() {
    let mut world = World::default();
    let out = world.put(DATA, b"only read");
    let head = world.driver.chain(0, &[out]);
    world.driver.submit(head);
    let popped = world.stand.backend.wait_pop(0);
    world.stand.backend.write(&popped.readable, b"rewritten");
    world.stand.backend.complete(0, popped.head, 9);
    assert_eq!(world.driver.wait_used(), (0, 0));
    world.stand.refused(&USED_LENGTH);
    assert_eq!(world.frontend.memory.read(DATA, 9), b"only read");
}

/// A backend whose answers to `GET_VRING_BASE` are made up, and the base the guest then gets.
fn stopped_by_a_liar(state: VringState, work: impl Fn(&World, &Popped, &Popped)) -> (World, u16) {
    let setup = Setup::with_conduct(Box::new(move |request, _| match request {
        FrontendReq::GET_VRING_BASE => Answer::Payload(state.as_bytes().to_vec()),
        _ => Answer::Honest,
    }));
    let (mut world, first, second) = two_on_their_way(setup);
    work(&world, &first, &second);
    let base = world.frontend.stop(0);
    world.stand.refused(&BACKEND_REFUSES);
    (world, base)
}

#[test]
fn a_stop_that_alleges_more_requests_than_there_were() {
    for number in [3, 0x8000, 0xffff, 0x1_0000, u32::MAX] {
        let (_, base) = stopped_by_a_liar(VringState { index: 0, number }, |_, _, _| {});
        assert_eq!(base, 2);
    }
}

#[test]
fn a_stop_of_another_queue() {
    let (_, base) = stopped_by_a_liar(VringState { index: 1, number: 2 }, |_, _, _| {});
    assert_eq!(base, 2);
}

/// Both requests were completed, so none of them can be given back.
#[test]
fn a_stop_that_takes_completions_back() {
    let (_, base) =
        stopped_by_a_liar(VringState { index: 0, number: 0 }, |world, first, second| {
            world.stand.backend.complete(0, first.head, 64);
            world.stand.backend.complete(0, second.head, 64);
        });
    assert_eq!(base, 2);
}

/// One of two is completed, one not; the one said not to be begun is the one that was completed.
/// Given back, it would be carried out again in memory the guest has long put to other use.
#[test]
fn a_stop_that_takes_back_the_completed_one_of_two() {
    let (mut world, base) =
        stopped_by_a_liar(VringState { index: 0, number: 1 }, |world, _, second| {
            world.stand.backend.complete(0, second.head, 64);
        });
    assert_eq!(world.driver.wait_used(), (1, 64));
    assert_eq!(base, 2, "the completed request was given back to be done again");
}
