//! The vfio-user protocol, server side, unmoved by any bytes.
//!
//! A PCI function is served to a VMM over a Unix socket: the VMM (the *client*) reads and writes its
//! regions, maps its interrupts to eventfds, and says which memory of the guest it may reach.
//! Whoever has a function to offer implements [`Device`]; a [`Server`] speaks for it.
//!
//! - Nothing a client says is believed. A message becomes a request in which every length, offset and
//!   count was checked, or a refusal; a device is never asked for anything outside the regions and
//!   interrupts that it described itself.
//! - Nothing a client says makes the server allocate more than one message (1 MiB) or keep more than
//!   16 descriptors of a message; while it waits for a client a [`Stopper`] ends it.
//! - Memory is a book of spans ([`Device::dma_map`], [`Device::dma_unmap`]): none overlaps another,
//!   none is taken away in part, and what is left is taken away when the client goes.
//!
//! The protocol is QEMU's `docs/interop/vfio-user.rst`; QEMU from 10.1 on is a client
//! (`-device vfio-user-pci`). Not spoken: migration, device features, I/O descriptors of regions,
//! and a second socket for requests of the server's.
//!
//! ```no_run
//! use ringfence_refusal::Failure;
//! use ringfence_vfio_user::{Device, DmaMapping, InterruptIndex, Region, RegionIndex, Server, SetInterrupts};
//!
//! /// A function without anything but four bytes that say who it is.
//! struct Nobody;
//!
//! impl Device for Nobody {
//!     fn region(&self, index: RegionIndex) -> Region<'_> {
//!         match index {
//!             RegionIndex::Config => Region::trapped(256),
//!             _ => Region::ABSENT,
//!         }
//!     }
//!     fn read(&mut self, _: RegionIndex, offset: u64, data: &mut [u8]) -> Result<(), Failure> {
//!         let config = [0x36, 0x1b, 0x34, 0x12];
//!         for (at, byte) in (offset..).zip(data) {
//!             *byte = usize::try_from(at).ok().and_then(|at| config.get(at)).copied().unwrap_or(0);
//!         }
//!         Ok(())
//!     }
//!     fn write(&mut self, _: RegionIndex, _: u64, _: &[u8]) -> Result<(), Failure> {
//!         Ok(())
//!     }
//! }
//!
//! let server = Server::bind("/run/nobody.sock".as_ref()).expect("a socket");
//! server.serve(&mut Nobody).expect("it is stopped by somebody");
//! ```
#![forbid(unsafe_code)]

mod answer;
mod capabilities;
mod client;
mod connection;
mod device;
mod eventfd;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod interrupts;
mod mappings;
pub mod refusals;
mod request;
mod server;
mod session;
mod wire;

pub use client::Client;
pub use device::{
    Device, DmaMapping, DmaMemory, InterruptChange, InterruptIndex, Mappable, Region, RegionIndex,
    RegionPart, SetInterrupts,
};
pub use interrupts::Interrupts;
pub use server::{Server, Stopper};
