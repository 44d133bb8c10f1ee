//! One VMM's connection, from its first message to its last: the loop that serves it.
//!
//! One thread serves everything of a device, so nothing here is locked. It sleeps in `epoll`; while
//! there is work it looks at the rings directly, with notifications suppressed, and goes on looking
//! for a moment after the last of it, for as long as that keeps paying ([`Spin`]).

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use vhost::vhost_user::message::{BackendReq, FrontendReq, VhostUserProtocolFeatures};
use zerocopy::IntoBytes;

use crate::backend::BackendSays;
use crate::connection::{Connection, Received};
use crate::control::Handled;
use crate::counters::Counters;
use crate::device::Device;
use crate::offences::Peer;
use crate::options::FenceOptions;
use crate::refusals::{BACKEND_GONE, BACKEND_REFUSES, PEER_SILENT, WRONG_DESCRIPTORS};
use crate::spin::Spin;
use crate::wire::Message;

/// While requests keep coming, the sockets are looked at after so many rounds all the same: a round
/// takes from less than a microsecond to a few hundred.
const ROUNDS_MAX: u32 = 256;

/// What woke us.
#[derive(Clone, Copy)]
enum Token {
    Frontend,
    Backend,
    Channel,
    Stop,
    Kick(usize),
    Call(usize),
}

impl Token {
    const KICK: u64 = 0x1000;
    const CALL: u64 = 0x2000;

    fn data(self) -> EventData {
        EventData::new_u64(match self {
            Self::Frontend => 0,
            Self::Backend => 1,
            Self::Channel => 2,
            Self::Stop => 3,
            Self::Kick(index) => Self::KICK + index as u64,
            Self::Call(index) => Self::CALL + index as u64,
        })
    }

    fn of(data: EventData) -> Self {
        let index = |base| usize::try_from(data.u64() - base).expect("queues are few");
        match data.u64() {
            0 => Self::Frontend,
            1 => Self::Backend,
            2 => Self::Channel,
            3 => Self::Stop,
            Self::CALL.. => Self::Call(index(Self::CALL)),
            _ => Self::Kick(index(Self::KICK)),
        }
    }
}

/// Why a session ended.
pub(crate) enum Ended {
    /// The VMM closed its connection.
    FrontendClosed,
    /// We were asked to stop.
    Stopped,
}

/// A VMM connected to its fenced device.
pub(crate) struct Session {
    frontend: Connection,
    device: Device,
    epoll: OwnedFd,
    /// Per queue: the guest's kick and the backend's call that are waited on. Other processes hold
    /// the same descriptors, so closing ours would not end the waiting.
    watched: Vec<Option<(OwnedFd, OwnedFd)>>,
    spin: Spin,
}

impl Session {
    /// Connects to the backend on behalf of a VMM that has connected to us.
    pub(crate) fn new(
        stream: UnixStream,
        backend: &Path,
        options: FenceOptions,
        counters: Arc<Counters>,
        stop: &OwnedFd,
    ) -> Result<Self, Failure> {
        let spin = Spin::new(options.spin);
        let device = Device::new(options, backend, counters)?;
        let frontend = Connection::new(stream, "VMM");
        let epoll = epoll::create(CreateFlags::CLOEXEC)
            .map_err(|errno| Fault::new("make", "an epoll instance", errno))?;
        let watched = (0..device.queues.len()).map(|_| None).collect();
        let mut session = Self { frontend, device, epoll, watched, spin };
        session.watch(stop, Token::Stop, EventFlags::IN)?;
        session.watch(&session.frontend, Token::Frontend, EventFlags::IN)?;
        session.watch_backend()?;
        session.device.show_state();
        Ok(session)
    }

    /// Serves until the VMM goes away or we are stopped.
    pub(crate) fn run(&mut self) -> Result<Ended, Failure> {
        let mut events = Vec::with_capacity(64);
        loop {
            let slept = Instant::now();
            let waits = [self.device.recovery.wait(), self.device.quota_wait()];
            self.wait(&mut events, waits.into_iter().flatten().min())?;
            self.spin.woke_after(slept.elapsed());
            if let Some(ended) = self.dispatch(&events)? {
                return Ok(ended);
            }
            self.look_after_backend()?;
            while self.work() {
                // Busy for long: see whether anybody said something in the meantime.
                self.wait(&mut events, Some(Duration::ZERO))?;
                if let Some(ended) = self.dispatch(&events)? {
                    return Ok(ended);
                }
                self.look_after_backend()?;
            }
            self.device.show_use();
        }
    }

