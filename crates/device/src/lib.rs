//! Holding host PCI functions: whole groups are taken, all or nothing, and given back as they were;
//! what is in memory of a function's own is cleared in between ([`scrub`]).
//!
//! ```text
//!  functions of a group ─► examine ─► ClaimPlan ─► Manager ─► journal, then the host
//!  (whichever model)       refusals   steps, undo             through one Writer
//! ```
//!
//! This is the only crate that changes a host, and [`Writer`] the only door through which it does.
//! What a claim is made of is a value ([`ClaimPlan`]); what has become of it is in its journal, from
//! which [`Manager::recover`] brings an interrupted one back to before.
//!
//! A claim is locked in one of two strengths. *Watched*: overrides keep other drivers away from its
//! functions, and [`breaches`] are what came in all the same. *Held*, for as long as somebody keeps a
//! [`Hold`]: the group is open, and the kernel itself turns other drivers down. A [`Keeper`] does
//! either for all claims of a host, as each is to be locked.
//!
//! A function of a held claim can be opened ([`Hold::open_function`]) and served to a VMM ([`served`]).

mod accepted;
mod access;
mod address_text;
mod bases;
mod breach;
mod carry;
mod claim;
pub mod errno;
mod event;
mod examine;
mod hold;
mod in_use;
mod journal;
mod keeper;
mod lend;
mod manager;
mod member;
mod news;
mod opened;
pub mod persist;
mod place;
mod plan;
pub mod refusals;
mod reset_set;
mod root;
pub mod scrub;
pub mod served;
mod store;
mod strength;
mod vfio_sys;
mod viability;
mod write;

pub use accepted::{NO_DRIVER, VFIO_PCI, is_accepted, serves_vfio};
pub use access::Access;
pub use bases::{Bases, expect_bases, expect_span};
pub use breach::{Breach, breaches};
pub use claim::Claim;
pub use event::{Event, What};
pub use examine::{Examination, closed_groups, examine, observed_groups, whole_groups};
pub use hold::{Held, Hold};
pub use journal::{Phase, Record, Story};
pub use keeper::{Keeper, Kept};
pub use lend::{BusMaster, Lent};
pub use manager::{Manager, Observer, Recovered};
pub use member::{Identity, Member, survey};
pub use news::News;
pub use opened::Opened;
pub use place::Place;
pub use plan::{ClaimPlan, Step};
pub use reset_set::{ResetSet, reset_set};
pub use root::Root;
pub use store::{RUN_FOLDER, Store};
pub use strength::Strength;
pub use viability::{Blocker, Viability, viability};
pub use write::{HostWriter, PATIENCE, WriteError, Writer, become_writer_if_asked};
