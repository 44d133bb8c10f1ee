//! A vhost-user backend: honest unless told otherwise, with a memory for everything it was sent.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringfence_virtio::connection::{Connection, Received};
use ringfence_virtio::features;
use ringfence_virtio::wire::{Config, MemoryRegion, Message, VringAddress, VringState};
use rustix::event::{PollFd, PollFlags, poll};
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures};
use zerocopy::IntoBytes;

use super::device::Ring;
use super::memory::Memory;
use super::{eventfd, signal};

/// What a backend offers.
pub(crate) struct Offer {
    pub(crate) features: u64,
    pub(crate) protocol: u64,
    pub(crate) queues: u64,
}

impl Default for Offer {
    fn default() -> Self {
        let protocol = VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::BACKEND_REQ;
        Self {
            features: 1 << 32
                | features::PROTOCOL_FEATURES
                | features::EVENT_INDEX
                | features::INDIRECT,
            protocol: protocol.bits(),
            queues: 4,
        }
    }
}

/// What a backend does about a message.
pub(crate) enum Answer {
    /// What the protocol says.
    Honest,
    /// The same, with descriptors nobody asked for.
    With(Vec<OwnedFd>),
    /// A reply with this payload.
    Payload(Vec<u8>),
    /// Bytes that may be no message.
    Bytes(Vec<u8>),
    /// Any message.
    Message(Message),
    /// Nothing at all.
    Silence,
    /// The end of the connection.
    Close,
}

/// Decides what to do about each message.
pub(crate) type Conduct = Box<dyn FnMut(FrontendReq, &Message) -> Answer + Send>;

/// Does everything right.
pub(crate) fn honest() -> Conduct {
    Box::new(|_, _| Answer::Honest)
}

/// Everything a backend knows.
#[derive(Default)]
pub(crate) struct Known {
    /// Every message there was, in order.
    pub(crate) log: Vec<(u32, Vec<u8>)>,
    /// The first descriptors that came, with what they came with. None is ever closed.
    pub(crate) files: Vec<(FrontendReq, OwnedFd)>,
    pub(crate) features: u64,
    pub(crate) protocol: u64,
    pub(crate) window: Option<Window>,
    pub(crate) rings: BTreeMap<u32, Ring>,
    pub(crate) channel: Option<Connection>,
    pub(crate) config: Vec<u8>,
    pub(crate) sessions: u32,
}

/// The only memory a backend was given.
#[derive(Clone)]
pub(crate) struct Window {
    pub(crate) memory: Memory,
    pub(crate) guest: u64,
    pub(crate) user: u64,
}

/// A backend on a thread of its own; its queues are served by whoever has this.
pub(crate) struct TestBackend {
    known: Arc<Mutex<Known>>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl TestBackend {
    pub(crate) fn new(socket: &Path, offer: Offer, conduct: Conduct) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        let known = Arc::new(Mutex::new(Known { config: (0..=255).collect(), ..Known::default() }));
        let stop = Arc::new(eventfd());
        let mut serving =
            Serving { listener, known: known.clone(), stop: stop.clone(), offer, conduct };
        let thread = Some(std::thread::spawn(move || serving.run()));
        Self { known, stop, thread }
    }

    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The window, once it was given one.
    pub(crate) fn window(&self) -> Window {
        self.known().window.clone().expect("the backend was given a window")
    }

    /// Ends at once, as a crash would; it does not come back.
    pub(crate) fn die(&mut self) {
        if let Some(thread) = self.thread.take() {
            signal(self.stop.as_ref());
            thread.join().expect("the backend did not panic");
        }
        // The kernel would close all that a process had.
        let mut known = self.known();
        known.rings.clear();
        known.channel = None;
    }
}

impl Drop for TestBackend {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            signal(self.stop.as_ref());
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the backend panicked");
        }
    }
}

struct Serving {
    listener: UnixListener,
    known: Arc<Mutex<Known>>,
    stop: Arc<OwnedFd>,
    offer: Offer,
    conduct: Conduct,
}

