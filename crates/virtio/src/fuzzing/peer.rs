//! A backend on the same thread: it answers when the broker is about to wait for it, honestly or as
//! arbitrary bytes have it, and looks at everything it is handed.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use vhost::vhost_user::message::{BackendReq, FrontendReq, VhostUserProtocolFeatures};
use vm_memory::{FileOffset, MmapRegion};
use zerocopy::{FromBytes, IntoBytes};

use super::input::Input;
use super::memory::{GPA, GUEST_BYTES, UVA, assert_no_secret_in};
use super::messages::{any_files, any_message, raw};
use crate::connection::{Connection, Received};
use crate::features;
use crate::guest_queue::{RING_HEADER_BYTES, RING_INDEX, USED_ENTRY_BYTES};
use crate::shared::Area;
use crate::wire::{Config, MemoryRegion, MemoryTable, Message, VringAddress, VringState};

/// Queues it has.
pub(super) const QUEUES: u32 = 2;

/// How long sending may take: there is room in sockets for all that is ever sent.
const SOON: Duration = Duration::from_millis(1);

/// The backend.
pub(super) struct Peer {
    listener: UnixListener,
    connection: Option<Connection>,
    channel: Option<Connection>,
    features: u64,
    protocol: u64,
    /// What makes it hostile, and whether it is.
    input: Input,
    is_hostile: bool,
    window: Option<(OwnedFd, Area, u64)>,
    rings: [Ring; QUEUES as usize],
}

/// A ring as it was told of it.
#[derive(Clone, Copy, Default)]
struct Ring {
    size: u16,
    available: usize,
    used: usize,
    next: u16,
    is_placed: bool,
}

impl Peer {
    /// A backend that waits at `socket`.
    pub(super) fn new(socket: &Path, input: Input, is_hostile: bool) -> Self {
        let listener = UnixListener::bind(socket).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let mut input = input;
        let shape = input.byte();
        let protocol = [
            (1, VhostUserProtocolFeatures::REPLY_ACK),
            (2, VhostUserProtocolFeatures::CONFIG),
            (4, VhostUserProtocolFeatures::BACKEND_REQ),
            (8, VhostUserProtocolFeatures::MTU | VhostUserProtocolFeatures::RARP),
        ];
        let chosen = protocol.iter().filter(|(bit, _)| shape & bit != 0);
        let protocol = chosen.fold(VhostUserProtocolFeatures::MQ, |all, (_, each)| all | *each);
        let mut features = 1 << 32;
        for (bit, feature) in [(0x10, features::EVENT_INDEX), (0x20, features::INDIRECT)] {
            features |= if shape & bit != 0 { feature } else { 0 };
        }
        features |= if shape & 0x40 == 0 { features::PROTOCOL_FEATURES } else { 0 };
        Self {
            listener,
            connection: None,
            channel: None,
            features,
            protocol: protocol.bits(),
            input,
            is_hostile,
            window: None,
            rings: Default::default(),
        }
    }

    /// The file of its window.
    pub(super) fn window(&self) -> Option<&OwnedFd> {
        self.window.as_ref().map(|(file, ..)| file)
    }

    fn any_files(&mut self) -> Vec<OwnedFd> {
        any_files(&mut self.input, self.window.as_ref().map(|(file, ..)| file))
    }

    /// Answers whatever there is; true when it did anything.
    pub(super) fn answer(&mut self) -> bool {
        let mut has_acted = false;
        if let Ok((stream, _)) = self.listener.accept() {
            self.connection = Some(Connection::new(stream, "fence"));
            (self.channel, self.window, self.rings) = (None, None, Default::default());
            has_acted = true;
        }
        while let Some(Ok(Received::Message(message))) =
            self.connection.as_mut().map(Connection::receive)
        {
            has_acted = true;
            self.hear(message);
        }
        has_acted
    }

    /// Does of its own accord what a backend does between messages.
    pub(super) fn act(&mut self) {
        self.answer();
        for index in 0..self.rings.len() {
            self.serve(index);
        }
        if !self.is_hostile || !self.input.is_one_in(4) {
            return;
        }
        let to_channel = self.input.is_one_in(2);
        let message = if self.input.is_one_in(2) {
            let known = [BackendReq::CONFIG_CHANGE_MSG, BackendReq::IOTLB_MSG];
            Message::request_needing_reply(known[usize::from(self.input.below(2))].into(), &[])
        } else {
            any_message(&mut self.input)
        };
        let message = message.with_descriptors(self.any_files());
        let connection = if to_channel { &mut self.channel } else { &mut self.connection };
        if let Some(connection) = connection {
            let _room = connection.send_by(&message, Instant::now());
        }
    }

    fn hear(&mut self, message: Message) {
        let request = FrontendReq::try_from(message.header.request).expect("a known request");
        assert_in_order(request, &message);
        let proper = self
            .carry_out(request, &message)
            .or_else(|| message.header.needs_reply().then(|| 0u64.as_bytes().to_vec()));
        let number = message.header.request;
        let answer = proper.map(|payload| Message::reply(number, &payload));
        let answer = if self.is_hostile { self.twist(number, answer) } else { answer };
        if let (Some(answer), Some(connection)) = (answer, self.connection.as_mut()) {
            let _gone = connection.send_by(&answer, Instant::now() + SOON);
        }
    }

