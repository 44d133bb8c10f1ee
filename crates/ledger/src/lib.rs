//! Who may touch which memory.
//!
//! An *owner* is a virtual machine and the memory that is its own. A *holder* is a device or a
//! backend that reaches such memory. The owner *grants* a holder spans with [`Rights`]; whatever a
//! peer then says it wants to touch is a [`Claim`], and [`Ledger::check`] is the only way from a
//! claim to a [`Permit`]. Code that reads or writes an owner's memory takes a permit, never a
//! number.
//!
//! **Invariant:** a permit borrows the ledger, so it cannot outlive a change of what was granted:
//! taking memory back needs the ledger mutably, and the compiler then shows every permit gone.
//!
//! **Invariant:** ids carry a generation. The id of something removed is refused for ever and never
//! names the stranger who got its place.
//!
//! The crate does no I/O. What it does not do yet: count mappings that outlive a call, keep a
//! journal, or retire pages; those come with real IOMMUs.

mod claim;
mod id;
mod ledger;
pub mod refusals;

pub use claim::{Claim, Permit};
pub use id::{Holder, Owner};
pub use ledger::Ledger;
pub use ringfence_addr::Rights;
