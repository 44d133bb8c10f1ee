//! The registers by which a driver and a device come to terms: features, status, queues.
//!
//! Virtio 1.2, sections 3.1 (how a driver starts), 4.1.4.3 (`struct virtio_pci_common_cfg`) and 4.1.5.1.
//! Each write takes effect only where the specification lets a driver write, and otherwise not at all.

use ringfence_addr::Gpa;
use ringfence_refusal::Refusal;
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET,
    VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::VIRTIO_RING_F_INDIRECT_DESC;

use crate::guest_memory::GuestMemory;
use crate::guest_queue::{GuestQueue, RingAddress, RingAddresses};
use crate::pci::QUEUE_ENTRIES_MAX;
use crate::pci::config::copy_out;
use crate::refusals::FEATURE_NOT_OFFERED;

/// What a driver reads where a vector was not taken.
pub(super) const NO_VECTOR: u16 = 0xffff;

const INDIRECT: u64 = 1 << VIRTIO_RING_F_INDIRECT_DESC;
const VERSION_1: u64 = 1 << VIRTIO_F_VERSION_1;
/// What the transport has.
pub(super) const OURS: u64 = INDIRECT | VERSION_1;

pub(super) const FEATURES_OK: u8 = bit(VIRTIO_CONFIG_S_FEATURES_OK);
pub(super) const DRIVER_OK: u8 = bit(VIRTIO_CONFIG_S_DRIVER_OK);
pub(super) const NEEDS_RESET: u8 = bit(VIRTIO_CONFIG_S_NEEDS_RESET);

const fn bit(bits: u32) -> u8 {
    assert!(bits <= 0xff, "the status has 8 bits");
    (bits & 0xff) as u8
}

/// The registers.
#[derive(Debug)]
pub(super) struct Common {
    offered: u64,
    device_select: u32,
    driver_select: u32,
    pub(super) accepted: u64,
    pub(super) config_vector: u16,
    pub(super) status: u8,
    pub(super) generation: u8,
    select: u16,
    pub(super) queues: Vec<Queue>,
}

/// One queue, as the driver set it up.
#[derive(Debug)]
pub(super) struct Queue {
    size: u16,
    pub(super) vector: u16,
    pub(super) is_enabled: bool,
    addresses: [u64; 3],
    /// The next entry of its available ring.
    next: u16,
    /// While it runs and its memory is where it was.
    pub(super) ring: Option<GuestQueue>,
    /// A refusal stopped it.
    pub(super) is_stopped: bool,
}

impl Queue {
    const fn new() -> Self {
        Self {
            size: QUEUE_ENTRIES_MAX,
            vector: NO_VECTOR,
            is_enabled: false,
            addresses: [0; 3],
            next: 0,
            ring: None,
            is_stopped: false,
        }
    }

    /// Its rings, found in the guest's memory where they are not known yet.
    ///
    /// # Errors
    ///
    /// `RF0207`, or what the ledger refuses.
    pub(super) fn open(
        &mut self,
        memory: &GuestMemory,
        features: u64,
    ) -> Result<&mut GuestQueue, Refusal> {
        let ring = match self.ring.take() {
            Some(ring) => ring,
            None => {
                let [descriptors, available, used] =
                    self.addresses.map(|address| RingAddress::Guest(Gpa::new(address)));
                let at = RingAddresses { descriptors, available, used };
                let is_indirect = features & INDIRECT != 0;
                GuestQueue::new(memory, at, self.size, self.next, false, is_indirect)?
            }
        };
        Ok(self.ring.insert(ring))
    }

    /// Forgets where its rings are, because memory goes away; it goes on where it was if they are found
    /// again.
    pub(super) fn lose(&mut self) {
        if let Some(ring) = self.ring.take() {
            self.next = ring.next_available();
        }
    }
}

/// What a write asks for beyond the registers themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// Start anew.
    Reset,
    /// The driver is ready.
    Start,
    /// The driver did what it may not.
    Refused(Refusal),
}

impl Common {
    pub(super) fn new(features: u64, queues: u16) -> Self {
        Self {
            offered: features | OURS,
            device_select: 0,
            driver_select: 0,
            accepted: 0,
            config_vector: NO_VECTOR,
            status: 0,
            generation: 0,
            select: 0,
            queues: (0..queues).map(|_| Queue::new()).collect(),
        }
    }

    pub(super) fn reset(&mut self) {
        let generation = self.generation;
        let queues = u16::try_from(self.queues.len()).unwrap_or(0);
        *self = Self { generation, ..Self::new(self.offered, queues) };
    }

    pub(super) fn has(&self, status: u8) -> bool {
        self.status & status != 0
    }

    fn selected(&mut self) -> Option<&mut Queue> {
        self.queues.get_mut(usize::from(self.select))
    }