impl Serving {
    fn run(&mut self) {
        while self.wait_for(&self.listener) {
            let (stream, _) = self.listener.accept().expect("a connection");
            let mut connection = Connection::new(stream, "fence");
            self.known().start();
            while self.wait_for(&connection) {
                match connection.receive() {
                    Ok(Received::Message(message)) => {
                        if !self.hear(&mut connection, message) {
                            break;
                        }
                    }
                    Ok(Received::Nothing) => {}
                    Ok(Received::Closed) | Err(_) => break,
                }
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False when asked to stop.
    fn wait_for(&self, what: impl AsFd) -> bool {
        let mut set =
            [PollFd::new(self.stop.as_ref(), PollFlags::IN), PollFd::new(&what, PollFlags::IN)];
        poll(&mut set, None).expect("polled");
        set[0].revents().is_empty()
    }

    /// False when the connection is to end.
    fn hear(&mut self, connection: &mut Connection, mut message: Message) -> bool {
        let descriptors = std::mem::take(&mut message.descriptors);
        let request = FrontendReq::try_from(message.header.request).expect("a request");
        let answer = (self.conduct)(request, &message);
        let proper = self.known().take(request, &message, descriptors, &self.offer);
        let proper = proper.or_else(|| message.header.needs_reply().then(|| vec![0; 8]));
        let number = message.header.request;
        let reply = |payload: Vec<u8>| Message::reply(number, &payload);
        let say = match answer {
            Answer::Honest => proper.map(reply),
            Answer::With(files) => proper.map(|payload| reply(payload).with_descriptors(files)),
            Answer::Payload(payload) => Some(reply(payload)),
            Answer::Message(message) => Some(message),
            Answer::Bytes(bytes) => {
                let sent = rustix::io::write(&*connection, &bytes);
                return sent.is_ok();
            }
            Answer::Silence => None,
            Answer::Close => return false,
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        say.is_none_or(|message| connection.send_by(&message, deadline).is_ok())
    }
}

impl Known {
    fn start(&mut self) {
        self.rings.clear();
        self.window = None;
        self.channel = None;
        self.sessions += 1;
    }

    fn ring(&mut self, index: u32) -> &mut Ring {
        self.rings.entry(index).or_default()
    }

    /// Does what a message says; the reply, if the message has one of its own.
    fn take(
        &mut self,
        request: FrontendReq,
        message: &Message,
        mut descriptors: Vec<OwnedFd>,
        offer: &Offer,
    ) -> Option<Vec<u8>> {
        use FrontendReq as F;
        self.log.push((message.header.request, message.payload.clone()));
        for descriptor in descriptors.iter().take(64 - self.files.len().min(64)) {
            self.files.push((request, descriptor.try_clone().expect("a duplicate")));
        }
        let number = |number: u64| Some(number.as_bytes().to_vec());
        let state = || message.body::<VringState>().expect("a state");
        let queue = || u32::try_from(message.body::<u64>().expect("a number") & 0xff).expect("8");
        match request {
            F::GET_FEATURES => return number(offer.features),
            F::GET_PROTOCOL_FEATURES => return number(offer.protocol),
            F::GET_QUEUE_NUM => return number(offer.queues),
            F::SET_FEATURES => self.features = message.body().expect("features"),
            F::SET_PROTOCOL_FEATURES => self.protocol = message.body().expect("features"),
            F::SET_MEM_TABLE => {
                let (_, region) = message.body_with_tail::<u64>().expect("a table");
                let region: MemoryRegion =
                    *zerocopy::FromBytes::ref_from_bytes(region).expect("one region");
                let memory = Memory::of(descriptors.remove(0));
                let (guest, user) = (region.guest_address, region.user_address);
                self.window = Some(Window { memory, guest, user });
            }
            F::SET_VRING_NUM => {
                self.ring(state().index).size = state().number.try_into().expect("16 bits")
            }
            F::SET_VRING_BASE => {
                self.ring(state().index).next_available =
                    state().number.try_into().expect("16 bits");
            }
            F::SET_VRING_ADDR => {
                let address: VringAddress = message.body().expect("an address");
                let window = self.window.clone().expect("memory comes first");
                let event_index = self.features & features::EVENT_INDEX != 0;
                self.ring(address.index).place(&address, &window, event_index);
            }
            F::SET_VRING_KICK => self.ring(queue()).kick = descriptors.pop(),
            F::SET_VRING_CALL => self.ring(queue()).call = descriptors.pop(),
            F::SET_VRING_ENABLE => self.ring(state().index).enabled = state().number == 1,
            F::GET_VRING_BASE => {
                let index = state().index;
                let ring = self.ring(index);
                // As libvhost-user does.
                ring.kick = None;
                ring.call = None;
                ring.stops += 1;
                let next = ring.next_available.into();
                return Some(VringState { index, number: next }.as_bytes().to_vec());
            }
            F::SET_BACKEND_REQ_FD => {
                self.channel =
                    descriptors.pop().map(|socket| Connection::from_descriptor(socket, "fence"));
            }
            F::GET_CONFIG => {
                let (head, _) = message.body_with_tail::<Config>().expect("a head");
                let bytes = &self.config[head.offset as usize..][..head.size as usize];
                return Some([head.as_bytes(), bytes].concat());
            }
            F::SET_CONFIG => {
                let (head, bytes) = message.body_with_tail::<Config>().expect("a head");
                self.config[head.offset as usize..][..bytes.len()].copy_from_slice(bytes);
            }
            _ => {}
        }
        None
    }
}
