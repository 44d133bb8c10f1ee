//! Wrong answers, late answers and none: whatever a backend is asked, and whatever it does then,
//! the VMM is answered, keeps its connection, and is told the truth.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringfence_refusal::Code;
use ringfence_virtio::refusals::{BACKEND_GONE, BACKEND_REFUSES, MALFORMED_MESSAGE, PEER_SILENT};
use ringfence_virtio::wire::{Config, Message};
use ringfence_virtio::{Fence, FenceOptions, features};
use vhost::vhost_user::message::FrontendReq;
use vhost::vhost_user::message::FrontendReq as F;
use zerocopy::IntoBytes;

use crate::kit::*;

/// A way of not answering well.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Error,
    Short,
    Long,
    OtherRequest,
    NoReply,
    OtherVersion,
    Endless,
    Half,
    Silence,
    Close,
}

const WRONGS: [(Wrong, &Code); 10] = [
    (Wrong::Error, &BACKEND_REFUSES),
    (Wrong::Short, &BACKEND_REFUSES),
    (Wrong::Long, &BACKEND_REFUSES),
    (Wrong::OtherRequest, &BACKEND_REFUSES),
    (Wrong::NoReply, &BACKEND_REFUSES),
    (Wrong::OtherVersion, &MALFORMED_MESSAGE),
    (Wrong::Endless, &MALFORMED_MESSAGE),
    (Wrong::Half, &PEER_SILENT),
    (Wrong::Silence, &PEER_SILENT),
    (Wrong::Close, &BACKEND_GONE),
];

impl Wrong {
    fn answer(self, request: FrontendReq) -> Answer {
        let number = u32::from(request);
        let header = |flags: u32, size: u32| {
            Answer::Bytes([number.to_le_bytes(), flags.to_le_bytes(), size.to_le_bytes()].concat())
        };
        match self {
            Self::Error => Answer::Payload(1u64.as_bytes().to_vec()),
            Self::Short => Answer::Payload(vec![0; 3]),
            Self::Long => Answer::Payload(vec![0; 600]),
            Self::OtherRequest => Answer::Message(Message::reply(number + 1, &[0; 8])),
            Self::NoReply => Answer::Message(Message::request(number, &[0; 8])),
            Self::OtherVersion => header(6, 0),
            Self::Endless => header(5, u32::MAX),
            Self::Half => header(5, 8),
            Self::Silence => Answer::Silence,
            Self::Close => Answer::Close,
        }
    }
}

/// A backend that does this to the first message of a kind, and is honest for the rest.
fn once(at: FrontendReq, wrong: Wrong) -> Setup {
    let mut done = false;
    let mut setup = Setup::with_conduct(Box::new(move |request, _| {
        if request != at || std::mem::replace(&mut done, true) {
            return Answer::Honest;
        }
        wrong.answer(request)
    }));
    if matches!(wrong, Wrong::Half | Wrong::Silence) {
        // Long for an honest backend, short for a test that waits for it to pass.
        setup.options.message_deadline = Duration::from_millis(150);
    }
    setup
}

/// Everything a VMM says to bring a queue up, use configuration space, and bring the queue down.
/// Ends where something was refused.
fn talk_until_refused(stand: &Stand, frontend: &mut Frontend, driver: &Driver) {
    let region = region_of(&frontend.memory);
    let memory = [&1u64.to_le_bytes()[..], region.as_bytes()].concat();
    let file = || vec![frontend.memory.file()];
    let events = || vec![eventfd()];
    let address = Frontend::address_of(0, driver);
    let config = [Config { offset: 0, size: 8, flags: 0 }.as_bytes(), &[0; 8]].concat();
    let features = frontend.offered;
    let say = [
        (F::SET_FEATURES, features.as_bytes(), Vec::new()),
        (F::SET_MEM_TABLE, &memory, file()),
        (F::SET_VRING_NUM, &[0, 0, 0, 0, 64, 0, 0, 0], Vec::new()),
        (F::SET_VRING_BASE, &[0; 8], Vec::new()),
        (F::SET_VRING_ADDR, address.as_bytes(), Vec::new()),
        (F::SET_VRING_CALL, &[0; 8], events()),
        (F::SET_VRING_KICK, &[0; 8], events()),
        (F::SET_VRING_ENABLE, &[0, 0, 0, 0, 1, 0, 0, 0], Vec::new()),
        (F::SET_CONFIG, &config, Vec::new()),
        (F::GET_CONFIG, &config, Vec::new()),
        (F::GET_VRING_BASE, &[0; 8], Vec::new()),
    ];
    for (request, payload, files) in say {
        if matches!(request, F::GET_CONFIG | F::GET_VRING_BASE) {
            frontend.ask(request, payload);
        } else {
            let told = frontend.tell(request, payload, files);
            assert!(told.is_some(), "the connection was closed at {request:?}");
        }
        // An answer to this comes after all of that.
        assert_eq!(frontend.ask_number(F::GET_FEATURES), features, "after {request:?}");
        if stand.counters().refusals > 0 {
            return;
        }
    }
}

