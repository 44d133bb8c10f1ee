//! A tree shaped like `/`: the live one, a copy of it in a directory, or a snapshot.
//!
//! One reader serves all three, so that what is read from a snapshot is what was read live. It asks
//! a [`Tree`] for single names in directories and never walks on by itself.

mod attributes;
mod command_line;
mod directory;
mod facts;
mod firmware;
mod functions;
mod iommu_features;
mod sleep;

use std::borrow::Cow;

use super::base_addresses;
use super::registers::Registers;

pub(super) use directory::Directories;
pub(super) use facts::read;

/// Why a tree does not give what is at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// There is no such name.
    Absent,
    /// It is for root alone.
    Denied,
    /// It is there and could not be read.
    Failed,
}

/// What is kept of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// All of it.
    Whole,
    /// What of the kernel's command line is about memory and devices.
    CommandLine,
    /// Of `/proc/cpuinfo` whether the CPU says that a hypervisor runs it.
    Hypervisor,
    /// Of a function's `resource` the base address registers.
    BaseAddresses,
}

impl Keep {
    /// What is kept; keeping it again changes nothing.
    pub(super) fn of(self, text: Cow<'_, str>) -> Cow<'_, str> {
        match self {
            Self::Whole => text,
            Self::CommandLine => Cow::Owned(command_line::keep(&text)),
            Self::Hypervisor => Cow::Borrowed(attributes::keep_hypervisor(&text)),
            Self::BaseAddresses => Cow::Owned(base_addresses::keep(&text)),
        }
    }
}

/// Text of an attribute, at most: sysfs gives no more than a page, and `/proc/cmdline` is shorter.
pub(super) const LONGEST_TEXT: usize = 64 << 10;
/// A firmware table, at most. The largest in the field are below 64 KiB.
pub(super) const LONGEST_TABLE: usize = 1 << 20;

/// Directories by their path below `/`, without the first slash.
pub(super) trait Tree {
    /// One directory of it.
    type Directory<'a>: Directory
    where
        Self: 'a;
    /// The names in a directory, in order.
    fn names(&self, directory: &str) -> Result<Vec<Cow<'_, str>>, Miss>;
    /// A directory to ask for names in. It need not exist.
    fn directory(&self, path: &str) -> Self::Directory<'_>;
}

/// One directory.
pub(super) trait Directory {
    /// The registers in it.
    type Registers<'a>: Registers
    where
        Self: 'a;
    /// A text without white space at its ends.
    fn text(&self, name: &str, keep: Keep) -> Result<Cow<'_, str>, Miss>;
    /// The last part of where a symbolic link leads. Where `.`, the directory itself, leads: all of
    /// it below `devices/`.
    fn link(&self, name: &str) -> Result<Cow<'_, str>, Miss>;
    /// The bytes of a file.
    fn bytes(&self, name: &str) -> Result<Vec<u8>, Miss>;
    /// The registers in a file named `config`.
    fn config(&self) -> Result<Self::Registers<'_>, Miss>;
}
