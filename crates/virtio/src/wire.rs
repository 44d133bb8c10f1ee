//! vhost-user messages as bytes.
//!
//! Layouts from QEMU's `docs/interop/vhost-user.rst`, "Message Specification": a header of three
//! little-endian words (request, flags, size), then `size` bytes of payload, with file descriptors
//! as ancillary data. Numbers and feature bits come from the `vhost` crate; its connection and
//! handlers do not serve a broker (no deadlines, no descriptors passed through, unknown messages
//! end the connection), so reading and writing are ours.

use std::os::fd::OwnedFd;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a message's header.
pub const HEADER_BYTES: usize = 12;

/// The longest payload any message has: a memory table of 8 regions is 264 bytes, a configuration
/// space message 268. More is a broken or hostile peer.
pub const PAYLOAD_BYTES_MAX: usize = 4096;

/// Descriptors that may come with one message (a memory table's 8 are the most the protocol has).
pub const DESCRIPTORS_MAX: usize = 8;

/// The longest configuration space that can be read or written, as QEMU and libvhost-user have it.
pub const CONFIG_BYTES_MAX: u32 = 256;

const VERSION: u32 = 0x1;
const VERSION_MASK: u32 = 0x3;
const REPLY: u32 = 0x4;
const NEED_REPLY: u32 = 0x8;

/// A message's header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// What is asked; the numbers differ by direction (`FrontendReq`, `BackendReq` of `vhost`).
    pub request: u32,
    flags: u32,
    /// Bytes of payload.
    pub size: u32,
}

impl Header {
    /// Whether the version is the only one there is.
    pub fn is_version_1(self) -> bool {
        self.flags & VERSION_MASK == VERSION
    }

    /// Whether this is a reply.
    pub fn is_reply(self) -> bool {
        self.flags & REPLY != 0
    }

    /// Whether the sender waits for an acknowledgement (`REPLY_ACK`).
    pub fn needs_reply(self) -> bool {
        self.flags & NEED_REPLY != 0
    }
}

/// One message: its header, payload and descriptors.
#[derive(Debug)]
pub struct Message {
    /// The header as it came or will go.
    pub header: Header,
    /// `header.size` bytes.
    pub payload: Vec<u8>,
    /// Descriptors that came or go with it; dropped (closed) with the message unless taken.
    pub descriptors: Vec<OwnedFd>,
}

impl Message {
    fn new(request: u32, flags: u32, payload: &[u8]) -> Self {
        let size = u32::try_from(payload.len()).expect("payloads are bounded");
        assert!(payload.len() <= PAYLOAD_BYTES_MAX, "a payload of our own is too long");
        let header = Header { request, flags: VERSION | flags, size };
        Self { header, payload: payload.to_vec(), descriptors: Vec::new() }
    }

    /// A request without need of an acknowledgement.
    pub fn request(request: u32, payload: &[u8]) -> Self {
        Self::new(request, 0, payload)
    }

    /// A request that asks for an acknowledgement.
    pub fn request_needing_reply(request: u32, payload: &[u8]) -> Self {
        Self::new(request, NEED_REPLY, payload)
    }

    /// The reply to `request`.
    pub fn reply(request: u32, payload: &[u8]) -> Self {
        Self::new(request, REPLY, payload)
    }

    /// The same message with descriptors to go with it.
    #[must_use]
    pub fn with_descriptors(mut self, descriptors: Vec<OwnedFd>) -> Self {
        self.descriptors = descriptors;
        self
    }

    /// The payload as `T`, if it is exactly that long.
    pub fn body<T: FromBytes>(&self) -> Option<T> {
        T::read_from_bytes(&self.payload).ok()
    }

    /// The payload's beginning as `T`, and the bytes after it.
    pub fn body_with_tail<T: FromBytes>(&self) -> Option<(T, &[u8])> {
        T::read_from_prefix(&self.payload).ok()
    }
}

/// `struct vhost_vring_state`: a queue and a number.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VringState {
    /// Index of the queue.
    pub index: u32,
    /// Size, base or flag, by request.
    pub number: u32,
}

/// `struct vhost_vring_addr`: where the parts of a split ring are, as addresses of the sender's
/// process.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct VringAddress {
    /// Index of the queue.
    pub index: u32,
    /// Bit 0: log writes to the used ring.
    pub flags: u32,
    /// Descriptor table.
    pub descriptors: u64,
    /// Used ring.
    pub used: u64,
    /// Available ring.
    pub available: u64,
    /// Where used-ring writes are logged.
    pub log: u64,
}

/// What precedes the regions of `SET_MEM_TABLE`, and the one of `ADD_MEM_REG` and `REM_MEM_REG`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryTable {
    /// How many regions follow (padding in the single-region messages).
    pub regions: u32,
    /// Always zero.
    pub padding: u32,
}

/// One region of guest memory as a peer describes it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryRegion {
    /// First guest-physical address.
    pub guest_address: u64,
    /// Bytes.
    pub size: u64,
    /// Where the sender's process has it.
    pub user_address: u64,
    /// Where it starts in the file that comes with it.
    pub mmap_offset: u64,
}

/// What precedes the bytes of `GET_CONFIG` and `SET_CONFIG`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// First byte of the configuration space meant.
    pub offset: u32,
    /// How many.
    pub size: u32,
    /// 0 writable fields only, 1 live migration.
    pub flags: u32,
}

/// Mask of the queue index in the `u64` of `SET_VRING_KICK`, `_CALL` and `_ERR`.
pub const VRING_INDEX_MASK: u64 = 0xff;

/// Set in that `u64` when no descriptor comes with the message.
pub const VRING_NO_DESCRIPTOR: u64 = 0x100;
