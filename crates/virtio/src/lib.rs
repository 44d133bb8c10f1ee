//! Stands between a VMM and an untrusted vhost-user backend.
//!
//! To the VMM a [`Fence`] is a vhost-user backend; to the real backend it is a VMM whose guest has
//! one small piece of memory, the *window*. Requests are copied through it: each descriptor chain
//! of the guest is read once, every address in it checked against the guest's memory, its
//! device-readable bytes copied into the window, and on completion at most what the guest offered
//! as writable is copied back. Payloads are never read, so any device type will do whose requests
//! are described by their descriptors alone.
//!
//! ```text
//!  VMM, guest ──S1── control ── device ── backend ──S2── backend
//!      │                          │                        │
//!  guest RAM ── guest_queue ── bounce ── backend_queue ── window
//! ```
//!
//! **Invariant:** the backend is given no descriptor but the window, eventfds of ours and one
//! socket of ours; nothing it does to them makes us wait for long. **Invariant:** no address of the
//! guest's or of the VMM's reaches it.
//! **Invariant:** a word another process can change is read once, and the copy is what is checked
//! and used.
//!
//! Beside the broker there are devices of our own, over vfio-user: a [`balloon`] and a [`memory_device`] that
//! give a guest's pages back through the account, behind the PCI transport in [`pci`].
//!
//! What it does not do: packed rings, a virtual IOMMU, migration (dirty logging); the features for
//! them are masked, with reasons, in [`features`].

mod backend;
mod backend_queue;
mod backing;
pub mod balloon;
mod bounce;
mod chain;
mod clock;
pub mod connection;
mod control;
mod counters;
mod device;
pub mod features;
mod fence;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod give_back;
mod guards;
mod guest_memory;
mod guest_queue;
mod kick;
pub mod memory_device;
mod offences;
mod options;
mod pages;
pub mod pci;
mod queue;
mod quota;
mod recovery;
mod refusal_log;
pub mod refusals;
mod session;
mod shared;
mod spares;
mod spin;
mod threads;
mod window;
pub mod wire;

pub use clock::Clock;
pub use counters::{Counters, Snapshot, State};
pub use fence::{Fence, Stopper};
pub use give_back::{AccountGate, Block, GiveBack, Holders, LedgerGate, Reachers, Verdict};
pub use guards::{Guard, Guards};
pub use offences::{Offence, Peer};
pub use options::FenceOptions;
pub use quota::Quota;
pub use refusal_log::RefusalLog;
pub use window::{WINDOW_BYTES_DEFAULT, WINDOW_BYTES_MAX, WINDOW_BYTES_MIN, check_size};
