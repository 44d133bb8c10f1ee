//! ACPI tables of IOMMUs: bytes ⇄ values, both ways, lossless, and what consumers make of them.
//!
//! ```text
//!  bytes ──► Table::read ──► Table ──► reserved_regions ──► what firmware reserved, and for whom
//!    ▲            │            │ │
//!    │            ▼            │ └──► as_linux, as_xen ──► what Linux and Xen make of it
//!    └── write ── │ ◄──────────┘
//!             Finding: what is odd, where, and what becomes of it
//! ```
//!
//! - [`Table`] holds a header and the structures of DMAR, IVRS, IORT or VIOT. Whatever is not known is
//!   kept byte for byte, wrong lengths and checksums too: [`Table::write`] gives back what was read.
//! - A table is outside input. Any bytes as long as a header are read; what is wrong with them is a
//!   [`Finding`] with a stable code, never a panic, and no length in them makes anything grow beyond
//!   what was given.
//! - [`reserved_regions`] gives what tables reserve in one shape; [`as_linux`] predicts the lines of
//!   `reserved_regions` in sysfs, to the byte; [`as_xen`] says over what Xen gives the table up.
//! - For guests: [`Table::new`] with structures made by hand, [`reserve`] for an SSDT that holds
//!   memory, [`write_zero_page`] and [`E820Extension`] for memory maps, [`upgrade`] for an archive of
//!   tables that Linux takes in place of its firmware's.
//!
//! Addresses in structures are numbers, as the tables have them; they get the type of their space
//! where a region is made of them.
#![forbid(unsafe_code)]

pub mod codes;
mod common;
pub mod dmar;
mod e820;
mod finding;
mod header;
mod host_checks;
pub mod iort;
pub mod ivrs;
pub mod linux;
#[cfg(test)]
mod made;
mod outline;
mod place;
pub mod refusals;
mod region;
mod ssdt;
mod sweep;
mod table;
mod targets;
mod upgrade;
mod viot;
mod wire;
mod xen;

pub use dmar::{Buses, Dmar, Drhd, Rmrr, Scope, ScopeKind, ScopePath, Scopes, Structure};
pub use e820::{
    E820Entry, E820Extension, E820Kind, ZERO_PAGE_BYTES, ZERO_PAGE_ENTRIES, read_zero_page,
    write_zero_page,
};
pub use finding::{Finding, FindingCode, Severity};
pub use header::{HEADER_BYTES, Header, Signature};
pub use host_checks::findings_on_host;
pub use iort::Iort;
pub use ivrs::{Block, DeviceEntry, Ivhd, Ivmd, IvmdFlags, Ivrs};
pub use linux::{AsLinux, LinuxKind, LinuxRegion, PciFunction, PciFunctions, as_linux};
pub use outline::Line;
pub use region::{Devices, RegionKind, ReservedRegion, reserved_regions};
pub use ssdt::{Reservation, read_reservations, reserve};
pub use table::{Content, TABLE_BYTES_MAX, Table};
pub use targets::{TARGETS, Target, run_target};
pub use upgrade::upgrade;
pub use viot::{MmioEndpoint, PciRange, Viot, ViotKind, ViotNode, VirtioMmio, VirtioPci};
pub use xen::{AsXen, as_xen};
