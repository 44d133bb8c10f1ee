//! Start and watch a VMM and the processes around it.
//!
//! [`child`] starts processes that cannot outlive the one that started them; [`guard`] is its other
//! half, run by the child itself. [`program`] finds a program before anything is started and
//! [`command_line`] writes a command the way a person would type it. [`qemu`] turns a machine into
//! QEMU's arguments, and [`qmp`] talks to it once it runs.
//!
//! **Does not**: decide what a machine should be (that is the caller's), or keep a machine running
//! across failures: whoever waits is told, and decides.

pub mod accelerator;
pub mod child;
pub mod command_line;
pub mod device;
pub mod guard;
pub mod program;
pub mod qemu;
pub mod qmp;
pub mod refusals;

pub use child::{Child, Spec};
pub use guard::become_child_if_asked;
