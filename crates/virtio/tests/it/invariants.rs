//! Invariants that no other test shows to be kept by a guard: each attack succeeds without it.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ringfence_virtio::Guard;
use ringfence_virtio::connection::Connection;
use ringfence_virtio::refusals::{BACKEND_REQUEST, PEER_SILENT};
use ringfence_virtio::wire::{Config, Message};
use vhost::vhost_user::message::{BackendReq, FrontendReq};
use zerocopy::IntoBytes;

use crate::kit::*;

const DATA: usize = 0x10_0000;

/// Invariant `published-only`: what lies where an answer will go was never published.
#[test]
fn what_an_answer_will_overwrite_is_read() {
    escapes_only_without(Guard::Published, None, |guards| {
        let mut world = World::new(Setup::guarded(guards));
        world.frontend.memory.write(DATA + 0x1000, b"of the guest's page cache");
        let out = world.put(DATA, b"a question");
        let head = world.driver.chain(0, &[out, to_guest(DATA + 0x1000, 64)]);
        world.driver.submit(head);
        world.stand.backend.wait_pop(0);
        match world.stand.backend.window().memory.contains(b"of the guest's page cache") {
            true => Outcome::Escaped,
            false => Outcome::Held(None),
        }
    });
}

/// Invariant `never-held-up`: a backend that does not answer is waited for until a deadline. A fence
/// that is only slow would look as if it were held up, which does no harm where it is to be.
#[test]
fn a_backend_that_does_not_answer() {
    escapes_only_without(Guard::Deadlines, Some(&PEER_SILENT), |guards| {
        let mut setup = Setup::with_conduct(Box::new(|request, _| match request {
            FrontendReq::GET_CONFIG => Answer::Silence,
            _ => Answer::Honest,
        }));
        setup.options.guards = guards;
        setup.options.message_deadline = Duration::from_millis(20);
        let mut world = World::new(setup);
        let head = Config { offset: 0, size: 8, flags: 0 };
        let question = [head.as_bytes(), &[0; 8]].concat();
        world.frontend.send(&Message::request(FrontendReq::GET_CONFIG.into(), &question));
        let patience = if guards.is_whole() { PATIENCE } else { Duration::from_millis(500) };
        let until = Instant::now() + patience;
        while !world.frontend.hears_something() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if world.frontend.hears_something() {
            return Outcome::Held(world.stand.counters().last_refusal);
        }
        // Its end lets the fence go on.
        world.stand.backend.die();
        Outcome::Escaped
    });
}

/// Invariant `fresh-start`: a successor finds nothing of its predecessor's.
#[test]
fn a_backend_reads_what_its_predecessor_left() {
    escapes_only_without(Guard::OwnWindow, None, |guards| {
        let mut setup = Setup::guarded(guards);
        setup.options.patience = Duration::from_secs(10);
        let mut world = World::new(setup);
        world.round_trip(1);
        let last = (1 << 20) - 16;
        world.stand.backend.window().memory.write(last, b"left behind");
        world.stand.backend.die();
        let socket = world.stand.folder().join("backend");
        std::fs::remove_file(&socket).expect("its socket stays behind");
        world.stand.backend = TestBackend::new(&socket, Offer::default(), honest());
        world.round_trip(2);
        match world.stand.backend.window().memory.read(last, 11) == b"left behind" {
            true => Outcome::Escaped,
            false => Outcome::Held(None),
        }
    });
}

/// Invariant `apart`: what a VM publishes on one device is nothing to the backend of another's.
#[test]
fn a_backend_reads_what_another_device_was_given() {
    escapes_only_without(Guard::OwnWindow, None, |guards| {
        let setup = || {
            let mut setup = Setup::guarded(guards);
            // No other test shares windows of this size.
            setup.options.window_bytes = 2 << 20;
            setup
        };
        let eavesdropper = World::new(setup());
        let mut world = World::new(setup());
        let out = world.put(DATA, b"for one disk only");
        let head = world.driver.chain(0, &[out, to_guest(DATA + 0x1000, 64)]);
        world.driver.submit(head);
        world.stand.backend.wait_pop(0);
        match eavesdropper.stand.backend.window().memory.contains(b"for one disk only") {
            true => Outcome::Escaped,
            false => Outcome::Held(None),
        }
    });
}

/// Invariant `nothing-of-theirs`: a file of a backend's is mapped by nobody.
#[test]
fn a_backend_hands_the_vmm_memory_of_its_own() {
    escapes_only_without(Guard::BackendRequests, Some(&BACKEND_REQUEST), |guards| {
        let mut world = World::new(Setup::guarded(guards));
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        world.frontend.must(FrontendReq::SET_BACKEND_REQ_FD, &[], vec![theirs.into()]);
        let mut backends = world.stand.backend.known().channel.take().expect("it has a channel");
        let vmm = Connection::new(ours, "fence");
        let request = Message::request_needing_reply(BackendReq::SHMEM_MAP.into(), &[0; 40]);
        let file = Memory::new("of-the-backend", 4096).file();
        let deadline = Instant::now() + PATIENCE;
        backends.send_by(&request.with_descriptors(vec![file]), deadline).expect("sent");
        until("the request to be passed on or refused", || {
            if is_readable(&vmm, Duration::ZERO) {
                return Some(Outcome::Escaped);
            }
            world.stand.counters().last_refusal.map(|refusal| Outcome::Held(Some(refusal)))
        })
    });
}

/// Invariant `no-addresses`: a backend is not told where anybody has anything.
#[test]
fn a_backend_is_told_where_the_window_is_mapped() {
    escapes_only_without(Guard::Addresses, None, |guards| {
        let mut world = World::new(Setup::guarded(guards));
        world.round_trip(1);
        let maps = std::fs::read_to_string("/proc/self/maps").expect("mappings");
        let window = maps.lines().filter(|line| line.contains("ringfence-window"));
        let first = |line: &str| u64::from_str_radix(line.split('-').next()?, 16).ok();
        let places: Vec<u64> = window.filter_map(first).collect();
        match places.contains(&world.stand.backend.window().user) {
            true => Outcome::Escaped,
            false => Outcome::Held(None),
        }
    });
}
