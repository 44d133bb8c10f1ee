//! Real machines for tests: QEMU, Debian kernels, User-Mode Linux, consoles as data.
//!
//! `cargo xtask lab` fills a folder with Debian packages unpacked as an ordinary user
//! ([`fetch::fill`]); tests find it with [`root()`].

pub mod fetch;
mod root;

pub use root::{Kernel, LabRoot, place, root, workspace};
