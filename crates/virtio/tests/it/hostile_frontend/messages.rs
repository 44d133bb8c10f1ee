//! Messages no VMM sends.

use std::os::fd::OwnedFd;

use ringfence_refusal::Code;
use ringfence_virtio::refusals::{
    BAD_CONFIG, FEATURE_NOT_OFFERED, MALFORMED_MESSAGE, OUT_OF_ORDER, UNSUPPORTED_MESSAGE,
    WRONG_DESCRIPTORS,
};
use ringfence_virtio::wire::{Config, Message, VringAddress};
use vhost::vhost_user::message::FrontendReq;
use vhost::vhost_user::message::FrontendReq as F;
use zerocopy::IntoBytes;

use crate::kit::*;

/// A message is refused with `code`: by an acknowledgement where that was agreed on, by the end
/// of the connection where not.
fn is_refused(
    code: &'static Code,
    request: impl Into<u32>,
    payload: &[u8],
    files: impl Fn() -> Vec<OwnedFd>,
) {
    let request = request.into();
    let mut world = World::default();
    assert_eq!(world.frontend.tell_number(request, payload, files()), Some(1));
    world.stand.blames(Peer::Vmm, code);
    world.round_trip(1);
    world.frontend.acknowledges = false;
    world.frontend.tell_number(request, payload, files());
    assert!(world.frontend.is_closed());
    world.stand.refused_since(1, code);
    world.serves_the_next();
}

fn none() -> Vec<OwnedFd> {
    Vec::new()
}

macro_rules! messages {
    ($($name:ident: $code:ident <- $request:expr, $payload:expr, $files:expr;)*) => {
        $(#[test]
        fn $name() {
            is_refused(&$code, $request, $payload, $files);
        })*
    };
}

