//! Readers: any bytes there are become a [`Host`](crate::Host), or a refusal says what is wrong with
//! them.
//!
//! What a source does not say stays unknown and says why. Nothing here trusts its input: every walk
//! and every count is bounded by the format or by the length of what was given.

mod base_addresses;
mod capture;
mod chain;
mod config_space;
mod hex;
mod kept_registers;
mod lspci;
mod paths;
mod registers;
mod snapshot;
mod source;
mod targets;
mod tree;
mod virtual_functions;

pub use capture::capture;
pub use config_space::describe;
pub use lspci::lspci;
pub use registers::{ConfigBytes, Gap, Registers};
pub use snapshot::Snapshot;
use source::no_list;
pub use source::{Options, directory, from_bytes, from_path, from_path_with, live};
pub use targets::{TARGETS, Target, run_target};
