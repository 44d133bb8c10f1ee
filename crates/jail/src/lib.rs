//! Put a process in a box, or verify the box it is in.
//!
//! A [`Profile`] says what a process needs: which paths, whether the network, which system calls,
//! how much of what is counted. Everything else is taken from it, in several ways at once, because
//! each has holes the next one covers: namespaces hide what is there, Landlock refuses files that
//! can still be named, seccomp refuses system calls that nobody in the box needs, and without
//! capabilities and with `no_new_privs` none of it can be undone.
//!
//! [`enter`] boxes the process that calls it. [`launch`] starts a program in a box of its own, with
//! process ids of its own. Both give a [`Report`] of what is held and what this host could not give,
//! and refuse to go on without what the profile requires. [`verify`] says what box a process is in
//! already, whoever made it.
//!
//! **Does not**: hide how long things take, bound processor time, or hold a process that the kernel
//! itself lets go. It has no `unsafe`: what must happen between fork and exec happens in a copy of
//! this program started for that ([`become_if_asked`]).

mod calls;
mod capabilities;
mod channel;
mod descriptors;
mod enter;
mod files;
mod filter;
mod init;
pub mod launch;
mod limits;
mod namespaces;
mod profile;
pub mod refusals;
mod report;
mod root;
mod verify;

pub use descriptors::{close_inherited, take_inherited};
pub use enter::enter;
pub use launch::become_if_asked;
pub use profile::{Access, Calls, Grant, Limits, Profile};
pub use report::{Entry, Protection, Report, Standing};
pub use verify::{verify, verify_for_fence};
