//! The registers of one function, as far as a source has them.

use crate::fact::Unknown;

/// Where extended config space begins.
pub(super) const EXTENDED: u16 = 0x100;
/// How long config space is at most.
pub(super) const END: u16 = 0x1000;

/// Why there is no register at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// The function's config space ends before it: there is no such register.
    End,
    /// There may be one, but it was not read.
    Unread(Unknown),
}

/// Something that has the registers of one function, in pieces of four bytes.
pub trait Registers {
    /// The four bytes at `offset`, which is below 4096 and a multiple of four.
    fn double_word(&mut self, offset: u16) -> Result<u32, Gap>;
}

/// Config space from its first byte on, and what is so of the rest.
#[derive(Clone, Copy, Debug)]
pub struct ConfigBytes<'a> {
    bytes: &'a [u8],
    beyond: Gap,
}

impl<'a> ConfigBytes<'a> {
    /// `bytes` from offset 0 on; behind them there is what `beyond` says.
    pub fn new(bytes: &'a [u8], beyond: Gap) -> Self {
        Self { bytes, beyond }
    }

    /// What the kernel's `config` file gave, by its length: all of it, or what it shows to others
    /// than root, which is 64 bytes, and 128 of a CardBus bridge.
    pub fn of_file(bytes: &'a [u8]) -> Self {
        let beyond = match bytes.len() {
            256 | 4096.. => Gap::End,
            64 | 128 => Gap::Unread(Unknown::NeedsRoot),
            _ => Gap::Unread(Unknown::NotInSource),
        };
        Self { bytes, beyond }
    }
}

impl Registers for ConfigBytes<'_> {
    fn double_word(&mut self, offset: u16) -> Result<u32, Gap> {
        let rest = self.bytes.get(usize::from(offset)..).unwrap_or_default();
        rest.first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).ok_or(self.beyond)
    }
}
