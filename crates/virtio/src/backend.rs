//! The broker as the backend's VMM.
//!
//! Speaks the vhost-user frontend's side: negotiates what [`crate::features`] allows, hands over
//! the window as the only memory there is, starts and stops rings in it. Every exchange has a
//! deadline. What the backend answers is a claim, checked before it is used.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use vhost::vhost_user::message::{BackendReq, FrontendReq, VhostUserProtocolFeatures};
use zerocopy::{FromBytes, IntoBytes};

use crate::backend_queue::RingLocation;
use crate::connection::{Connection, Received};
use crate::features;
use crate::refusals::{BACKEND_GONE, BACKEND_REFUSES, BACKEND_REQUEST, BAD_CONFIG};
use crate::window::Window;
use crate::wire::{
    CONFIG_BYTES_MAX, Config, MemoryRegion, MemoryTable, Message, VringAddress, VringState,
};

/// The most queues a device may have here.
pub(crate) const QUEUES_MAX: usize = 64;

/// A connected backend.
pub(crate) struct Backend {
    connection: Connection,
    /// Where the backend's own requests come in, if it wants to make any.
    channel: Option<Connection>,
    offered: u64,
    protocol_offered: u64,
    protocol: u64,
    queues: usize,
    deadline: Duration,
    state: State,
    #[cfg(feature = "unguarded")]
    pub(crate) guards: crate::guards::Guards,
}

/// How it stands with the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Connected and believed.
    Here,
    /// It closed its connection, or died.
    Ended,
    /// It lied or fell silent.
    Distrusted,
}

/// What came in on the backend's channel.
pub(crate) enum BackendSays {
    /// The configuration space changed.
    ConfigChanged,
    /// Nothing more for now.
    Nothing,
    /// Something for the VMM, for tests that show why nothing is passed on as it came.
    #[cfg(feature = "unguarded")]
    Anything(Message),
}

impl Backend {
    /// Connects to the backend's socket and negotiates the protocol.
    pub(crate) fn connect(path: &Path, deadline: Duration) -> Result<Self, Failure> {
        let socket = connect_within(path, deadline).map_err(|errno| {
            Fault::new("connect to the backend at", path.display().to_string(), errno)
        })?;
        let mut backend = Self {
            connection: Connection::from_descriptor(socket, "backend"),
            channel: None,
            offered: 0,
            protocol_offered: 0,
            protocol: 0,
            queues: QUEUES_MAX,
            deadline,
            state: State::Here,
            #[cfg(feature = "unguarded")]
            guards: crate::guards::Guards::default(),
        };
        backend.negotiate()?;
        Ok(backend)
    }

    fn negotiate(&mut self) -> Result<(), Failure> {
        self.offered = self.ask_number(FrontendReq::GET_FEATURES)?;
        if self.offered & features::PROTOCOL_FEATURES != 0 {
            self.protocol_offered = self.ask_number(FrontendReq::GET_PROTOCOL_FEATURES)?;
            let wanted = features::protocol_acknowledged_to_backend(self.protocol_offered);
            self.say(FrontendReq::SET_PROTOCOL_FEATURES, wanted.as_bytes(), Vec::new())?;
            self.protocol = wanted;
        }
        self.say(FrontendReq::SET_OWNER, &[], Vec::new())?;
        if self.has(VhostUserProtocolFeatures::MQ) {
            let queues = self.ask_number(FrontendReq::GET_QUEUE_NUM)?;
            self.queues = usize::try_from(queues).unwrap_or(usize::MAX).min(QUEUES_MAX);
        }
        if self.has(VhostUserProtocolFeatures::BACKEND_REQ) {
            self.open_channel()?;
        }
        Ok(())
    }

    fn open_channel(&mut self) -> Result<(), Failure> {
        let (ours, theirs) =
            UnixStream::pair().map_err(|error| Fault::new("make", "a socket pair", error))?;
        self.say(FrontendReq::SET_BACKEND_REQ_FD, &[], vec![theirs.into()])?;
        self.channel = Some(Connection::new(ours, "backend channel"));
        Ok(())
    }

