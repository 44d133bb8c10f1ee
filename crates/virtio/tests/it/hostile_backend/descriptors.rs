//! What a backend can do with the descriptors it was handed, and with those it hands out.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use vhost::vhost_user::message::FrontendReq;

use crate::kit::*;

/// The kick is shared with the backend, its flags too. Made blocking and full, it must not hold
/// up whoever writes to it.
#[test]
fn a_kick_that_is_full_and_blocks() {
    let mut setup = Setup::default();
    // Without event indices every request is kicked.
    setup.offer.features &= !ringfence_virtio::features::EVENT_INDEX;
    let mut world = World::new(setup);
    world.round_trip(1);
    let kick = world.stand.backend.with_ring(0, |ring| {
        ring.kick.as_ref().expect("it runs").try_clone().expect("a duplicate")
    });
    // An eventfd is full one below its largest value.
    let _kicks = rustix::io::read(&kick, &mut [0; 8]);
    let _full = rustix::io::write(&kick, &(u64::MAX - 1).to_ne_bytes());
    rustix::fs::fcntl_setfl(&kick, OFlags::empty()).expect("flags are anybody's to set");
    for seed in 0..5 {
        world.round_trip(seed);
        let offered = world.frontend.offered;
        assert_eq!(world.frontend.ask_number(FrontendReq::GET_FEATURES), offered);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Two queues whose kicks are made to wait, and filled and emptied without end: whoever frees the
/// broker of one must not be caught by the other.
#[test]
fn kicks_filled_and_emptied_without_end() {
    let mut setup = Setup::default();
    setup.offer.features &= !ringfence_virtio::features::EVENT_INDEX;
    let mut world = World::new(setup);
    let mut other = Driver::new(&world.frontend.memory, 0x4000, 16);
    other.event_index = world.frontend.event_index();
    world.frontend.start(1, &other);
    world.round_trip(1);
    let kicks = [0, 1].map(|queue| {
        world.stand.backend.with_ring(queue, |ring| {
            ring.kick.as_ref().expect("it runs").try_clone().expect("a duplicate")
        })
    });
    for kick in &kicks {
        rustix::fs::fcntl_setfl(kick, OFlags::empty()).expect("flags are anybody's to set");
    }
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Neither of these waits: there is always something to read, or room to write.
            use rustix::io::ReadWriteFlags as Flags;
            while !is_over.load(Ordering::Relaxed) {
                for kick in &kicks {
                    let mut bytes = [0; 8];
                    let into = &mut [std::io::IoSliceMut::new(&mut bytes)];
                    let _ = rustix::io::preadv2(kick, into, u64::MAX, Flags::NOWAIT);
                    if !is_readable(kick, std::time::Duration::ZERO) {
                        let _ = rustix::fs::fcntl_setfl(kick, OFlags::NONBLOCK);
                        let _ = rustix::io::write(kick, &(u64::MAX - 1).to_ne_bytes());
                        let _ = rustix::fs::fcntl_setfl(kick, OFlags::empty());
                    }
                }
            }
        });
        for seed in 0..100 {
            world.round_trip(seed);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let offered = world.frontend.offered;
    assert_eq!(world.frontend.ask_number(FrontendReq::GET_FEATURES), offered);
}

/// Calls without end, and without completions, cost time and nothing else.
#[test]
fn calls_without_end() {
    let mut world = World::default();
    let call = world.stand.backend.with_ring(0, |ring| {
        ring.call.as_ref().expect("it runs").try_clone().expect("a duplicate")
    });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _full = rustix::io::write(&call, &1u64.to_ne_bytes());
            }
        });
        let work = std::panic::AssertUnwindSafe(|| {
            for seed in 0..20 {
                world.round_trip(seed);
                let offered = world.frontend.offered;
                assert_eq!(world.frontend.ask_number(FrontendReq::GET_FEATURES), offered);
            }
        });
        let ended = std::panic::catch_unwind(work);
        over.store(true, Ordering::Relaxed);
        assert!(ended.is_ok(), "the fence did not keep up");
    });
}

/// Descriptors that come with answers are closed: nobody asked for any.
#[test]
fn descriptors_with_every_answer() {
    let name = "with-every-answer";
    let memory = Memory::new(name, 4096);
    let theirs = memory.clone();
    let setup = Setup::with_conduct(Box::new(move |_, _| {
        Answer::With((0..8).map(|_| theirs.file()).collect())
    }));
    let mut world = World::new(setup);
    world.round_trip(1);
    world.frontend.config(0, 8);
    world.reset_and_round_trip();
    // One is the test's own; what the backend is about to send or just sent is gone in a moment.
    until("all to be closed", || (descriptors_named(name) <= 2).then_some(()));
}
