//! Clearing the memory that firmware took for an integrated graphics device, before a VM gets the
//! device and when it gives it back.
//!
//! ```text
//!  registers ─► Graphics ─► Scrub (steps) ─► carry out ─► Scrubbed, or a refusal
//!               what is kept, and why        marks, zeros, read back, entries restored
//! ```
//!
//! The processor cannot reach that memory (writes to its addresses go nowhere), so it is written as
//! the device's driver writes it: entries of the graphics page table are pointed at it, and it
//! appears in the aperture, BAR 2. From Meteor Lake on it is in BAR 2 as it is.
//!
//! **Invariant:** success is never said of memory that was not seen to change. Each page is given a
//! mark of its own, and all marks are looked for through *other* entries than they were written
//! through before anything is cleared: a table that cannot be written, entries that are remembered
//! past a flush and an IOMMU that turns the device's own requests away all show there. What reads as
//! zero was read through entries that had just shown a mark.
//!
//! What was not tried is silicon: whether requests for this memory pass the IOMMU differs between
//! generations and is not published. Where they do, marks are not found, and the scrub refuses.

mod carry;
mod keep;
mod plan;
mod registers;
#[cfg(test)]
mod tests;

pub use carry::{Copied, Scrubbed};
pub use keep::Kept;
pub use plan::{Piece, Scrub, Step};
pub use registers::{Graphics, View};
