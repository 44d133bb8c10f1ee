//! Passthrough that is held: an open function, served to a VMM that is given no privilege.
//!
//! ```text
//!            vfio-user                        VFIO
//!  VMM ──► config space ──► Config: overlay, ──► the function's own
//!                           bus master unless fenced
//!      ──► BARs: lent by descriptor (regions) ──► the function's own
//!      ──► eventfds (interrupts) ───────────────► signalled by the kernel
//!      ──► memory, by descriptor ─► Memory ─► blocks ─► Reach: counted, then mapped
//! ```
//!
//! The VMM brings descriptors of its guest's memory, and gets the function's registers and interrupts
//! back, so that what a guest does with its device costs no more than if the VMM had opened it. What the
//! VMM does not get is the IOMMU: which memory the function reaches is decided here, whoever has a copy
//! of the function's descriptor.
//!
//! **Invariant:** the function reaches nothing but what [`Reach`] was told of and agreed to; it is told of
//! whole blocks, and each is taken away, flushed, before whoever wants it back is answered.

mod backing;
mod blocks;
mod config;
mod counted;
mod fence;
mod function;
mod guest_memory;
mod interrupts;
mod lent;
mod memory;
mod port;
mod regions;
mod status;
#[cfg(test)]
mod tests;

pub use backing::SharedMemory;
pub use blocks::Block;
pub use config::{Overlay, Shown};
pub use counted::Counted;
pub use fence::Fence;
pub use function::{Prepared, ServedFunction};
pub use guest_memory::{GuestMemory, OfFile};
pub use interrupts::{Action, Lines, Signals};
pub use memory::{Extent, Reach};
pub use port::{OpenFunction, Port};
pub use regions::{Described, Lending};
pub use status::{Figures, Status};
