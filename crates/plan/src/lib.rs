//! Where guest memory may lie, and which part of a space is whose: pure functions with a reason for
//! everything they decide.
//!
//! ```text
//!  HostMemory ─┐                        ┌─► map: a use and a reason for every span
//!  Request    ─┼─► areas ─► layouts ─► settle ─► what the VMM must be told, what remains at risk
//!  Machine    ─┘  joined    all it can         └─► or refusals with the numbers and the remedy
//!                 per page  express
//! ```
//!
//! - [`plan`] answers for one VM, its devices now and later, and one host or a fleet of them.
//! - [`Machine`] says what a VMM can express; [`Machine::Library`] is one that places anything
//!   anywhere, so a plan for it is the ideal with which others are compared.
//! - [`check::check`] finds out without the planner whether a plan holds.
//! - [`part`] gives out parts of any space, exact spans and what each party must balloon out: the
//!   same mechanism places guest memory, parts graphics memory ([`graphics`]) and places windows.
//!
//! **Invariant** `deterministic`: the same facts and request give the same plan, and what does not
//! concern the VM's devices moves nothing.
#![forbid(unsafe_code)]

mod area;
mod case;
pub mod check;
pub mod emit;
pub mod graphics;
mod layout;
mod machine;
mod map;
mod part;
mod planner;
pub mod refusals;
mod request;
mod settle;
mod unplanned;
mod viommu;
mod window;

pub use case::Case;
pub use machine::{Machine, Vcpu};
pub use map::{Entry, GuestFunction, PlacedWindow, Plan, Risk, Settings, Settlement, Use};
pub use part::{Part, Want, part};
pub use planner::plan;
pub use request::{Assigned, Hotplug, ParsePolicyError, Policy, Request, WindowWish};
pub use unplanned::unplanned;
pub use viommu::{GuestIommu, GuestRegion, Viommu};