    /// All of it, as it stands.
    fn bytes(&self) -> [u8; 0x38] {
        let mut bytes = [0; 0x38];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0x00, &self.device_select.to_le_bytes());
        put(0x04, &half(self.offered, self.device_select).to_le_bytes());
        put(0x08, &self.driver_select.to_le_bytes());
        put(0x0c, &half(self.accepted, self.driver_select).to_le_bytes());
        put(0x10, &self.config_vector.to_le_bytes());
        put(0x12, &u16::try_from(self.queues.len()).unwrap_or(0).to_le_bytes());
        put(0x14, &[self.status, self.generation]);
        put(0x16, &self.select.to_le_bytes());
        if let Some(queue) = self.queues.get(usize::from(self.select)) {
            put(0x18, &queue.size.to_le_bytes());
            put(0x1a, &queue.vector.to_le_bytes());
            put(0x1c, &u16::from(queue.is_enabled).to_le_bytes());
            put(0x1e, &self.select.to_le_bytes());
            for (place, address) in queue.addresses.iter().enumerate() {
                put(0x20 + place * 8, &address.to_le_bytes());
            }
        }
        bytes
    }

    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        copy_out(&self.bytes(), offset, data);
    }

    /// Takes a write of a whole register, or of half of one that has 8 bytes; `vectors` is how many
    /// there are.
    pub(super) fn write(&mut self, offset: u64, data: &[u8], vectors: u16) -> Effect {
        let mut word = [0; 8];
        let Some(place) = word.get_mut(..data.len()) else { return Effect::None };
        place.copy_from_slice(data);
        let value = u64::from_le_bytes(word);
        let (low, short) = ((value & 0xffff_ffff) as u32, (value & 0xffff) as u16);
        let vector = if short < vectors { short } else { NO_VECTOR };
        match (offset, data.len()) {
            (0x00, 4) => self.device_select = low,
            (0x08, 4) => self.driver_select = low,
            (0x0c, 4) if !self.has(FEATURES_OK) && self.driver_select < 2 => {
                let shift = self.driver_select * 32;
                self.accepted &= !(0xffff_ffff << shift);
                self.accepted |= u64::from(low) << shift;
            }
            (0x10, 2) => self.config_vector = vector,
            (0x14, 1) => return self.set_status((value & 0xff) as u8),
            (0x16, 2) => self.select = short,
            (0x1a, 2) => {
                if let Some(queue) = self.selected() {
                    queue.vector = vector;
                }
            }
            (0x18 | 0x1c, 2) | (0x20..0x38, 4 | 8) => self.set_queue(offset, data.len(), value),
            _ => {}
        }
        Effect::None
    }

    /// A queue is set up before it is enabled, and enabled before the driver is ready or after.
    fn set_queue(&mut self, offset: u64, length: usize, value: u64) {
        let Some(queue) = self.selected().filter(|queue| !queue.is_enabled) else { return };
        match (offset, length) {
            (0x18, _) => {
                let size = u16::try_from(value).unwrap_or(0);
                if size.is_power_of_two() && size <= QUEUE_ENTRIES_MAX {
                    queue.size = size;
                }
            }
            (0x1c, _) => queue.is_enabled = value == 1,
            _ => {
                let at = usize::try_from(offset - 0x20).unwrap_or(0);
                let Some(address) = queue.addresses.get_mut(at / 8) else { return };
                match (at % 8, length) {
                    (0, 8) => *address = value,
                    (0, 4) => *address = *address & !0xffff_ffff | value,
                    (4, 4) => *address = *address & 0xffff_ffff | value << 32,
                    _ => {}
                }
            }
        }
    }

    /// A driver adds bits, or clears all of them.
    fn set_status(&mut self, status: u8) -> Effect {
        if status == 0 {
            return Effect::Reset;
        }
        let added = status & !self.status & !NEEDS_RESET;
        let unknown = self.accepted & !self.offered;
        if added & FEATURES_OK != 0 && (unknown != 0 || self.accepted & VERSION_1 == 0) {
            self.status |= added & !(FEATURES_OK | DRIVER_OK);
            let detail = format!("{:#x} accepted of {:#x}", self.accepted, self.offered);
            return Effect::Refused(Refusal::new(&FEATURE_NOT_OFFERED, detail));
        }
        self.status |= added;
        if added & DRIVER_OK == 0 {
            return Effect::None;
        }
        if !self.has(FEATURES_OK) {
            self.status &= !DRIVER_OK;
            let detail = "a driver that is ready before features are agreed on";
            return Effect::Refused(Refusal::new(&FEATURE_NOT_OFFERED, detail));
        }
        Effect::Start
    }
}

fn half(bits: u64, select: u32) -> u32 {
    match select {
        0 => (bits & 0xffff_ffff) as u32,
        1 => (bits >> 32) as u32,
        _ => 0,
    }
}
