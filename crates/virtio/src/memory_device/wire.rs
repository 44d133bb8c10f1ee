//! Requests, responses and the configuration of a memory device, byte for byte.
//!
//! Virtio 1.2, sections 5.15.4 and 5.15.6; `linux/virtio_mem.h`.

use ringfence_addr::{Gpa, Span};

use super::blocks::State;

/// Bytes of `struct virtio_mem_req`.
pub(super) const REQUEST_BYTES: usize = 24;

/// A request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) kind: u16,
    pub(super) first: Gpa,
    pub(super) blocks: u16,
}

impl Asked {
    pub(super) const PLUG: u16 = 0;
    pub(super) const UNPLUG: u16 = 1;
    pub(super) const UNPLUG_ALL: u16 = 2;
    pub(super) const STATE: u16 = 3;

    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; REQUEST_BYTES] = bytes.try_into().ok()?;
        let [k0, k1, _, _, _, _, _, _, address @ .., b0, b1, _, _, _, _, _, _] = *bytes;
        Some(Self {
            kind: u16::from_le_bytes([k0, k1]),
            first: Gpa::new(u64::from_le_bytes(address)),
            blocks: u16::from_le_bytes([b0, b1]),
        })
    }
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Response {
    Ack,
    State(State),
    /// More than is asked for.
    Nack,
    /// Later, perhaps.
    Busy,
    /// Not of this region, or not in this state.
    Error,
}

impl Response {
    /// `struct virtio_mem_resp`.
    pub(super) fn bytes(self) -> [u8; 10] {
        let (kind, state): (u16, u16) = match self {
            Self::Ack => (0, 0),
            Self::State(state) => (0, state as u16),
            Self::Nack => (1, 0),
            Self::Busy => (2, 0),
            Self::Error => (3, 0),
        };
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&kind.to_le_bytes());
        bytes[8..].copy_from_slice(&state.to_le_bytes());
        bytes
    }
}

/// `struct virtio_mem_config`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    pub(super) block_bytes: u64,
    pub(super) region: Option<Span<Gpa>>,
    pub(super) plugged_bytes: u64,
    pub(super) requested_bytes: u64,
}

impl Config {
    pub(super) fn bytes(self) -> Vec<u8> {
        let first = self.region.map_or(0, |region| region.first().get());
        let bytes =
            self.region.and_then(|region| region.length_u64()).map_or(0, |bytes| bytes.get());
        // Between the block's size and the address: a node, which is not offered, and padding. All of the
        // region can be used.
        let words =
            [self.block_bytes, 0, first, bytes, bytes, self.plugged_bytes, self.requested_bytes];
        words.map(u64::to_le_bytes).concat()
    }
}