/// One wrong answer to one message while a VMM is connected.
fn the_vmm_lives_on(at: FrontendReq, wrong: Wrong, code: &'static Code, acknowledges: bool) {
    let stand = Stand::new(once(at, wrong));
    let mut frontend = Frontend::silent(&stand.socket());
    frontend.offered = frontend.ask_number(F::GET_FEATURES);
    let protocol = frontend.ask_number(F::GET_PROTOCOL_FEATURES);
    frontend.tell(F::SET_PROTOCOL_FEATURES, protocol.as_bytes(), Vec::new());
    frontend.acknowledges = acknowledges;
    let driver = Driver::new(&frontend.memory, 0x1000, 64);
    talk_until_refused(&stand, &mut frontend, &driver);
    stand.blames(Peer::Backend, code);
    // Whatever it was, the VMM can go on to its end.
    frontend.stop(0);
    frontend.config(0, 8);
    drop(frontend);
    let frontend = Frontend::connect(&stand.socket(), 0);
    World { frontend, driver, stand }.serves_the_next();
}

fn all_wrongs(at: FrontendReq) {
    for (wrong, code) in WRONGS {
        // These two have answers of their own, which 8 bytes of another kind may happen to fit.
        if at == F::GET_VRING_BASE && matches!(wrong, Wrong::Error) {
            continue;
        }
        for acknowledges in [true, false] {
            println!("{at:?}: {wrong:?}, acknowledgements {acknowledges}");
            the_vmm_lives_on(at, wrong, code, acknowledges);
        }
    }
}

macro_rules! wrong_answers {
    ($($name:ident: $request:ident;)*) => {
        $(#[test]
        fn $name() {
            all_wrongs(FrontendReq::$request);
        })*
    };
}

wrong_answers! {
    wrong_answers_to_features: SET_FEATURES;
    wrong_answers_to_the_memory_table: SET_MEM_TABLE;
    wrong_answers_to_the_size_of_a_queue: SET_VRING_NUM;
    wrong_answers_to_the_base_of_a_queue: SET_VRING_BASE;
    wrong_answers_to_the_place_of_a_queue: SET_VRING_ADDR;
    wrong_answers_to_a_call: SET_VRING_CALL;
    wrong_answers_to_a_kick: SET_VRING_KICK;
    wrong_answers_to_an_enabled_queue: SET_VRING_ENABLE;
    wrong_answers_to_written_configuration: SET_CONFIG;
    wrong_answers_to_read_configuration: GET_CONFIG;
    wrong_answers_to_a_stop: GET_VRING_BASE;
}

/// Before there is anything to say to a VMM it is turned away, and the next one is not.
#[test]
fn wrong_answers_to_the_first_messages() {
    let first =
        [F::GET_FEATURES, F::GET_PROTOCOL_FEATURES, F::GET_QUEUE_NUM, F::SET_BACKEND_REQ_FD];
    for at in first {
        for (wrong, code) in WRONGS {
            // Numbers are taken as they are.
            if at != F::SET_BACKEND_REQ_FD && matches!(wrong, Wrong::Error) {
                continue;
            }
            println!("{at:?}: {wrong:?}");
            let stand = Stand::new(once(at, wrong));
            let mut frontend = Frontend::silent(&stand.socket());
            assert!(frontend.is_closed());
            stand.refused(code);
            drop(frontend);
            let frontend = Frontend::connect(&stand.socket(), 0);
            let driver = Driver::new(&frontend.memory, 0x1000, 64);
            World { frontend, driver, stand }.serves_the_next();
        }
    }
}

