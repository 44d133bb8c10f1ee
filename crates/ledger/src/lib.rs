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
//! What is checked and used within a call takes a permit. What outlives a call, because a device goes
//! on reaching it, is a *mapping*: [`Ledger::map`] counts every frame of it before anything is done,
//! and the count goes only when the mapping is out of the tables *and* devices have forgotten it. An
//! owner gets memory back by [`Ledger::retire`] alone, which is refused, or waits, while anything counts
//! it: memory cannot be ballooned away from under a device.
//!
//! The crate does no I/O: it gives orders ([`MapOrder`], [`RemoveOrder`], [`FlushOrder`],
//! [`FenceOrder`], [`ClearOrder`]), each to be carried out and reported once. What is to be
//! written down of each mapping, and how it is read after a crash, is in [`journal`].

mod batch;
mod bits;
mod book;
mod claim;
mod count;
mod entry;
mod fence;
mod frames;
mod holder;
mod id;
pub mod journal;
mod ledger;
mod let_go;
mod map;
mod mapping;
mod owner;
pub mod refusals;
mod retire;
mod room;
mod row;
mod rows;
mod shard;
mod space;
mod table;
mod unmap;

pub use claim::{Claim, Permit};
pub use count::{Appears, Counts};
pub use frames::FRAME_BYTES;
pub use id::{Handle, Holder, Owner};
pub use ledger::Ledger;
pub use map::{Failed, NotMapped, Translation};
pub use mapping::{
    ClearOrder, Cleared, Entry, FenceOrder, FlushOrder, Flushed, MapOrder, Phase, Place,
    RemoveOrder, Removed, Wish,
};
pub use owner::Milliseconds;
pub use retire::{Released, Retired, Retirement};
pub use ringfence_addr::Rights;
pub use unmap::{Answer, Which};