    /// Looks for the successor of a backend that is gone, and waits on what it brought along.
    fn look_after_backend(&mut self) -> Result<(), Failure> {
        if self.device.look_after_backend() {
            self.watch_backend()?;
        }
        Ok(())
    }

    fn watch_backend(&mut self) -> Result<(), Failure> {
        self.watch(&self.device.backend, Token::Backend, EventFlags::IN)?;
        if let Some(channel) = self.device.backend.channel() {
            self.watch(channel, Token::Channel, EventFlags::IN)?;
        }
        (0..self.device.queues.len()).try_for_each(|index| self.rewatch(index))
    }

    /// Moves requests until there is nothing to do and notifications are asked for. True when it
    /// broke off to let others have a word.
    fn work(&mut self) -> bool {
        let mut rounds = 0;
        loop {
            self.device.suppress_notifications();
            loop {
                if self.serve_all() {
                    rounds += 1;
                    if rounds > ROUNDS_MAX {
                        return true;
                    }
                } else if !self.spin.goes_on() {
                    break;
                }
            }
            if !self.device.want_notifications() {
                return false;
            }
        }
    }

    fn serve_all(&mut self) -> bool {
        let mut moved = false;
        for index in 0..self.device.queues.len() {
            moved |= self.device.serve(index);
        }
        if moved {
            self.spin.found_work();
        }
        moved
    }

    fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> Result<(), Fault> {
        #[cfg(feature = "fuzzing")]
        let timeout = match timeout {
            None if crate::fuzzing::turn(crate::fuzzing::Waiting::Event) => Some(Duration::ZERO),
            timeout => timeout,
        };
        let timeout = timeout.map(crate::connection::timespec);
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(Fault::new("wait for", "events", errno)),
        }
    }

    fn dispatch(&mut self, events: &[Event]) -> Result<Option<Ended>, Failure> {
        for event in events {
            match Token::of(event.data) {
                Token::Stop => return Ok(Some(Ended::Stopped)),
                Token::Frontend => {
                    if let Some(ended) = self.hear_frontend()? {
                        return Ok(Some(ended));
                    }
                }
                Token::Backend => self.hear_backend(),
                Token::Channel => self.hear_channel(),
                Token::Kick(_) | Token::Call(_) => self.device.count_wakeup(),
            }
        }
        Ok(None)
    }

    fn hear_frontend(&mut self) -> Result<Option<Ended>, Failure> {
        loop {
            let message = match self.frontend.receive()? {
                Received::Message(message) => message,
                Received::Nothing => return Ok(None),
                Received::Closed => return Ok(Some(Ended::FrontendClosed)),
            };
            let request = message.header.request;
            let wants_reply = message.header.needs_reply();
            if self.device.backend.has_ended() && needs_backend(request) {
                // A successor may be a moment away, and the VMM waits for the answer.
                if self.device.wait_for_backend() {
                    self.watch_backend()?;
                }
            }
            let had_backend = !self.device.backend.is_gone();
            let handled = self.device.handle(message);
            // Looked at afterwards: User-Mode Linux wants a reply to the very message with which it
            // accepts that there are replies.
            let acknowledge = wants_reply && self.device.has(VhostUserProtocolFeatures::REPLY_ACK);
            let (answer, result) = match handled {
                Ok(Handled::Done) => (None, Ok(())),
                Ok(Handled::Answer(bytes)) => (Some(bytes), Ok(())),
                Ok(Handled::QueueChanged(index, answer)) => (answer, self.rewatch(index)),
                Err(failure) => (None, Err(failure)),
            };
            let answer = match (answer, result) {
                (answer, Ok(())) => answer.or(acknowledge.then(|| 0u64.as_bytes().to_vec())),
                (_, Err(failure)) if acknowledge => {
                    let backends = self.is_the_backends(&failure, had_backend);
                    let peer = if backends { Peer::Backend } else { Peer::Vmm };
                    self.device.note(peer, failure);
                    Some(1u64.as_bytes().to_vec())
                }
                // What the backend did is no reason to leave the VMM, which may end over it (QEMU
                // does). Its messages are answered on, and its device says what happened.
                (_, Err(failure)) if self.is_the_backends(&failure, had_backend) => {
                    self.device.note(Peer::Backend, failure);
                    None
                }
                // Without a way to say no, the connection is the answer.
                (_, Err(failure)) => return Err(failure),
            };
            if let Some(bytes) = answer {
                let deadline = Instant::now() + self.device.options.message_deadline;
                match self.frontend.send_by(&Message::reply(request, &bytes), deadline) {
                    // It went away without waiting for the answer.
                    Err(Failure::Faulted(_)) => return Ok(Some(Ended::FrontendClosed)),
                    sent => sent?,
                }
            }
        }
    }

    /// Whether a message of the VMM's failed for what the backend did or did not do.
    fn is_the_backends(&self, failure: &Failure, had_backend: bool) -> bool {
        let codes = [&BACKEND_GONE, &BACKEND_REFUSES];
        let says_so =
            matches!(failure, Failure::Refused(refusal) if codes.contains(&refusal.code()));
        says_so || (had_backend && self.device.backend.is_gone())
    }

    fn hear_backend(&mut self) {
        if let Err(failure) = self.device.backend.look() {
            self.device.note(Peer::Backend, failure);
        }
        if self.device.backend.is_gone() {
            // Nothing more will come; its end would wake us for ever.
            self.unwatch(&self.device.backend);
        }
    }

    fn hear_channel(&mut self) {
        match self.device.backend.backend_says() {
            Ok(BackendSays::ConfigChanged) => self.relay_config_change(),
            Ok(BackendSays::Nothing) => {}
            #[cfg(feature = "unguarded")]
            Ok(BackendSays::Anything(message)) => {
                if let Some(channel) = self.device.channel.as_mut() {
                    let _gone = channel.send_by(&message, Instant::now());
                }
            }
            Err(failure) => self.device.note(Peer::Backend, failure),
        }
    }

    fn relay_config_change(&mut self) {
        let message = Message::request(u32::from(BackendReq::CONFIG_CHANGE_MSG), &[]);
        let Some(channel) = self.device.channel.as_mut() else {
            return;
        };
        match channel.send_by(&message, Instant::now()) {
            Ok(()) => {}
            // The VMM has not taken the last of many; those say the same, and it may be waiting
            // for an answer of ours instead.
            Err(Failure::Refused(refusal)) if refusal.code() == &PEER_SILENT => {}
            Err(failure) => {
                self.device.channel = None;
                self.device.note(Peer::Vmm, failure);
            }
        }
    }

    /// Waits for the descriptors a queue has now, and no longer for those it had.
    fn rewatch(&mut self, index: usize) -> Result<(), Failure> {
        if let Some((kick, call)) = self.watched[index].take() {
            self.unwatch(&kick);
            self.unwatch(&call);
        }
        let queue = &self.device.queues[index];
        let (Some(kick), Some(running)) = (queue.kick.as_ref(), queue.running.as_ref()) else {
            return Ok(());
        };
        let duplicate = |descriptor: &OwnedFd| {
            descriptor.try_clone().map_err(|error| Fault::new("duplicate", "a descriptor", error))
        };
        let (kick, call) = (duplicate(kick)?, duplicate(&running.call)?);
        // Edges are enough, as every write to an eventfd is one, and the rings say the rest: a
        // notification need not be read, which saves a system call each.
        let edge = EventFlags::IN | EventFlags::ET;
        self.watch(&kick, Token::Kick(index), edge).map_err(|fault| {
            let detail = format!("the kick of queue {index}: {fault}: {}", fault.io_error());
            Refusal::new(&WRONG_DESCRIPTORS, detail)
        })?;
        self.watch(&call, Token::Call(index), edge)?;
        self.watched[index] = Some((kick, call));
        Ok(())
    }

    fn watch(&self, what: impl AsFd, token: Token, flags: EventFlags) -> Result<(), Fault> {
        epoll::add(&self.epoll, what, token.data(), flags)
            .map_err(|errno| Fault::new("wait for", "a descriptor of a peer's", errno))
    }

    fn unwatch(&self, what: impl AsFd) {
        // Already gone is as good.
        let _: Result<(), Errno> = epoll::delete(&self.epoll, what);
    }
}

/// Whether a message of the VMM's cannot be carried out without a backend.
fn needs_backend(request: u32) -> bool {
    use FrontendReq as F;
    let asks = [
        F::SET_FEATURES,
        F::GET_CONFIG,
        F::SET_CONFIG,
        F::GET_VRING_BASE,
        F::SET_VRING_ENABLE,
        F::SET_VRING_KICK,
    ];
    FrontendReq::try_from(request).is_ok_and(|request| asks.contains(&request))
}
