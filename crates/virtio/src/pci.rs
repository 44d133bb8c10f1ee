//! A virtio device of ours, as a PCI function that a VMM takes over vfio-user.
//!
//! The transport is virtio 1.2, section 4.1, without its legacy part: a [`VirtioDevice`] says what it
//! is and answers requests; a [`Function`] has its registers, queues and interrupts, and is served by
//! `ringfence-vfio-user`. QEMU takes it unmodified (`-device vfio-user-pci`).
//!
//! ```text
//!  config    configuration space and the capabilities in it
//!  common    the registers by which a driver and a device come to terms
//!  function  the PCI function: regions, memory, interrupts    state   what is behind its lock
//!  request   what a device sees of a descriptor chain
//! ```
//!
//! The guest is not believed: a register takes what may be written to it and ignores the rest, an
//! address in a ring is a claim that the account of the memory the VMM lent is asked about
//! (`ringfence_ledger::Ledger::check`), and a request that breaks the rules stops its queue and asks the
//! driver for a reset (`DEVICE_NEEDS_RESET`).
//!
//! Memory is reached where the VMM lends it by descriptor, and only in files that cannot be shrunk
//! (QEMU: `memory-backend-memfd,share=on`); what comes otherwise is counted and not reached. Addresses in
//! rings are guest-physical: an IOMMU of the guest's must not stand before the function (QEMU:
//! `bypass_iommu=on`).
//!
//! Everything is done within the guest's write to a doorbell, on the thread that serves: one ring's worth
//! of requests at most, and of each no more than its device takes.

mod common;
mod config;
mod function;
mod request;
mod state;

pub use function::Function;
pub use request::{Answer, Request};
pub use state::Refusals;

use std::os::fd::BorrowedFd;

use ringfence_addr::{Gpa, Span};
use ringfence_refusal::Refusal;

/// The most entries a queue of ours has.
pub const QUEUE_ENTRIES_MAX: u16 = 128;

/// What is behind the registers of a virtio device.
///
/// Calls come one at a time. None may wait for the guest or the VMM, both of which stand still
/// meanwhile.
pub trait VirtioDevice: Send {
    /// Which device it is (virtio 1.2, section 5).
    fn kind(&self) -> u16;

    /// The class of its PCI function: base class, subclass, interface.
    fn class(&self) -> [u8; 3] {
        [0, 0xff, 0]
    }

    /// How many queues it has, at most 64.
    fn queues(&self) -> u16;

    /// The features of its own that it offers (bits 0 to 23); those of the transport are not its affair.
    fn features(&self) -> u64;

    /// Its configuration as the guest sees it, the same length each time, at most a page.
    fn config(&self) -> Vec<u8>;

    /// The guest writes bytes of it, within its length.
    fn write_config(&mut self, _offset: usize, _data: &[u8]) {}

    /// The driver is ready, and has accepted these features.
    fn start(&mut self, _features: u64) {}

    /// The driver starts anew, or is gone: all it said is forgotten.
    fn reset(&mut self);

    /// Answers a request.
    ///
    /// # Errors
    ///
    /// The queue is stopped, and the driver asked to reset the device.
    fn request(&mut self, queue: u16, request: &Request<'_>) -> Result<Answer, Refusal>;

    /// The VMM lends memory: `memory` begins `file_offset` bytes into `file`, which cannot be shrunk.
    fn memory_came(&mut self, _memory: Span<Gpa>, _file: BorrowedFd<'_>, _file_offset: u64) {}

    /// The VMM takes memory away that it lent.
    fn memory_goes(&mut self, _memory: Span<Gpa>) {}
}
