//! vhost-user messages as a VMM sends them, good and bad.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::event::EventfdFlags;
use rustix::fs::MemfdFlags;
use vhost::vhost_user::message::{FrontendReq, VhostUserProtocolFeatures};
use zerocopy::{FromBytes, IntoBytes};

use super::honest::{AVAILABLE, SIZE, TABLE, USED};
use super::input::Input;
use super::memory::{GPA, GUEST_BYTES, Ram, UVA};
use crate::features;
use crate::wire::{
    Config, HEADER_BYTES, Header, MemoryRegion, MemoryTable, Message, VringAddress, VringState,
};

/// Messages from the first to one queue that runs, and to its end.
const STEPS: [FrontendReq; 16] = [
    FrontendReq::GET_FEATURES,
    FrontendReq::GET_PROTOCOL_FEATURES,
    FrontendReq::SET_PROTOCOL_FEATURES,
    FrontendReq::SET_OWNER,
    FrontendReq::SET_FEATURES,
    FrontendReq::GET_QUEUE_NUM,
    FrontendReq::SET_BACKEND_REQ_FD,
    FrontendReq::SET_MEM_TABLE,
    FrontendReq::SET_VRING_NUM,
    FrontendReq::SET_VRING_BASE,
    FrontendReq::SET_VRING_ADDR,
    FrontendReq::SET_VRING_CALL,
    FrontendReq::SET_VRING_KICK,
    FrontendReq::SET_VRING_ENABLE,
    FrontendReq::GET_CONFIG,
    FrontendReq::GET_VRING_BASE,
];

/// The message with which a stopped queue is set up again.
const AGAIN: usize = 8;

/// A VMM that does everything right, one message after the other.
pub(super) struct Script {
    next: usize,
    offered: u64,
    protocol: u64,
}

impl Script {
    /// `declined` of the virtio features are not accepted.
    pub(super) fn new(declined: u64) -> Self {
        let protocol = VhostUserProtocolFeatures::REPLY_ACK
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::BACKEND_REQ;
        Self { next: 0, offered: !declined, protocol: protocol.bits() }
    }

    /// An answer of the fence's; the next messages keep to it.
    pub(super) fn hear(&mut self, answer: &Message) {
        let number = answer.body::<u64>().unwrap_or(0);
        if answer.header.request == u32::from(FrontendReq::GET_FEATURES) {
            self.offered &= number;
        } else if answer.header.request == u32::from(FrontendReq::GET_PROTOCOL_FEATURES) {
            self.protocol &= number;
        }
    }

    /// Whether indirect tables may be used.
    pub(super) fn has_indirect(&self) -> bool {
        self.offered & features::INDIRECT != 0
    }

    /// The next message is the first of those that set a queue up.
    pub(super) fn is_about_to_start(&self) -> bool {
        self.next == AGAIN
    }

    /// Whether the queue is set up by now.
    pub(super) fn has_started(&self) -> bool {
        self.next > AGAIN + 5
    }

    /// The next message.
    pub(super) fn next(&mut self, ram: &Ram) -> Message {
        let request = STEPS[self.next];
        self.next += 1;
        if self.next == STEPS.len() {
            self.next = AGAIN;
        }
        let state = |number: u32| VringState { index: 0, number }.as_bytes().to_vec();
        let (payload, files) = match request {
            FrontendReq::SET_FEATURES => (self.offered.as_bytes().to_vec(), vec![]),
            FrontendReq::SET_PROTOCOL_FEATURES => (self.protocol.as_bytes().to_vec(), vec![]),
            FrontendReq::SET_BACKEND_REQ_FD => {
                (vec![], vec![UnixStream::pair().expect("a socket pair").0.into()])
            }
            FrontendReq::SET_MEM_TABLE => {
                let table = MemoryTable { regions: 2, padding: 0 };
                let payload = [table.as_bytes(), ram.regions().as_bytes()].concat();
                (payload, vec![ram.file(), ram.file()])
            }
            FrontendReq::SET_VRING_NUM => (state(SIZE.into()), vec![]),
            FrontendReq::SET_VRING_ADDR => {
                let at = |at: usize| UVA + at as u64;
                let (descriptors, available, used) = (at(TABLE), at(AVAILABLE), at(USED));
                let address =
                    VringAddress { index: 0, flags: 0, descriptors, used, available, log: 0 };
                (address.as_bytes().to_vec(), vec![])
            }
            FrontendReq::SET_VRING_CALL | FrontendReq::SET_VRING_KICK => {
                (0u64.as_bytes().to_vec(), vec![eventfd()])
            }
            FrontendReq::SET_VRING_ENABLE => (state(1), vec![]),
            FrontendReq::SET_VRING_BASE | FrontendReq::GET_VRING_BASE => (state(0), vec![]),
            FrontendReq::GET_CONFIG => {
                let head = Config { offset: 0, size: 8, flags: 0 };
                ([head.as_bytes(), &[0; 8]].concat(), vec![])
            }
            _ => (vec![], vec![]),
        };
        Message::request_needing_reply(request.into(), &payload).with_descriptors(files)
    }
}

