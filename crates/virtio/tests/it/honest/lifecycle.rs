//! Queues that stop and start, VMMs that come and go, backends that end.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ringfence_virtio::State;
use ringfence_virtio::connection::{Connection, Received};
use ringfence_virtio::features::PROTOCOL_FEATURES;
use ringfence_virtio::wire::{Config, Message};
use vhost::vhost_user::message::{BackendReq, FrontendReq};
use zerocopy::IntoBytes;

use crate::kit::*;

const DATA: usize = 0x10_0000;

/// Publishes `count` requests and waits until the backend has them.
fn submit(world: &mut World, count: u16) {
    world.publish(count);
    let given = |world: &World| {
        let window = world.stand.backend.window().memory;
        world.stand.backend.with_ring(0, |ring| window.load(ring.available + 2))
    };
    until("all requests at the backend", || (given(world) == count).then_some(()));
}

#[test]
fn requests_a_backend_never_began_go_back_to_the_guest() {
    let mut world = World::default();
    submit(&mut world, 5);
    for _ in 0..2 {
        let popped = world.stand.backend.wait_pop(0);
        world.stand.backend.echo(0, &popped);
    }
    let base = world.frontend.stop(0);
    assert_eq!(base, 2);
    assert_eq!((world.driver.wait_used().0, world.driver.wait_used().0), (0, 2));
    world.frontend.start_at(0, &world.driver, base);
    for head in [4, 6, 8] {
        let popped = world.stand.backend.wait_pop(0);
        assert_eq!(world.stand.backend.read(&popped.readable), [head / 2 + 1; 8]);
        world.stand.backend.echo(0, &popped);
        assert_eq!(world.driver.wait_used(), (head.into(), 8));
    }
    assert_eq!(world.stand.counters().refusals, 0);
}

#[test]
fn requests_a_backend_has_begun_are_waited_for() {
    let mut world = World::default();
    submit(&mut world, 3);
    let popped: Vec<Popped> = (0..3).map(|_| world.stand.backend.wait_pop(0)).collect();
    let World { frontend, driver, stand } = &mut world;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(30));
            popped.iter().rev().for_each(|popped| stand.backend.echo(0, popped));
        });
        assert_eq!(frontend.stop(0), 3);
    });
    for head in [4, 2, 0] {
        assert_eq!(driver.take_used(), Some((head, 8)), "completed before the answer");
    }
}

#[test]
fn a_disabled_queue_is_not_served_until_enabled() {
    let mut world = World::default();
    world.round_trip(1);
    let enable = FrontendReq::SET_VRING_ENABLE;
    assert_eq!(world.frontend.queue_number(enable, 0, 0), Some(0));
    let out = world.put(DATA, &[7; 8]);
    let head = world.driver.chain(0, &[out]);
    world.driver.submit(head);
    assert!(world.stand.backend.sees_nothing(0));
    assert_eq!(world.frontend.queue_number(enable, 0, 1), Some(0));
    let popped = world.stand.backend.wait_pop(0);
    world.stand.backend.echo(0, &popped);
    world.driver.wait_used();
}

#[test]
fn the_next_vmm_gets_a_window_with_nothing_in_it() {
    let mut world = World::default();
    let secret = b"what the first guest wrote";
    let out = world.put(DATA, secret);
    let head = world.driver.chain(0, &[out]);
    world.driver.submit(head);
    world.stand.backend.wait_pop(0);
    let before = world.stand.backend.window().memory;
    assert!(before.contains(secret));
    let World { frontend, driver, stand } = world;
    drop((frontend, driver));
    let frontend = Frontend::connect(&stand.socket(), 0);
    let mut driver = Driver::new(&frontend.memory, 0x1000, 64);
    driver.event_index = true;
    let mut world = World { frontend, driver, stand };
    world.frontend.start(0, &world.driver);
    let now = world.stand.backend.window().memory;
    assert!(!now.contains(secret));
    world.round_trip(1);
    let counted = world.stand.counters();
    assert_eq!((counted.sessions, world.stand.backend.known().sessions), (2, 2));
}

