//! The host as a value: its PCI functions, what their registers say, and the isolation groups that
//! follow, each with the reasons.
//!
//! ```text
//!  live /sys ─┐
//!  snapshot  ─┼─► read ─► Host ─► topology ─► models ─► Partition: groups with reasons
//!  lspci     ─┘           a value  aliases,    linux-6.12, strict, …
//!                                  reach
//! ```
//!
//! - [`Host`] and [`Function`] are plain values. What could not be read is [`Fact::Unknown`] and
//!   says why; nothing is guessed.
//! - `read` makes a [`Host`] of any bytes there are, or says what is wrong with them.
//! - A [`Model`] is a function from a [`Host`] to a [`Partition`]. It reads nothing. Underneath are
//!   alias classes ([`alias_classes`]) and a directed graph of who reaches whom ([`reaches`]).
//! - [`why`] gives the chain of reasons and the change that parts, tried on the value ([`WhatIf`]);
//!   [`compare_with_kernel`] names where the kernel's groups and the registers part ways;
//!   [`fn@diff`] tells what changed between two states; [`state`] hears several providers.
//!
//! This crate only reads; `device` is the one that changes a host.
#![forbid(unsafe_code)]

mod acs;
mod alias;
mod bar;
mod diff;
mod explain;
mod fact;
mod firmware;
mod function;
pub mod graphics;
mod host;
mod isolation;
mod memory;
mod model;
mod partition;
mod port;
mod provider;
mod quirks;
mod reach;
pub mod read;
mod reason;
pub mod refusals;
mod sets;
mod stale;
mod topology;
mod whatif;

pub use acs::{Acs, AcsBits};
pub use alias::alias_classes;
pub use bar::Bar;
pub use diff::{Changed, diff};
pub use explain::{Why, why, why_both};
pub use fact::{Fact, Unknown};
pub use firmware::pci_functions;
pub use function::{Class, Function, Header, Identity, VirtualFunctions};
pub use host::{Host, Iommu, Kernel};
pub use memory::{HostMemory, IommuMaker, Owners, Region, RegionKind, Role, Stolen};
pub use model::{Model, ParseModelError, ParsePolicyError, Policy};
pub use partition::{Group, GroupKey, Partition};
pub use port::{Pcie, PortType};
pub use provider::{OneIommu, Platform, Provider, Stated, providers, state};
pub use reach::{reached, reaches};
pub use reason::{Change, Reason, Register, Rule, Standing};
pub use stale::{Difference, Gap, Verdict, compare_with_kernel, model_of_kernel};
pub use topology::Topology;
pub use whatif::{AcsSetting, WhatIf, WhatIfError};
