//! The ways in which what firmware took and what a VM wants can meet.
//!
//! Letters as in the project's notes; each names a situation, not a verdict: what follows depends on
//! the policy and on what the VMM can express.

use std::fmt;

/// How a region meets a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Case {
    /// Wholly inside low memory.
    A,
    /// Across the end of low memory.
    B,
    /// Above low memory and beside everything else.
    C,
    /// Below 1 MiB.
    D,
    /// On a range that the machine has fixed: interrupts, configuration space, flash.
    E,
    /// Inside memory above 4 GiB.
    F,
    /// Above what the guest can address.
    G,
    /// Memory would end above what the IOMMU translates.
    H,
    /// Regions on one another.
    I,
    /// One region, several devices.
    J,
    /// Where memory is to be plugged later.
    K,
    /// A device to be plugged later.
    L,
    /// Not on the boundaries of large pages.
    M,
    /// HyperTransport's hole, and a vCPU that does not make the VMM keep it.
    N,
    /// Several hosts.
    O,
    /// Occupied while booting, before anybody reads the map.
    P,
    /// Where 64-bit base addresses are put.
    Q,
    /// What a kernel booted from this one is told.
    R,
    /// Two graphics devices.
    S,
}

impl Case {
    /// All of them, in order.
    pub const ALL: [Self; 19] = [
        Self::A,
        Self::B,
        Self::C,
        Self::D,
        Self::E,
        Self::F,
        Self::G,
        Self::H,
        Self::I,
        Self::J,
        Self::K,
        Self::L,
        Self::M,
        Self::N,
        Self::O,
        Self::P,
        Self::Q,
        Self::R,
        Self::S,
    ];

    /// The situation in a few words.
    pub fn words(self) -> &'static str {
        match self {
            Self::A => "inside low memory",
            Self::B => "across the end of low memory",
            Self::C => "beside memory",
            Self::D => "below 1 MiB",
            Self::E => "on a range the machine has fixed",
            Self::F => "inside memory above 4 GiB",
            Self::G => "above what the guest can address",
            Self::H => "above what the IOMMU translates",
            Self::I => "regions on one another",
            Self::J => "one region of several devices",
            Self::K => "where memory is to be plugged",
            Self::L => "of a device to be plugged later",
            Self::M => "not on the boundaries of large pages",
            Self::N => "HyperTransport's hole under another maker's vCPU",
            Self::O => "of another host of the fleet",
            Self::P => "occupied while booting",
            Self::Q => "where 64-bit base addresses are put",
            Self::R => "not told to a kernel booted from this one",
            Self::S => "two graphics devices",
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}
