//! Real machines for tests: QEMU, Debian kernels, User-Mode Linux, consoles as data.
//!
//! `cargo xtask lab` fills a folder with Debian packages unpacked as an ordinary user
//! ([`fetch::fill`]); tests find it with [`root()`]. A test says what [`Machine`] (QEMU) or [`Uml`]
//! it wants, which [`Backend`] serves its devices, runs it, and reads the [`Console`] as data. What
//! it started is gone when the test is, whatever ends it. Hardware that no machine here has is a
//! model that QEMU shows to a real kernel ([`graphics`]).
//!
//! **Does not**: know Ringfence's own processes. A fence in a test is started by the test.

mod backend;
mod boot_disk;
mod console;
mod cpio;
mod error;
pub mod fetch;
pub mod graphics;
pub mod harness;
mod host_machine;
mod initramfs;
mod inner;
mod keeper;
mod libraries;
mod machine;
mod modules;
mod our_programs;
pub mod own_kernel;
mod qtest;
pub mod quickstart;
mod repeat;
pub mod replay;
mod root;
mod running;
mod scratch;
pub mod spy;
mod systemd;
pub mod tier;
mod uml;

pub use backend::Backend;
pub use console::Console;
pub use error::LabError;
pub use host_machine::{HostMachine, HostReport, IommuKind, Outcome, Part, Topology};
pub use initramfs::Initramfs;
pub use machine::Machine;
pub use our_programs::{binary, released_binary};
pub use qtest::{Batch, Qtest};
pub use root::{Kernel, LabRoot, place, root, workspace};
pub use running::Running;
pub use scratch::Scratch;
pub use uml::Uml;