    /// What a hostile one does instead, now and then.
    fn twist(&mut self, number: u32, answer: Option<Message>) -> Option<Message> {
        let input = &mut self.input;
        if !input.is_one_in(6) {
            return answer;
        }
        match input.below(8) {
            0 => None,
            1 => {
                self.connection = None;
                None
            }
            2 => Some(any_message(input)),
            3 => {
                let length = usize::from(input.byte());
                Some(Message::reply(number, &input.take(length)))
            }
            4 => {
                let edge = input.edge(4);
                Some(Message::reply(number, edge.as_bytes()))
            }
            5 => {
                // Another size than what follows, or another version.
                let (flags, size) = (input.u32(), input.u16());
                let payload = input.take(8);
                Some(raw(number, flags, size.into(), payload))
            }
            6 => {
                let state = VringState { index: input.below(4).into(), number: input.u32() };
                Some(Message::reply(number, state.as_bytes()))
            }
            _ => {
                let files = self.any_files();
                answer.map(|answer| answer.with_descriptors(files))
            }
        }
    }

    /// Does what a message says; the reply, if it has one of its own.
    fn carry_out(&mut self, request: FrontendReq, message: &Message) -> Option<Vec<u8>> {
        use FrontendReq as F;
        let number = |number: u64| Some(number.as_bytes().to_vec());
        let state = message.body::<VringState>();
        match request {
            F::GET_FEATURES => return number(self.features),
            F::GET_PROTOCOL_FEATURES => return number(self.protocol),
            F::GET_QUEUE_NUM => return number(QUEUES.into()),
            F::SET_MEM_TABLE => {
                let (_, region) = message.body_with_tail::<MemoryTable>().expect("a table");
                let region = MemoryRegion::read_from_bytes(region).expect("one region");
                let file = message.descriptors[0].try_clone().expect("a duplicate");
                let mapped = FileOffset::new(file.try_clone().expect("a duplicate").into(), 0);
                let length = usize::try_from(region.size).expect("a window's size");
                let mapping = MmapRegion::from_file(mapped, length).expect("it maps");
                let area = Area::whole(std::sync::Arc::new(mapping));
                self.window = Some((file, area, region.user_address));
            }
            F::SET_VRING_NUM => {
                let state = state.expect("a state");
                self.rings[state.index as usize] =
                    Ring { size: u16::try_from(state.number).expect("a size"), ..Ring::default() };
            }
            F::SET_VRING_ADDR => {
                let address: VringAddress = message.body().expect("an address");
                let (_, _, user) = self.window.as_ref().expect("memory comes first");
                let offset = |at: u64| usize::try_from(at - user).expect("in the window");
                let ring = &mut self.rings[address.index as usize];
                (ring.available, ring.used) = (offset(address.available), offset(address.used));
                ring.is_placed = true;
            }
            F::GET_VRING_BASE => {
                let index = state.expect("a state").index;
                self.serve(index as usize);
                let number = std::mem::take(&mut self.rings[index as usize]).next.into();
                return Some(VringState { index, number }.as_bytes().to_vec());
            }
            F::SET_BACKEND_REQ_FD => {
                let socket = message.descriptors[0].try_clone().expect("a duplicate");
                self.channel = Some(Connection::from_descriptor(socket, "fence"));
            }
            F::GET_CONFIG => {
                let (head, room) = message.body_with_tail::<Config>().expect("a head");
                return Some([head.as_bytes(), &vec![7; room.len()]].concat());
            }
            _ => {}
        }
        None
    }

    /// Completes all that is in a ring, or whatever the input says.
    fn serve(&mut self, index: usize) {
        let (Some((_, area, _)), ring) = (self.window.as_ref(), &mut self.rings[index]) else {
            return;
        };
        if !ring.is_placed {
            return;
        }
        let load = |at: usize| {
            let mut word = [0; 2];
            area.read(at, &mut word);
            u16::from_le_bytes(word)
        };
        while load(ring.available + RING_INDEX) != ring.next {
            let entry = usize::from(ring.next % ring.size);
            let mut id = u32::from(load(ring.available + RING_HEADER_BYTES + entry * 2));
            let mut length = 0u32;
            if self.is_hostile && self.input.is_one_in(4) {
                (id, length) = (self.input.below(20).into(), self.input.u16().into());
            }
            let bytes = [id.to_le_bytes(), length.to_le_bytes()].concat();
            area.write(ring.used + RING_HEADER_BYTES + entry * USED_ENTRY_BYTES, &bytes);
            ring.next = ring.next.wrapping_add(1);
            area.write(ring.used + RING_INDEX, &ring.next.to_le_bytes());
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(window) = self.window().filter(|_| !std::thread::panicking()) {
            assert_no_secret_in(window);
        }
    }
}

/// Panics unless a message to the backend brings the descriptors it should, and no address of the
/// guest's or the VMM's.
fn assert_in_order(request: FrontendReq, message: &Message) {
    use FrontendReq as F;
    let kinds: Vec<String> = message.descriptors.iter().map(kind).collect();
    let expected: &[&str] = match request {
        F::SET_MEM_TABLE => &["/memfd:ringfence-window (deleted)"],
        F::SET_VRING_KICK | F::SET_VRING_CALL => &["anon_inode:[eventfd]"],
        F::SET_BACKEND_REQ_FD => &["socket"],
        _ => &[],
    };
    assert_eq!(kinds, expected, "descriptors with {request:?}");
    // What these carry is the VMM's own to say, and is no address.
    if [F::SET_CONFIG, F::GET_CONFIG, F::NET_SET_MTU, F::SEND_RARP].contains(&request) {
        return;
    }
    for word in message.payload.windows(8) {
        let number = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        for base in [GPA, UVA] {
            let is_within = number.wrapping_sub(base) < GUEST_BYTES as u64;
            assert!(!is_within, "{number:#x} in {request:?}");
        }
    }
}

/// What the kernel calls an open file.
fn kind(file: &OwnedFd) -> String {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let name = link.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if name.starts_with("socket:") { "socket".into() } else { name }
}