#[test]
fn configuration_space_is_read_and_written_through() {
    let mut world = World::default();
    assert_eq!(world.frontend.config(16, 8), (16..24).collect::<Vec<u8>>());
    assert_eq!(world.frontend.config(0, 256).len(), 256);
    let head = Config { offset: 16, size: 4, flags: 0 };
    let payload = [head.as_bytes(), b"ring"].concat();
    world.frontend.must(FrontendReq::SET_CONFIG, &payload, Vec::new());
    assert_eq!(world.frontend.config(14, 8), b"\x0e\x0fring\x14\x15");
}

#[test]
fn a_change_of_configuration_space_is_passed_on() {
    let mut world = World::default();
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    world.frontend.must(FrontendReq::SET_BACKEND_REQ_FD, &[], vec![theirs.into()]);
    let mut channel = Connection::new(ours, "fence");
    let deadline = Instant::now() + PATIENCE;
    for needs_reply in [false, true] {
        let number = u32::from(BackendReq::CONFIG_CHANGE_MSG);
        let message = if needs_reply {
            Message::request_needing_reply(number, &[])
        } else {
            Message::request(number, &[])
        };
        let mut backends = world.stand.backend.known().channel.take().expect("it has a channel");
        backends.send_by(&message, deadline).expect("sent");
        let Ok(Received::Message(heard)) = channel.receive_by(deadline) else {
            panic!("the change was not passed on");
        };
        assert_eq!(heard.header.request, number);
        assert!(heard.payload.is_empty() && heard.descriptors.is_empty());
        if needs_reply {
            let Ok(Received::Message(answer)) = backends.receive_by(deadline) else {
                panic!("the backend got no acknowledgement");
            };
            assert_eq!(answer.body::<u64>(), Some(0));
        }
        world.stand.backend.known().channel = Some(backends);
    }
}

#[test]
fn a_vmm_outlives_its_backend() {
    let mut world = World::default();
    world.round_trip(1);
    world.stand.backend.die();
    until("the end to be noticed", || {
        (world.stand.counters().state == State::BackendGone).then_some(())
    });
    assert_eq!(world.frontend.config(0, 8), [0_u8; 0]);
    let offered = world.frontend.offered;
    assert_eq!(world.frontend.ask_number(FrontendReq::GET_FEATURES), offered);
    assert_eq!(world.frontend.stop(0), 1);
    // It cannot start again, and that is said rather than hung or closed.
    world.frontend.prepare(0, &world.driver, 1);
    let kick = vec![world.driver.kick.try_clone().expect("a duplicate")];
    assert_eq!(world.frontend.tell(FrontendReq::SET_VRING_KICK, &[0; 8], kick), Some(1));
    assert_eq!(world.frontend.ask_number(FrontendReq::GET_FEATURES), offered);
}

#[test]
fn a_vmm_without_protocol_features_finds_its_queues_enabled() {
    let mut world = World::default();
    world.round_trip(1);
    let World { frontend, driver, stand } = world;
    drop((frontend, driver));
    let mut frontend = Frontend::silent(&stand.socket());
    let accepted = frontend.ask_number(FrontendReq::GET_FEATURES) & !PROTOCOL_FEATURES;
    frontend.tell(FrontendReq::SET_OWNER, &[], Vec::new());
    frontend.tell(FrontendReq::SET_FEATURES, accepted.as_bytes(), Vec::new());
    frontend.accepted = accepted;
    let region = region_of(&frontend.memory);
    let file = frontend.memory.file();
    frontend.name_memory(&[region], vec![file]);
    let mut driver = Driver::new(&frontend.memory, 0x1000, 64);
    driver.event_index = true;
    frontend.queue_number(FrontendReq::SET_VRING_NUM, 0, 64);
    frontend.queue_number(FrontendReq::SET_VRING_BASE, 0, 0);
    let address = Frontend::address_of(0, &driver);
    frontend.must(FrontendReq::SET_VRING_ADDR, address.as_bytes(), Vec::new());
    for (request, file) in
        [(FrontendReq::SET_VRING_CALL, &driver.call), (FrontendReq::SET_VRING_KICK, &driver.kick)]
    {
        frontend.must(request, &[0; 8], vec![file.try_clone().expect("a duplicate")]);
    }
    World { frontend, driver, stand }.round_trip(2);
}