/// A message whose header may say anything of it.
pub(super) fn raw(request: u32, flags: u32, size: u32, payload: Vec<u8>) -> Message {
    let header = [request, flags, size];
    assert_eq!(header.as_bytes().len(), HEADER_BYTES);
    let header = Header::read_from_bytes(header.as_bytes()).expect("a header's bytes");
    Message { header, payload, descriptors: Vec::new() }
}

/// Any message, of which parts often make sense.
pub(super) fn any_message(input: &mut Input) -> Message {
    let request = if input.is_one_in(32) { input.u32() } else { u32::from(input.below(50)) };
    let payload = any_payload(input);
    let length = u32::try_from(payload.len()).expect("payloads are short");
    let size = if input.is_one_in(16) { u32::from(input.u16()) } else { length };
    let flags = match input.below(16) {
        15 => input.u32(),
        odd if odd % 2 == 1 => 1,
        _ => 9,
    };
    raw(request, flags, size, payload)
}

fn any_payload(input: &mut Input) -> Vec<u8> {
    let index = if input.is_one_in(16) { input.u32() } else { u32::from(input.below(3)) };
    match input.below(8) {
        0 => {
            let near = [0, 1, u64::from(SIZE)][usize::from(input.below(3))];
            let number = low(input.edge(near));
            VringState { index, number }.as_bytes().to_vec()
        }
        1 => {
            let mut near = |at: usize| {
                let right = UVA + at as u64;
                if input.is_one_in(4) { input.edge(UVA + GUEST_BYTES as u64) } else { right }
            };
            let (descriptors, available, used) = (near(TABLE), near(AVAILABLE), near(USED));
            let address = VringAddress { index, flags: 0, descriptors, used, available, log: 0 };
            address.as_bytes().to_vec()
        }
        2 => (u64::from(index) | u64::from(input.below(4) / 3) << 8).as_bytes().to_vec(),
        3 => {
            let regions = u32::from(input.below(4));
            let said = if input.is_one_in(8) { input.u32() } else { regions };
            let mut bytes = MemoryTable { regions: said, padding: 0 }.as_bytes().to_vec();
            (0..regions).for_each(|_| bytes.extend(any_region(input).as_bytes()));
            bytes
        }
        4 => [0u64.as_bytes(), any_region(input).as_bytes()].concat(),
        5 => {
            let size = low(input.edge(256));
            let head = Config { offset: low(input.edge(0)), size, flags: 0 };
            let room = if input.is_one_in(4) { input.byte().into() } else { size.min(300) };
            [head.as_bytes(), &vec![0; room as usize]].concat()
        }
        6 => {
            let length = usize::from(input.below(48));
            input.take(length)
        }
        _ => input.edge(features::PROTOCOL_FEATURES).as_bytes().to_vec(),
    }
}

fn any_region(input: &mut Input) -> MemoryRegion {
    let page = u64::from(input.below(16)) << 12;
    let mut field = |usual: u64| if input.is_one_in(6) { input.edge(usual) } else { usual };
    MemoryRegion {
        guest_address: field(GPA + page),
        size: field(0x2000),
        user_address: field(UVA + page),
        mmap_offset: field(0),
    }
}

fn low(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).expect("32 bits")
}

fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd")
}

/// Descriptors of any kind, most often few.
pub(super) fn any_files(input: &mut Input, window: Option<&OwnedFd>) -> Vec<OwnedFd> {
    let count = [0, 1, 1, 1, 1, 2, 3, 8][usize::from(input.below(8))];
    (0..count).map(|_| any_file(input, window)).collect()
}

fn any_file(input: &mut Input, window: Option<&OwnedFd>) -> OwnedFd {
    let memory = |bytes: u64| {
        let file = rustix::fs::memfd_create("fuzz-any", MemfdFlags::CLOEXEC).expect("a file");
        rustix::fs::ftruncate(&file, bytes).expect("a size");
        file
    };
    match input.below(8) {
        0 | 1 => memory(0x1_0000),
        2 => eventfd(),
        3 => memory(0x1800),
        4 => memory(1 << 40),
        5 => UnixStream::pair().expect("a socket pair").0.into(),
        6 => rustix::pipe::pipe().expect("a pipe").1,
        _ => window.map_or_else(eventfd, |window| window.try_clone().expect("a duplicate")),
    }
}
