//! A VMM: one memory file of guest memory and a vhost-user connection that says anything.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use ringfence_virtio::connection::{Connection, Received};
use ringfence_virtio::features;
use ringfence_virtio::wire::{
    Config, MemoryRegion, MemoryTable, Message, VringAddress, VringState,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use vhost::vhost_user::message::FrontendReq;
use zerocopy::{FromBytes, IntoBytes};

use super::driver::Driver;
use super::memory::Memory;
use super::{PATIENCE, is_readable};

/// Where guest memory begins for the guest; easy to find in a message it must not be in.
pub(crate) const GPA: u64 = 0x0005_afe0_0000;
/// Where guest memory begins in the address space of this VMM.
pub(crate) const UVA: u64 = 0x7ea1_5ec2_e000;
/// Bytes of guest memory.
pub(crate) const RAM_BYTES: usize = 8 << 20;

/// A VMM with a guest.
pub(crate) struct Frontend {
    connection: Connection,
    raw: UnixStream,
    /// Whether answers are asked for with every message.
    pub(crate) acknowledges: bool,
    pub(crate) memory: Memory,
    /// What was offered and what was accepted.
    pub(crate) offered: u64,
    pub(crate) accepted: u64,
}

/// Sends bytes that may be part of a message, with descriptors.
pub(crate) fn send_part(socket: impl AsFd, bytes: &[u8], descriptors: &[OwnedFd]) {
    let descriptors: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let sent = sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    assert_eq!(sent, Ok(bytes.len()));
}

/// The one region that names all of `memory`.
pub(crate) fn region_of(memory: &Memory) -> MemoryRegion {
    let size = memory.length() as u64;
    MemoryRegion { guest_address: GPA, size, user_address: UVA, mmap_offset: 0 }
}

impl Frontend {
    /// Connects and says nothing yet.
    pub(crate) fn silent(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the fence listens");
        let raw = stream.try_clone().expect("a duplicate");
        Self {
            connection: Connection::new(stream, "fence"),
            raw,
            acknowledges: false,
            memory: Memory::new("guest-memory", RAM_BYTES),
            offered: 0,
            accepted: 0,
        }
    }

    /// Connects and negotiates all there is but the features in `without`.
    pub(crate) fn negotiated(socket: &Path, without: u64) -> Self {
        let mut frontend = Self::silent(socket);
        frontend.negotiate(without);
        frontend
    }

    /// Connects, negotiates, and names guest memory.
    pub(crate) fn connect(socket: &Path, without: u64) -> Self {
        let mut frontend = Self::negotiated(socket, without);
        let (region, file) = (region_of(&frontend.memory), frontend.memory.file());
        assert_eq!(frontend.name_memory(&[region], vec![file]), Some(0));
        frontend
    }

    fn negotiate(&mut self, without: u64) {
        self.offered = self.ask_number(FrontendReq::GET_FEATURES);
        self.accepted = self.offered & !without;
        let protocol = self.ask_number(FrontendReq::GET_PROTOCOL_FEATURES);
        self.tell(FrontendReq::SET_PROTOCOL_FEATURES, protocol.as_bytes(), Vec::new());
        self.acknowledges = true;
        assert_eq!(self.tell(FrontendReq::SET_OWNER, &[], Vec::new()), Some(0));
        let accepted = self.accepted;
        let code = self.tell(FrontendReq::SET_FEATURES, accepted.as_bytes(), Vec::new());
        assert_eq!(code, Some(0), "features were accepted");
    }

    pub(crate) fn event_index(&self) -> bool {
        self.accepted & features::EVENT_INDEX != 0
    }

    /// Sends bytes that may be no message.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.raw.write_all(bytes).expect("sent");
    }

    /// Sends bytes that may be part of a message, with descriptors.
    pub(crate) fn send_part(&mut self, bytes: &[u8], descriptors: &[OwnedFd]) {
        send_part(&self.raw, bytes, descriptors);
    }

    /// Sends a message if there is room for it; false when there is not, or nobody to take it.
    pub(crate) fn try_send(&mut self, message: &Message) -> bool {
        self.connection.send_by(message, Instant::now()).is_ok()
    }

    /// Sends a message as it is.
    pub(crate) fn send(&mut self, message: &Message) {
        self.connection.send_by(message, Instant::now() + PATIENCE).expect("sent");
    }

    /// The next message, or `None` when the fence has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Message> {
        match self.connection.receive_by(Instant::now() + PATIENCE) {
            Ok(Received::Message(message)) => Some(message),
            Ok(Received::Closed) => None,
            other => panic!("the fence should answer or close, not {other:?}"),
        }
    }

    /// Whether the fence closed the connection, or does soon.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.receive().is_none()
    }

    /// Whether the fence has said anything, or closed.
    pub(crate) fn hears_something(&self) -> bool {
        is_readable(&self.raw, std::time::Duration::from_millis(50))
    }

    /// Asks what has an answer of its own; `None` when the connection was closed instead.
    pub(crate) fn try_ask(&mut self, request: FrontendReq, payload: &[u8]) -> Option<Message> {
        self.send(&Message::request(request.into(), payload));
        let answer = self.receive()?;
        assert!(answer.header.is_reply() && answer.header.request == u32::from(request));
        Some(answer)
    }

    pub(crate) fn ask(&mut self, request: FrontendReq, payload: &[u8]) -> Message {
        self.try_ask(request, payload).expect("an answer, and not an end")
    }

    pub(crate) fn ask_number(&mut self, request: FrontendReq) -> u64 {
        self.ask(request, &[]).body().expect("a number")
    }

    /// Says something. The answer is the code of the acknowledgement (0 when none was agreed on),
    /// or `None` when the connection was closed instead.
    pub(crate) fn tell(
        &mut self,
        request: FrontendReq,
        payload: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Option<u64> {
        self.tell_number(request.into(), payload, descriptors)
    }

    /// The same for a request that may not exist.
    pub(crate) fn tell_number(
        &mut self,
        request: u32,
        payload: &[u8],
        descriptors: Vec<OwnedFd>,
    ) -> Option<u64> {
        if !self.acknowledges {
            self.send(&Message::request(request, payload).with_descriptors(descriptors));
            return Some(0);
        }
        let message = Message::request_needing_reply(request, payload);
        self.send(&message.with_descriptors(descriptors));
        let answer = self.receive()?;
        assert_eq!(answer.header.request, request);
        answer.body()
    }

    /// Says something that has to be accepted.
    pub(crate) fn must(&mut self, request: FrontendReq, payload: &[u8], descriptors: Vec<OwnedFd>) {
        assert_eq!(self.tell(request, payload, descriptors), Some(0), "{request:?}");
    }

    /// `SET_MEM_TABLE`.
    pub(crate) fn name_memory(
        &mut self,
        regions: &[MemoryRegion],
        files: Vec<OwnedFd>,
    ) -> Option<u64> {
        let count = u32::try_from(regions.len()).expect("few");
        let table = MemoryTable { regions: count, padding: 0 };
        let mut payload = table.as_bytes().to_vec();
        regions.iter().for_each(|region| payload.extend(region.as_bytes()));
        self.tell(FrontendReq::SET_MEM_TABLE, &payload, files)
    }

    /// `ADD_MEM_REG` and `REM_MEM_REG`.
    pub(crate) fn one_region(
        &mut self,
        request: FrontendReq,
        region: &MemoryRegion,
        files: Vec<OwnedFd>,
    ) -> Option<u64> {
        let payload = [&[0; 8], region.as_bytes()].concat();
        self.tell(request, &payload, files)
    }

    /// A message about a queue that carries a number.
    pub(crate) fn queue_number(
        &mut self,
        request: FrontendReq,
        index: u32,
        number: u32,
    ) -> Option<u64> {
        self.tell(request, VringState { index, number }.as_bytes(), Vec::new())
    }

    /// Where a driver's ring is, as `SET_VRING_ADDR` says it.
    pub(crate) fn address_of(index: u32, driver: &Driver) -> VringAddress {
        VringAddress {
            index,
            flags: 0,
            descriptors: Driver::user(driver.descriptors),
            used: Driver::user(driver.used),
            available: Driver::user(driver.available),
            log: 0,
        }
    }

    /// Says everything of a queue but its kick, which starts it.
    pub(crate) fn prepare(&mut self, index: u32, driver: &Driver, base: u16) {
        use FrontendReq as F;
        assert_eq!(self.queue_number(F::SET_VRING_NUM, index, driver.size.into()), Some(0));
        assert_eq!(self.queue_number(F::SET_VRING_BASE, index, base.into()), Some(0));
        self.must(F::SET_VRING_ADDR, Self::address_of(index, driver).as_bytes(), Vec::new());
        self.signal(F::SET_VRING_CALL, index, &driver.call);
        self.signal(F::SET_VRING_ERR, index, &driver.error);
        assert_eq!(self.queue_number(F::SET_VRING_ENABLE, index, 1), Some(0));
    }

    /// Starts a queue where the driver's ring stands.
    pub(crate) fn start(&mut self, index: u32, driver: &Driver) {
        self.start_at(index, driver, driver.next_available);
    }

    pub(crate) fn start_at(&mut self, index: u32, driver: &Driver, base: u16) {
        self.prepare(index, driver, base);
        self.signal(FrontendReq::SET_VRING_KICK, index, &driver.kick);
    }

    fn signal(&mut self, request: FrontendReq, index: u32, descriptor: &OwnedFd) {
        let file = descriptor.try_clone().expect("a duplicate");
        self.must(request, u64::from(index).as_bytes(), vec![file]);
    }

    /// Stops a queue; the answer is the next entry of the available ring.
    pub(crate) fn stop(&mut self, index: u32) -> u16 {
        let question = VringState { index, number: 0 };
        let answer = self.ask(FrontendReq::GET_VRING_BASE, question.as_bytes());
        let state: VringState = answer.body().expect("a state");
        assert_eq!(state.index, index);
        state.number.try_into().expect("a split ring's index")
    }

    /// Reads configuration space; empty when that was refused.
    pub(crate) fn config(&mut self, offset: u32, size: u32) -> Vec<u8> {
        let head = Config { offset, size, flags: 0 };
        let room = vec![0; size.min(4000) as usize];
        let answer = self.ask(FrontendReq::GET_CONFIG, &[head.as_bytes(), &room].concat());
        match Config::read_from_prefix(&answer.payload) {
            Ok((_, bytes)) => bytes.to_vec(),
            Err(_) => Vec::new(),
        }
    }
}
