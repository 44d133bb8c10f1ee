//! Configuration space of a virtio function: who it is, and where its registers are.
//!
//! PCI Local Bus 3.0, chapter 6; MSI-X in section 6.8.2; virtio 1.2, section 4.1.4, for the vendor's
//! capabilities. Base address registers are the VMM's to show: it knows how large regions are.

use crate::pci::VirtioDevice;

/// Bytes of configuration space.
pub(super) const BYTES: usize = 256;

/// The BAR of the registers, and what is where in it.
pub(super) const COMMON_AT: u64 = 0x0000;
pub(super) const ISR_AT: u64 = 0x1000;
pub(super) const DEVICE_AT: u64 = 0x2000;
pub(super) const NOTIFY_AT: u64 = 0x3000;
/// Bytes of each of these, at most.
pub(super) const PART_BYTES: u64 = 0x1000;
/// Bytes of that BAR.
pub(super) const REGISTERS_BYTES: u64 = 0x4000;
/// Between two doorbells.
pub(super) const DOORBELL_BYTES: u64 = 4;
/// Bytes of the BAR with the MSI-X table, which the VMM shows: nobody looks at ours.
pub(super) const VECTORS_BYTES: u64 = 0x1000;
/// Where in it the pending bits are.
const PENDING_AT: u32 = 0x800;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const SUBSYSTEM: usize = 0x2c;
const CAPABILITIES: usize = 0x34;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;
const FIRST_CAPABILITY: usize = 0x40;

const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_NO_LINE: u16 = 1 << 10;
const STATUS_LINE_IS_UP: u16 = 1 << 3;
const STATUS_CAPABILITIES: u16 = 1 << 4;

const CAPABILITY_MSIX: u8 = 0x11;
const CAPABILITY_VENDOR: u8 = 0x09;

/// Kinds of virtio's capabilities.
const KIND_COMMON: u8 = 1;
const KIND_NOTIFY: u8 = 2;
const KIND_ISR: u8 = 3;
const KIND_DEVICE: u8 = 4;

const VENDOR: u16 = 0x1af4;
/// Device ids of devices without a legacy interface begin here.
const MODERN: u16 = 0x1040;

/// The bytes, of which a guest changes a few.
#[derive(Debug)]
pub(super) struct ConfigSpace([u8; BYTES]);

impl ConfigSpace {
    /// That of a device; it has so many message-signalled interrupts.
    pub(super) fn new(device: &dyn VirtioDevice, vectors: u16) -> Self {
        let mut this = Self([0; BYTES]);
        this.put16(0x00, VENDOR);
        this.put16(0x02, MODERN.saturating_add(device.kind()));
        this.put16(STATUS, STATUS_CAPABILITIES);
        // Revision 1: no legacy interface (section 4.1.2.1).
        this.0[0x08] = 1;
        let [base, sub, interface] = device.class();
        this.0[0x09..0x0c].copy_from_slice(&[interface, sub, base]);
        this.put16(SUBSYSTEM, VENDOR);
        this.put16(SUBSYSTEM + 2, 0x40 + device.kind());
        this.0[INTERRUPT_PIN] = 1;
        let config_bytes = u32::try_from(device.config().len()).unwrap_or(0);
        let doorbells = u32::from(device.queues()) * low(DOORBELL_BYTES);
        let mut at = FIRST_CAPABILITY;
        this.0[CAPABILITIES] = 0x40;
        at = this.vendor(at, KIND_COMMON, COMMON_AT, 0x38, None);
        at = this.vendor(at, KIND_NOTIFY, NOTIFY_AT, doorbells, Some(low(DOORBELL_BYTES)));
        at = this.vendor(at, KIND_ISR, ISR_AT, 1, None);
        at = this.vendor(at, KIND_DEVICE, DEVICE_AT, config_bytes, None);
        this.0[at] = CAPABILITY_MSIX;
        this.put16(at + 2, vectors.saturating_sub(1));
        // Both in BAR 1.
        this.put32(at + 4, 1);
        this.put32(at + 8, PENDING_AT | 1);
        this
    }

    /// Enters a capability of virtio's and says where the next one goes, which there is.
    fn vendor(&mut self, at: usize, kind: u8, offset: u64, bytes: u32, more: Option<u32>) -> usize {
        let length: u8 = if more.is_some() { 20 } else { 16 };
        let next = at + usize::from(length);
        self.0[at] = CAPABILITY_VENDOR;
        self.0[at + 1] = u8::try_from(next).expect("all of them are in the first 256 bytes");
        self.0[at + 2] = length;
        self.0[at + 3] = kind;
        self.put32(at + 8, low(offset));
        self.put32(at + 12, bytes);
        if let Some(more) = more {
            self.put32(at + 16, more);
        }
        next
    }

    /// Whether the function may reach memory and raise interrupts by messages.
    pub(super) fn is_master(&self) -> bool {
        self.command() & COMMAND_MASTER != 0
    }

    /// Whether its interrupt line is turned off.
    pub(super) fn is_line_off(&self) -> bool {
        self.command() & COMMAND_NO_LINE != 0
    }

    /// Shows whether it wants its line to be up.
    pub(super) fn show_line(&mut self, is_up: bool) {
        self.put16(STATUS, STATUS_CAPABILITIES | if is_up { STATUS_LINE_IS_UP } else { 0 });
    }

    /// What a reset does to it.
    pub(super) fn reset(&mut self) {
        self.put16(COMMAND, 0);
        self.show_line(false);
    }

    pub(super) fn read(&self, offset: u64, data: &mut [u8]) {
        copy_out(&self.0, offset, data);
    }

    /// Takes what can be changed of a write.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        for (at, byte) in (offset..).zip(data) {
            let Ok(at) = usize::try_from(at) else { return };
            let changes = match at {
                COMMAND | 0x05 => {
                    (COMMAND_MEMORY | COMMAND_MASTER | COMMAND_NO_LINE).to_le_bytes()[at - COMMAND]
                }
                INTERRUPT_LINE => 0xff,
                _ => 0,
            };
            if let Some(old) = self.0.get_mut(at) {
                *old = *old & !changes | byte & changes;
            }
        }
    }

    fn command(&self) -> u16 {
        u16::from_le_bytes([self.0[COMMAND], self.0[COMMAND + 1]])
    }

    fn put16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn put32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

fn low(bytes: u64) -> u32 {
    u32::try_from(bytes).expect("regions of ours are small")
}

/// Copies bytes that are there, and zeroes for those that are not.
pub(super) fn copy_out(from: &[u8], offset: u64, data: &mut [u8]) {
    for (at, byte) in (offset..).zip(data) {
        *byte = usize::try_from(at).ok().and_then(|at| from.get(at)).copied().unwrap_or(0);
    }
}