#[test]
fn configuration_of_another_place() {
    for (offset, size) in [(1, 8), (0, 9), (0, 0), (u32::MAX, 8), (0, u32::MAX)] {
        let mut world =
            World::new(Setup::with_conduct(Box::new(move |request, _| match request {
                F::GET_CONFIG => {
                    let head = Config { offset, size, flags: 0 };
                    Answer::Payload([head.as_bytes(), &[0xee; 8]].concat())
                }
                _ => Answer::Honest,
            })));
        assert_eq!(world.frontend.config(0, 8), [0_u8; 0]);
        world.stand.refused(&BACKEND_REFUSES);
        world.round_trip(1);
    }
}

/// A backend that answers what nobody asked is not spoken to any more.
#[test]
fn an_answer_to_nothing() {
    let setup = Setup::with_conduct(Box::new(|request, _| match request {
        F::SET_VRING_ENABLE => {
            let number = u32::from(F::SET_VRING_ENABLE);
            let reply = [number, 5, 8, 0, 0].map(u32::to_le_bytes).concat();
            Answer::Bytes([reply.clone(), reply].concat())
        }
        _ => Answer::Honest,
    }));
    let mut world = World::new(setup);
    world.stand.refused(&BACKEND_REFUSES);
    let offered = world.frontend.offered;
    assert_eq!(world.frontend.ask_number(F::GET_FEATURES), offered);
    assert_eq!(world.frontend.stop(0), 0);
}

#[test]
fn every_feature_there_is() {
    let mut setup = Setup::default();
    setup.offer.features = u64::MAX;
    setup.offer.protocol = u64::MAX;
    setup.offer.queues = u64::MAX;
    let mut world = World::new(setup);
    for masked in features::MASKED {
        assert_eq!(world.frontend.offered & 1 << masked.bit, 0, "{} reaches the VMM", masked.name);
        let accepted = world.stand.backend.known().features;
        assert_eq!(accepted & 1 << masked.bit, 0, "{} is accepted", masked.name);
    }
    assert_eq!(world.stand.counters().masked.len(), features::MASKED.len());
    let protocol = world.frontend.ask_number(F::GET_PROTOCOL_FEATURES);
    let taken = world.stand.backend.known().protocol;
    let bounds = features::protocol_offered_to_frontend(u64::MAX);
    assert_eq!((protocol, taken & !bounds), (bounds, 0));
    assert!(world.frontend.ask_number(F::GET_QUEUE_NUM) <= 64);
    world.round_trip(1);
}

#[test]
fn a_device_without_queues() {
    let mut setup = Setup::default();
    setup.offer.queues = 0;
    let mut world = World::stopped(setup, 0);
    assert_eq!(world.frontend.ask_number(F::GET_QUEUE_NUM), 0);
    let told = world.frontend.queue_number(F::SET_VRING_NUM, 0, 64);
    assert_eq!(told, Some(1));
    world.stand.refused(&ringfence_virtio::refusals::OUT_OF_ORDER);
}

/// A backend that lets connections pile up is given up at the deadline, not waited for for ever.
#[test]
fn a_backend_that_never_accepts() {
    let stand = Stand::new(Setup::default());
    let backend = stand.folder().join("full");
    let listener = UnixListener::bind(&backend).expect("a socket");
    rustix::net::listen(&listener, 0).expect("it listens");
    let _waiting = std::os::unix::net::UnixStream::connect(&backend).expect("the only place");
    let fences = UnixListener::bind(stand.folder().join("another")).expect("a socket");
    let message_deadline = Duration::from_millis(100);
    let options = FenceOptions { message_deadline, ..FenceOptions::default() };
    let fence = Fence::new(fences, backend, options).expect("a fence");
    let (stopper, counters) = (fence.stopper(), fence.counters());
    let ended = Arc::new(AtomicU32::new(0));
    let thread = std::thread::spawn({
        let ended = Arc::clone(&ended);
        move || {
            fence.run().expect("it ended well");
            ended.store(1, Ordering::Release);
        }
    });
    let mut frontend = Frontend::silent(&stand.folder().join("another"));
    until("the fence to give up", || (counters.snapshot().refusals > 0).then_some(()));
    assert!(frontend.is_closed());
    stopper.stop();
    until("the fence to end", || (ended.load(Ordering::Acquire) == 1).then_some(()));
    thread.join().expect("it did not panic");
}
