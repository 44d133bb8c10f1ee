//! Memory mapped for devices: by the kernel's interfaces for it, and in page tables of our own
//! ([`pages`]).
//!
//! Of the kernel's there are VFIO's type 1 ([`Type1`]), whose domain belongs to the groups that were put
//! into one container, and [`Iommufd`], any number of whose domains share what they pin. What is mapped
//! stays pinned and in place for as long as it is mapped; both ends of every call are checked, because
//! the kernel lets some mistakes pass: it unmaps less than it was asked to and says success, it maps over
//! regions that firmware reserved (`direct-relaxable`) without a word, and outside of what was allowed.
#![deny(unsafe_code)]

mod account;
pub mod adapters;
mod domain;
mod info;
mod iommufd;
mod iommufd_sys;
mod journal;
mod memory;
#[cfg(any(test, feature = "testing"))]
pub mod mock;
pub mod pages;
#[cfg(feature = "testing")]
pub mod raw;
pub mod refusals;
mod runs;
pub mod service;
mod tables;
mod type1;
mod vfio_sys;

pub use account::{Account, Event, Mode, Reached, Recovered, Removal};
pub use domain::{Domain, Mapped, Piece, Switch};
pub use iommufd::{Charge, Iommufd, IommufdDevice, IommufdDomain, Way};
pub use journal::Journal;
pub use memory::{Backing, Memory};
pub use tables::{Invalidate, Tables};
pub use type1::Type1;