    /// Virtio features the backend offers.
    pub(crate) fn offered(&self) -> u64 {
        self.offered
    }

    /// Protocol features the backend offers.
    pub(crate) fn protocol_offered(&self) -> u64 {
        self.protocol_offered
    }

    /// How many queues it has, or the most there can be where it does not say.
    pub(crate) fn queues(&self) -> usize {
        self.queues
    }

    /// Whether a protocol feature is in use with the backend.
    pub(crate) fn has(&self, feature: VhostUserProtocolFeatures) -> bool {
        features::protocol_has(self.protocol, feature)
    }

    /// The channel's socket, to wait for.
    pub(crate) fn channel(&self) -> Option<BorrowedFd<'_>> {
        self.channel.as_ref().map(AsFd::as_fd)
    }

    /// Whether nothing more is said to the backend.
    pub(crate) fn is_gone(&self) -> bool {
        self.state != State::Here
    }

    /// Whether it went away, so that a successor may come; not so for one that lied or fell silent.
    pub(crate) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether it lied or fell silent, and is not spoken to again.
    pub(crate) fn is_distrusted(&self) -> bool {
        self.state == State::Distrusted
    }

    /// Looks at the socket outside of an exchange, where only an end can be in it.
    pub(crate) fn look(&mut self) -> Result<(), Failure> {
        if self.is_gone() {
            return Ok(());
        }
        match self.connection.receive() {
            Ok(Received::Nothing) => Ok(()),
            Ok(Received::Closed) => Err(self.lost("it closed its connection")),
            Ok(Received::Message(message)) => {
                let detail = format!("an answer to nothing, request {}", message.header.request);
                Err(self.lose(Refusal::new(&BACKEND_REFUSES, detail)))
            }
            Err(Failure::Refused(refusal)) => Err(self.lose(refusal)),
            Err(faulted) => Err(self.failed(faulted)),
        }
    }

    /// Accepts virtio features.
    pub(crate) fn set_features(&mut self, acknowledged: u64) -> Result<(), Failure> {
        self.say(FrontendReq::SET_FEATURES, acknowledged.as_bytes(), Vec::new())
    }

    /// Hands over the window as the only memory there is.
    pub(crate) fn set_window(&mut self, window: &Window) -> Result<(), Failure> {
        let file = duplicate(window.file())?;
        let span = window.span();
        let size = span.length_u64().expect("a window is shorter than its space").get();
        let table = MemoryTable { regions: 1, padding: 0 };
        let region = MemoryRegion {
            guest_address: span.first().get(),
            size,
            user_address: window.user_address(span.first()),
            mmap_offset: 0,
        };
        let payload = [table.as_bytes(), region.as_bytes()].concat();
        self.say(FrontendReq::SET_MEM_TABLE, &payload, vec![file])
    }

    /// Starts a ring in the window.
    pub(crate) fn start_queue(
        &mut self,
        index: u32,
        size: u16,
        location: RingLocation,
        window: &Window,
        kick: &OwnedFd,
        call: &OwnedFd,
    ) -> Result<(), Failure> {
        let state = |number: u32| VringState { index, number };
        self.say(FrontendReq::SET_VRING_NUM, state(size.into()).as_bytes(), Vec::new())?;
        self.say(FrontendReq::SET_VRING_BASE, state(0).as_bytes(), Vec::new())?;
        let address = VringAddress {
            index,
            flags: 0,
            descriptors: window.user_address(location.descriptors),
            used: window.user_address(location.used),
            available: window.user_address(location.available),
            log: 0,
        };
        self.say(FrontendReq::SET_VRING_ADDR, address.as_bytes(), Vec::new())?;
        let which = u64::from(index);
        self.say(FrontendReq::SET_VRING_CALL, which.as_bytes(), vec![duplicate(call)?])?;
        self.say(FrontendReq::SET_VRING_KICK, which.as_bytes(), vec![duplicate(kick)?])?;
        if self.offered & features::PROTOCOL_FEATURES != 0 {
            self.say(FrontendReq::SET_VRING_ENABLE, state(1).as_bytes(), Vec::new())?;
        }
        Ok(())
    }

    /// Stops a ring; the answer is how many of its chains the backend began, modulo 2^16.
    pub(crate) fn stop_queue(&mut self, index: u32) -> Result<u16, Failure> {
        let question = VringState { index, number: 0 };
        let answer = self.ask(FrontendReq::GET_VRING_BASE, question.as_bytes())?;
        let state: VringState = self.body(&answer)?;
        u16::try_from(state.number).ok().filter(|_| state.index == index).ok_or_else(|| {
            let detail = format!("GET_VRING_BASE of queue {index} answered with {state:?}");
            self.lose(Refusal::new(&BACKEND_REFUSES, detail))
        })
    }

    /// Reads configuration space.
    pub(crate) fn config(&mut self, config: Config) -> Result<Vec<u8>, Failure> {
        check_config(config)?;
        let room = vec![0; config.size as usize];
        let question = [config.as_bytes(), &room].concat();
        let answer = self.ask(FrontendReq::GET_CONFIG, &question)?;
        match answer.body_with_tail::<Config>() {
            Some((head, bytes))
                if head.offset == config.offset
                    && head.size == config.size
                    && bytes.len() == config.size as usize =>
            {
                Ok(bytes.to_vec())
            }
            _ => {
                let detail = format!(
                    "GET_CONFIG of {} bytes at {} answered with {} bytes",
                    config.size,
                    config.offset,
                    answer.payload.len()
                );
                Err(Refusal::new(&BACKEND_REFUSES, detail).into())
            }
        }
    }

    /// Writes configuration space.
    pub(crate) fn set_config(&mut self, config: Config, bytes: &[u8]) -> Result<(), Failure> {
        check_config(config)?;
        if bytes.len() != config.size as usize {
            let detail = format!("SET_CONFIG of {} bytes with {}", config.size, bytes.len());
            return Err(Refusal::new(&BAD_CONFIG, detail).into());
        }
        let payload = [config.as_bytes(), bytes].concat();
        self.say(FrontendReq::SET_CONFIG, &payload, Vec::new())
    }

    /// Relays a message that carries a number and touches no memory.
    pub(crate) fn relay_number(
        &mut self,
        request: FrontendReq,
        number: u64,
    ) -> Result<(), Failure> {
        self.say(request, number.as_bytes(), Vec::new())
    }

    /// Takes the next request of the backend's own, and answers it if it wants that.
    pub(crate) fn backend_says(&mut self) -> Result<BackendSays, Failure> {
        let Some(channel) = self.channel.as_mut() else {
            return Ok(BackendSays::Nothing);
        };
        let message = match channel.receive() {
            Ok(Received::Message(message)) => message,
            Ok(Received::Nothing) => return Ok(BackendSays::Nothing),
            Ok(Received::Closed) => {
                self.channel = None;
                return Ok(BackendSays::Nothing);
            }
            Err(failure) => {
                self.channel = None;
                return Err(failure);
            }
        };
        let request = message.header.request;
        let relayed = request == u32::from(BackendReq::CONFIG_CHANGE_MSG);
        if message.header.needs_reply() {
            let answer = Message::reply(request, u64::from(!relayed).as_bytes());
            if let Err(failure) = channel.send_by(&answer, Instant::now() + self.deadline) {
                // One that asks and does not listen is waited for once.
                self.channel = None;
                return Err(failure);
            }
        }
        if relayed {
            return Ok(BackendSays::ConfigChanged);
        }
        // Invariant `nothing-of-theirs`: the message ends here, and its descriptors with it.
        #[cfg(feature = "unguarded")]
        if !self.guards.stands(crate::guards::Guard::BackendRequests) {
            return Ok(BackendSays::Anything(message));
        }
        let detail = match BackendReq::try_from(request) {
            Ok(name) => format!("{name:?}, with {} descriptors", message.descriptors.len()),
            Err(_) => format!("unknown request {request}"),
        };
        Err(Refusal::new(&BACKEND_REQUEST, detail).into())
    }

    /// Sends a message that has no answer of its own, and waits for its acknowledgement where that
    /// was negotiated.
    fn say(
        &mut self,
        request: FrontendReq,
        payload: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Failure> {
        let acknowledged = self.has(VhostUserProtocolFeatures::REPLY_ACK);
        let number = u32::from(request);
        let message = if acknowledged {
            Message::request_needing_reply(number, payload)
        } else {
            Message::request(number, payload)
        };
        self.send(&message.with_descriptors(descriptors))?;
        if !acknowledged {
            return Ok(());
        }
        let answer = self.answer(request)?;
        match self.body::<u64>(&answer)? {
            0 => Ok(()),
            code => {
                let detail = format!("{request:?} failed with {code}");
                Err(Refusal::new(&BACKEND_REFUSES, detail).into())
            }
        }
    }

    /// Sends a message and waits for its answer.
    fn ask(&mut self, request: FrontendReq, payload: &[u8]) -> Result<Message, Failure> {
        self.send(&Message::request(u32::from(request), payload))?;
        self.answer(request)
    }

    fn ask_number(&mut self, request: FrontendReq) -> Result<u64, Failure> {
        let answer = self.ask(request, &[])?;
        self.body(&answer)
    }

    fn send(&mut self, message: &Message) -> Result<(), Failure> {
        if self.is_gone() {
            return Err(Refusal::new(&BACKEND_GONE, "").into());
        }
        let deadline = Instant::now() + self.deadline;
        self.connection.send_by(message, deadline).map_err(|failure| self.failed(failure))
    }

    fn answer(&mut self, request: FrontendReq) -> Result<Message, Failure> {
        let deadline = Instant::now() + self.deadline;
        let received =
            self.connection.receive_by(deadline).map_err(|failure| self.failed(failure))?;
        let Received::Message(message) = received else {
            return Err(self.lost(format!("it closed its connection when sent {request:?}")));
        };
        if !message.header.is_reply() || message.header.request != u32::from(request) {
            let detail = format!("{request:?} answered with request {}", message.header.request);
            return Err(self.lose(Refusal::new(&BACKEND_REFUSES, detail)));
        }
        Ok(message)
    }

    fn body<T: FromBytes>(&mut self, answer: &Message) -> Result<T, Failure> {
        answer.body().ok_or_else(|| {
            let detail = format!(
                "request {} answered with {} bytes",
                answer.header.request, answer.header.size
            );
            self.lose(Refusal::new(&BACKEND_REFUSES, detail))
        })
    }

    /// After this nothing more is said to the backend, which lied or fell silent.
    fn lose(&mut self, refusal: Refusal) -> Failure {
        self.state = State::Distrusted;
        refusal.into()
    }

    /// The connection failed: by itself, or for what came over it.
    fn failed(&mut self, failure: Failure) -> Failure {
        self.state = match failure {
            Failure::Refused(_) => State::Distrusted,
            Failure::Faulted(_) => State::Ended,
        };
        failure
    }

    fn lost(&mut self, why: impl Into<String>) -> Failure {
        self.state = State::Ended;
        Refusal::new(&BACKEND_GONE, why.into()).into()
    }
}

impl AsFd for Backend {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// Connects to a socket whose listener may let connections pile up.
fn connect_within(path: &Path, deadline: Duration) -> Result<OwnedFd, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(deadline))?;
    loop {
        match connect(&socket, &address) {
            Err(Errno::INTR) => {}
            connected => return connected.map(|()| socket),
        }
    }
}

fn check_config(config: Config) -> Result<(), Refusal> {
    let end = config.offset.checked_add(config.size);
    if config.size > 0 && end.is_some_and(|end| end <= CONFIG_BYTES_MAX) {
        return Ok(());
    }
    let detail =
        format!("{} bytes at {}, of at most {CONFIG_BYTES_MAX}", config.size, config.offset);
    Err(Refusal::new(&BAD_CONFIG, detail))
}

fn duplicate(file: &OwnedFd) -> Result<OwnedFd, Fault> {
    file.try_clone().map_err(|error| Fault::new("duplicate", "a descriptor", error))
}
