//! Holding host PCI functions: whole groups are taken, all or nothing, and given back as they were.
//!
//! ```text
//!  functions of a group ─► examine ─► ClaimPlan ─► Manager ─► journal, then the host
//!  (whichever model)       refusals   steps, undo             through one Writer
//! ```
//!
//! This is the only crate that changes a host, and [`Writer`] the only door through which it does.
//! What a claim is made of is a value ([`ClaimPlan`]); what has become of it is in its journal, from
//! which [`Manager::recover`] brings an interrupted one back to before.

mod accepted;
mod address_text;
mod carry;
mod examine;
mod in_use;
mod journal;
mod manager;
mod member;
mod place;
mod plan;
pub mod refusals;
mod root;
mod store;
mod write;

pub use accepted::{NO_DRIVER, VFIO_PCI, is_accepted, serves_vfio};
pub use examine::{Examination, examine, whole_groups};
pub use journal::{Phase, Record, Story};
pub use manager::{Claim, Manager, Observer, Recovered};
pub use member::{Identity, Member, survey};
pub use place::Place;
pub use plan::{ClaimPlan, Step};
pub use root::Root;
pub use store::{RUN_FOLDER, Store};
pub use write::{HostWriter, PATIENCE, WriteError, Writer, become_writer_if_asked};