messages! {
    a_request_that_does_not_exist: UNSUPPORTED_MESSAGE <- 99u32, &[], none;
    a_request_of_number_zero: UNSUPPORTED_MESSAGE <- 0u32, &[], none;
    a_dirty_log: UNSUPPORTED_MESSAGE <- F::SET_LOG_BASE, &[0; 16], none;
    a_virtual_iommu: UNSUPPORTED_MESSAGE <- F::IOTLB_MSG, &[0; 32], none;
    an_inflight_region: UNSUPPORTED_MESSAGE <- F::GET_INFLIGHT_FD, &[0; 24], none;
    postcopy: UNSUPPORTED_MESSAGE <- F::POSTCOPY_ADVISE, &[], none;
    a_display: UNSUPPORTED_MESSAGE <- F::GPU_SET_SOCKET, &[], none;
    a_shared_object: UNSUPPORTED_MESSAGE <- F::GET_SHARED_OBJECT, &[0; 16], none;
    device_state: UNSUPPORTED_MESSAGE <- F::SET_DEVICE_STATE_FD, &[0; 8], none;
    a_crypto_session: UNSUPPORTED_MESSAGE <- F::CREATE_CRYPTO_SESSION, &[0; 64], none;
    a_kick_in_band: UNSUPPORTED_MESSAGE <- F::VRING_KICK, &[0; 8], none;
    an_mtu_of_a_device_without: UNSUPPORTED_MESSAGE <- F::NET_SET_MTU, &[0; 8], none;
    a_queue_to_be_polled: UNSUPPORTED_MESSAGE <- F::SET_VRING_KICK, &[1, 1, 0, 0, 0, 0, 0, 0], none;
    features_cut_short: MALFORMED_MESSAGE <- F::SET_FEATURES, &[0; 7], none;
    features_too_long: MALFORMED_MESSAGE <- F::SET_FEATURES, &[0; 9], none;
    a_queue_state_cut_short: MALFORMED_MESSAGE <- F::SET_VRING_NUM, &[0; 4], none;
    a_ring_address_cut_short: MALFORMED_MESSAGE <- F::SET_VRING_ADDR, &[0; 39], none;
    a_memory_table_of_nothing: MALFORMED_MESSAGE <- F::SET_MEM_TABLE, &[], none;
    a_memory_table_cut_short: MALFORMED_MESSAGE <- F::SET_MEM_TABLE, &[1, 0, 0, 0, 0, 0, 0, 0], none;
    a_memory_table_of_billions: MALFORMED_MESSAGE <- F::SET_MEM_TABLE, &[0xff; 40], none;
    a_region_cut_short: MALFORMED_MESSAGE <- F::REM_MEM_REG, &[0; 39], none;
    a_configuration_without_a_head: MALFORMED_MESSAGE <- F::SET_CONFIG, &[0; 11], none;
    features_with_a_descriptor: WRONG_DESCRIPTORS <- F::SET_FEATURES, &[0; 8], || vec![eventfd()];
    a_question_with_descriptors: WRONG_DESCRIPTORS <- F::GET_FEATURES, &[], || {
        vec![eventfd(), eventfd()]
    };
    an_unsupported_message_with_a_descriptor: WRONG_DESCRIPTORS <- F::SET_LOG_FD, &[], || {
        vec![eventfd()]
    };
    a_kick_without_a_descriptor: WRONG_DESCRIPTORS <- F::SET_VRING_KICK, &[1, 0, 0, 0, 0, 0, 0, 0], none;
    a_call_with_two_descriptors: WRONG_DESCRIPTORS <- F::SET_VRING_CALL, &[0; 8], || {
        vec![eventfd(), eventfd()]
    };
    a_call_with_a_descriptor_and_without: WRONG_DESCRIPTORS <- F::SET_VRING_CALL, &[0, 1, 0, 0, 0, 0, 0, 0], || {
        vec![eventfd()]
    };
    a_channel_without_a_descriptor: WRONG_DESCRIPTORS <- F::SET_BACKEND_REQ_FD, &[], none;
    every_feature_there_is: FEATURE_NOT_OFFERED <- F::SET_FEATURES, &[0xff; 8], none;
    every_protocol_feature_there_is: FEATURE_NOT_OFFERED <- F::SET_PROTOCOL_FEATURES, &[0xff; 8], none;
    an_access_platform: FEATURE_NOT_OFFERED <- F::SET_FEATURES, (1u64 << 33).as_bytes(), none;
    a_packed_ring: FEATURE_NOT_OFFERED <- F::SET_FEATURES, (1u64 << 34).as_bytes(), none;
    the_size_of_a_queue_that_is_not_there: OUT_OF_ORDER <- F::SET_VRING_NUM, &[4, 0, 0, 0, 64, 0, 0, 0], none;
    the_base_of_a_queue_that_is_not_there: OUT_OF_ORDER <- F::SET_VRING_BASE, &[0xff; 8], none;
    the_end_of_a_queue_that_is_not_there: OUT_OF_ORDER <- F::GET_VRING_BASE, &[0xff; 8], none;
    a_queue_enabled_that_is_not_there: OUT_OF_ORDER <- F::SET_VRING_ENABLE, &[64, 0, 0, 0, 1, 0, 0, 0], none;
    the_kick_of_a_queue_that_is_not_there: OUT_OF_ORDER <- F::SET_VRING_KICK, &[0xff, 0, 0, 0, 0, 0, 0, 0], || {
        vec![eventfd()]
    };
    the_ring_of_a_queue_that_is_not_there: OUT_OF_ORDER <- F::SET_VRING_ADDR, nowhere().as_bytes(), none;
    configuration_written_out_of_bounds: BAD_CONFIG <- F::SET_CONFIG, &config(250, 8, 8), none;
    configuration_written_with_fewer_bytes: BAD_CONFIG <- F::SET_CONFIG, &config(0, 8, 7), none;
    configuration_written_with_no_bytes: BAD_CONFIG <- F::SET_CONFIG, &config(0, 0, 0), none;
    configuration_written_where_it_wraps: BAD_CONFIG <- F::SET_CONFIG, &config(u32::MAX, 2, 2), none;
}

fn nowhere() -> VringAddress {
    VringAddress { index: 4, flags: 0, descriptors: UVA, used: UVA, available: UVA, log: 0 }
}

fn config(offset: u32, size: u32, bytes: usize) -> Vec<u8> {
    let head = Config { offset, size, flags: 0 };
    [head.as_bytes(), &vec![0; bytes]].concat()
}

/// Reading has an answer of its own, which is then empty.
#[test]
fn configuration_read_out_of_bounds() {
    let mut world = World::default();
    for (refusals, (offset, size)) in
        (0..).zip([(250, 8), (0, 257), (256, 1), (0, 0), (u32::MAX, 1)])
    {
        assert_eq!(world.frontend.config(offset, size), [0_u8; 0]);
        world.stand.refused_since(refusals, &BAD_CONFIG);
    }
    let asked = |(request, _): &(u32, Vec<u8>)| *request == u32::from(F::GET_CONFIG);
    assert!(!world.stand.backend.known().log.iter().any(asked), "the backend was asked");
    world.round_trip(1);
}

/// What is no message ends the connection, acknowledgements or not.
fn ends_the_connection(code: &'static Code, wrong: impl Fn(&mut Frontend)) {
    let mut world = World::default();
    wrong(&mut world.frontend);
    assert!(world.frontend.is_closed());
    world.stand.refused(code);
    world.serves_the_next();
}

