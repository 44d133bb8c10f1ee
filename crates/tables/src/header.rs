//! What every ACPI table begins with.
//!
//! ACPI 6.5, section 5.2.6.

use std::fmt;

use crate::wire::{Wire, wire};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 36;

/// The four letters that say what a table is. Prints what is not ASCII as dots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 4]);

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| {
            let letter = if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
            write!(formatter, "{letter}")
        })
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.to_string())
    }
}

impl Wire for Signature {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Wire::take(bytes).map(Self)
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        self.0.put(bytes);
    }
}

wire! {
    /// The header, as it stands: `length` and `checksum` are what was read until
    /// [`Table::seal`](crate::Table::seal) puts them right.
    pub struct Header {
        /// What the table is.
        pub signature: Signature,
        /// Bytes of the table, this header included, as it says itself.
        pub length: u32,
        /// Of the table's format.
        pub revision: u8,
        /// What makes the sum of all bytes zero.
        pub checksum: u8,
        /// Who made the machine.
        pub oem_id: [u8; 6],
        /// Which machine.
        pub oem_table_id: [u8; 8],
        /// Of the table. Linux replaces a table by one of its initial ramdisk only if this is higher.
        pub oem_revision: u32,
        /// The tool that made the table.
        pub creator_id: [u8; 4],
        /// Its version.
        pub creator_revision: u32,
    }
}

impl Header {
    /// The header of a table that Ringfence makes.
    pub fn new(signature: [u8; 4], revision: u8) -> Self {
        Self {
            signature: Signature(signature),
            length: 0,
            revision,
            checksum: 0,
            oem_id: *b"RINGFN",
            oem_table_id: *b"RINGFNCE",
            oem_revision: 1,
            creator_id: *b"RGFC",
            creator_revision: 1,
        }
    }
}
