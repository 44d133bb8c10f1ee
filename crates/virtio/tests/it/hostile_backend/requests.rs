//! What a backend asks of the VMM on a channel of its own.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ringfence_refusal::Code;
use ringfence_virtio::connection::{Connection, Received};
use ringfence_virtio::refusals::{BACKEND_REQUEST, MALFORMED_MESSAGE, WRONG_DESCRIPTORS};
use ringfence_virtio::wire::Message;
use vhost::vhost_user::message::{BackendReq, FrontendReq};

use crate::kit::*;

/// A VMM that listens to its device, and the backend's end of its own channel.
fn listening() -> (World, Connection, Connection) {
    let mut world = World::default();
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    world.frontend.must(FrontendReq::SET_BACKEND_REQ_FD, &[], vec![theirs.into()]);
    let backends = world.stand.backend.known().channel.take().expect("it has a channel");
    (world, Connection::new(ours, "fence"), backends)
}

/// The backend asks for something with descriptors; it is refused, its descriptors are closed, and
/// the VMM never hears of it.
fn is_not_let_through(request: impl Into<u32>, payload: &[u8], files: usize) {
    let request = request.into();
    let name = format!("asked-for-{request}-with-{files}");
    let memory = Memory::new(&name, 4096);
    let before = descriptors_named(&name);
    let (mut world, vmm, mut backends) = listening();
    let message = Message::request_needing_reply(request, payload);
    let descriptors: Vec<OwnedFd> = (0..files).map(|_| memory.file()).collect();
    let deadline = Instant::now() + PATIENCE;
    backends.send_by(&message.with_descriptors(descriptors), deadline).expect("sent");
    let Ok(Received::Message(answer)) = backends.receive_by(deadline) else {
        panic!("the backend got no answer");
    };
    assert_eq!(answer.body::<u64>(), Some(1), "and the answer is no");
    world.stand.refused(&BACKEND_REQUEST);
    assert!(!is_readable(&vmm, Duration::from_millis(20)), "the VMM heard of it");
    until("descriptors to be closed", || (descriptors_named(&name) == before).then_some(()));
    world.round_trip(1);
}

macro_rules! requests {
    ($($name:ident: $request:expr, $bytes:literal, $files:literal;)*) => {
        $(#[test]
        fn $name() {
            is_not_let_through($request, &[0; $bytes], $files);
        })*
    };
}

requests! {
    a_host_notifier: BackendReq::VRING_HOST_NOTIFIER_MSG, 24, 1;
    a_host_notifier_without_a_file: BackendReq::VRING_HOST_NOTIFIER_MSG, 24, 0;
    a_translation: BackendReq::IOTLB_MSG, 32, 0;
    a_call_in_band: BackendReq::VRING_CALL, 8, 0;
    an_error_in_band: BackendReq::VRING_ERR, 8, 0;
    a_shared_object_added: BackendReq::SHARED_OBJECT_ADD, 16, 1;
    a_shared_object_removed: BackendReq::SHARED_OBJECT_REMOVE, 16, 0;
    a_shared_object_looked_up: BackendReq::SHARED_OBJECT_LOOKUP, 16, 0;
    shared_memory_mapped: BackendReq::SHMEM_MAP, 40, 1;
    shared_memory_unmapped: BackendReq::SHMEM_UNMAP, 40, 0;
    a_request_that_does_not_exist: 77u32, 4096, 8;
}

/// What is no message ends the channel, not the device.
fn ends_the_channel(code: &'static Code, wrong: impl Fn(&mut Connection)) {
    let (mut world, vmm, mut backends) = listening();
    wrong(&mut backends);
    world.stand.blames(Peer::Backend, code);
    assert!(matches!(backends.receive_by(Instant::now() + PATIENCE), Ok(Received::Closed)));
    assert!(!is_readable(&vmm, Duration::from_millis(20)), "the VMM heard of it");
    world.round_trip(1);
    world.serves_the_next();
}

#[test]
fn a_request_of_another_version() {
    ends_the_channel(&MALFORMED_MESSAGE, |channel| {
        let bytes = [2, 2, 0].map(u32::to_le_bytes).concat();
        rustix::io::write(&*channel, &bytes).expect("sent");
    });
}

#[test]
fn a_request_without_bounds() {
    ends_the_channel(&MALFORMED_MESSAGE, |channel| {
        let bytes = [2, 1, u32::MAX].map(u32::to_le_bytes).concat();
        rustix::io::write(&*channel, &bytes).expect("sent");
    });
}

#[test]
fn a_request_with_nine_descriptors() {
    ends_the_channel(&WRONG_DESCRIPTORS, |channel| {
        let bytes = [2, 1, 8].map(u32::to_le_bytes).concat();
        let files: Vec<OwnedFd> = (0..9).map(|_| eventfd()).collect();
        send_part(&*channel, &bytes, &files);
    });
}

#[test]
fn half_a_request_and_silence() {
    let (mut world, _vmm, backends) = listening();
    rustix::io::write(&backends, &[2, 0, 0, 0, 1]).expect("sent");
    (0..10).for_each(|seed| world.round_trip(seed));
    assert_eq!(world.stand.counters().refusals, 0);
}

/// A backend that asks and never listens loses its channel; the device is served on.
#[test]
fn answers_that_nobody_takes() {
    let mut setup = Setup::default();
    setup.options.message_deadline = Duration::from_millis(400);
    let mut world = World::new(setup);
    let mut backends = world.stand.backend.known().channel.take().expect("it has a channel");
    let question = Message::request_needing_reply(BackendReq::CONFIG_CHANGE_MSG.into(), &[]);
    // Some hundred answers fill the socket, which on a busy machine takes its time.
    let deadline = Instant::now() + 6 * PATIENCE;
    while world.stand.counters().refusals == 0 {
        assert!(Instant::now() < deadline, "the fence takes questions for ever");
        let _full = backends.send_by(&question, Instant::now());
    }
    world.stand.refused(&ringfence_virtio::refusals::PEER_SILENT);
    world.round_trip(1);
    let refusals = world.stand.counters().refusals;
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(world.stand.counters().refusals, refusals, "it is waited for again and again");
}

/// News of a change is dropped when the VMM has not taken the last, and never waited for.
#[test]
fn changes_of_configuration_without_end() {
    let (mut world, _vmm, mut backends) = listening();
    let news = Message::request(BackendReq::CONFIG_CHANGE_MSG.into(), &[]);
    let begun = Instant::now();
    for seed in 0..20u8 {
        for _ in 0..500 {
            let _full = backends.send_by(&news, Instant::now());
        }
        world.round_trip(seed);
        let offered = world.frontend.offered;
        assert_eq!(world.frontend.ask_number(FrontendReq::GET_FEATURES), offered);
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "the VMM waited for its own silence");
}