fn header(request: u32, flags: u32, size: u32) -> Vec<u8> {
    [request.to_le_bytes(), flags.to_le_bytes(), size.to_le_bytes()].concat()
}

#[test]
fn a_header_of_another_version() {
    for version in [0, 2, 3] {
        ends_the_connection(&MALFORMED_MESSAGE, |frontend| {
            frontend.send_raw(&header(1, version, 0));
        });
    }
}

#[test]
fn a_header_of_a_payload_without_bounds() {
    for size in [4097, 1 << 20, u32::MAX] {
        ends_the_connection(&MALFORMED_MESSAGE, |frontend| frontend.send_raw(&header(1, 1, size)));
    }
}

#[test]
fn a_message_with_nine_descriptors() {
    ends_the_connection(&WRONG_DESCRIPTORS, |frontend| {
        // Eight go with one part of a message, the ninth with another.
        let bytes = header(5, 1, 8);
        let files = || (0..8).map(|_| eventfd()).collect::<Vec<_>>();
        frontend.send_part(&bytes[..4], &files());
        frontend.send_part(&bytes[4..], &files()[..1]);
    });
}

#[test]
fn a_message_cut_in_the_middle() {
    for cut in [1, 11, 12, 19] {
        let World { mut frontend, driver, stand } = World::default();
        let bytes = [header(F::SET_FEATURES.into(), 9, 8), vec![0; 8]].concat();
        frontend.send_raw(&bytes[..cut]);
        drop((frontend, driver));
        stand.refused(&MALFORMED_MESSAGE);
        let frontend = Frontend::connect(&stand.socket(), 0);
        let driver = Driver::new(&frontend.memory, 0x1000, 64);
        World { frontend, driver, stand }.serves_the_next();
    }
}

/// Half a message and then silence holds up neither the queues nor, when the rest comes, itself.
#[test]
fn half_a_message_and_silence() {
    let mut world = World::default();
    let bytes = header(F::GET_FEATURES.into(), 1, 0);
    world.frontend.send_raw(&bytes[..7]);
    (0..10).for_each(|seed| world.round_trip(seed));
    assert!(!world.frontend.hears_something());
    world.frontend.send_raw(&bytes[7..]);
    let answer = world.frontend.receive().expect("an answer");
    assert_eq!(answer.body(), Some(world.frontend.offered));
    assert_eq!(world.stand.counters().refusals, 0);
}

/// A VMM that asks and never listens is not waited for beyond the deadline.
#[test]
fn answers_that_nobody_takes() {
    let mut setup = Setup::default();
    setup.options.message_deadline = std::time::Duration::from_millis(400);
    let mut world = World::new(setup);
    let question = Message::request(F::GET_FEATURES.into(), &[]);
    let deadline = std::time::Instant::now() + PATIENCE;
    while world.stand.counters().last_refusal.is_none() {
        assert!(std::time::Instant::now() < deadline, "the fence takes questions for ever");
        world.frontend.try_send(&question);
    }
    world.stand.refused(&ringfence_virtio::refusals::PEER_SILENT);
    world.serves_the_next();
}

/// Descriptors that come with what is refused are closed.
#[test]
fn descriptors_of_refused_messages_are_closed() {
    let name = "closed-with-the-refusal";
    let mut world = World::default();
    let memory = Memory::new(name, 4096);
    let before = descriptors_named(name);
    for request in [F::SET_FEATURES, F::SET_VRING_KICK, F::SET_MEM_TABLE, F::SET_BACKEND_REQ_FD] {
        for count in [2, 8] {
            let files = (0..count).map(|_| memory.file()).collect();
            assert_eq!(world.frontend.tell(request, &[0; 8], files), Some(1), "{request:?}");
        }
    }
    world.round_trip(1);
    assert_eq!(descriptors_named(name), before);
}

/// Descriptors a VMM hands over rightly are closed when it goes.
#[test]
fn descriptors_of_a_session_are_closed_with_it() {
    let name = "closed-with-the-session";
    let stand = Stand::new(Setup::default());
    let memory = Memory::new(name, RAM_BYTES);
    let before = descriptors_named(name);
    let mut frontend = Frontend::negotiated(&stand.socket(), 0);
    let files = vec![memory.file()];
    assert_eq!(frontend.name_memory(&[region_of(&memory)], files), Some(0));
    assert_eq!(frontend.tell(FrontendReq::SET_VRING_CALL, &[0; 8], vec![memory.file()]), Some(0));
    assert!(descriptors_named(name) > before);
    drop(frontend);
    until("all to be closed", || (descriptors_named(name) == before).then_some(()));
}
