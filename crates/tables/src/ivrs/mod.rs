//! IVRS: AMD's IOMMUs, the devices they translate for, and the memory firmware reserved.
//!
//! AMD I/O Virtualization Technology Specification 3.09, section 5.2.

mod aliases;
mod checks;
mod entry;
mod hardware;
mod memory;
mod units;

use crate::wire::{Wire, length16, placed, split};

pub use aliases::Alias;
pub use entry::{DeviceEntries, DeviceEntry};
pub use hardware::Ivhd;
pub use memory::{Ivmd, IvmdFlags};

/// Offset of the first block from the beginning of the table.
pub const BLOCKS_AT: usize = 48;
/// Bytes of a block's type, flags and length.
pub(crate) const BLOCK_HEADER: usize = 4;

/// The table behind its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ivrs {
    /// What the IOMMUs can do in common: bits 14:8 physical and 21:15 virtual address bits.
    pub info: u32,
    /// Reserved.
    pub reserved: [u8; 8],
    /// In their order.
    pub blocks: Vec<Block>,
    /// What follows and is no block: nothing, unless the table is broken.
    pub rest: Vec<u8>,
}

/// A block of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// 0x10, 0x11, 0x40: an IOMMU and its devices.
    Ivhd(Ivhd),
    /// 0x20 to 0x23: memory with a meaning to devices.
    Ivmd(Ivmd),
    /// Another type, or one too short for its fields.
    Unknown {
        /// The type.
        kind: u8,
        /// As the block says.
        flags: u8,
        /// Everything behind type, flags and length.
        body: Vec<u8>,
    },
}

impl Ivrs {
    /// A table with these blocks.
    pub fn new(info: u32, blocks: Vec<Block>) -> Self {
        Self { info, reserved: [0; 8], blocks, rest: Vec::new() }
    }

    /// The blocks, each with its offset in the table.
    pub fn placed(&self) -> impl Iterator<Item = (usize, &Block)> {
        placed(&self.blocks, BLOCKS_AT)
    }

    /// The IOMMUs, each with its offset in the table.
    pub fn ivhds(&self) -> impl Iterator<Item = (usize, &Ivhd)> {
        self.placed().filter_map(|(at, block)| match block {
            Block::Ivhd(ivhd) => Some((at, ivhd)),
            _ => None,
        })
    }

    /// The memory blocks, each with its offset in the table.
    pub fn ivmds(&self) -> impl Iterator<Item = (usize, &Ivmd)> {
        self.placed().filter_map(|(at, block)| match block {
            Block::Ivmd(ivmd) => Some((at, ivmd)),
            _ => None,
        })
    }
}

impl Block {
    /// The number of its type.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Ivhd(ivhd) => ivhd.kind,
            Self::Ivmd(ivmd) => ivmd.kind,
            Self::Unknown { kind, .. } => *kind,
        }
    }
}

impl Wire for Ivrs {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (info, reserved) = (u32::take(bytes)?, <[u8; 8]>::take(bytes)?);
        let mut blocks = Vec::new();
        while let Some(block) = Block::take(bytes) {
            blocks.push(block);
        }
        Some(Self { info, reserved, blocks, rest: Wire::take(bytes)? })
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        self.info.put(bytes);
        self.reserved.put(bytes);
        for block in &self.blocks {
            block.put(bytes);
        }
        self.rest.put(bytes);
    }
}

impl Wire for Block {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut ahead = *bytes;
        let (kind, flags) = (u8::take(&mut ahead)?, u8::take(&mut ahead)?);
        let length = usize::from(u16::take(&mut ahead)?).checked_sub(BLOCK_HEADER)?;
        let body = split(&mut ahead, length)?;
        *bytes = ahead;
        let known = match kind {
            0x10 | 0x11 | 0x40 => Ivhd::read(kind, flags, body).map(Self::Ivhd),
            0x20..=0x23 => Ivmd::read(kind, flags, body).map(Self::Ivmd),
            _ => None,
        };
        Some(known.unwrap_or_else(|| Self::Unknown { kind, flags, body: body.to_vec() }))
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        let mut body = Vec::new();
        let (kind, flags) = match self {
            Self::Ivhd(ivhd) => {
                ivhd.write(&mut body);
                (ivhd.kind, ivhd.flags)
            }
            Self::Ivmd(ivmd) => {
                ivmd.write(&mut body);
                (ivmd.kind, ivmd.flags)
            }
            Self::Unknown { kind, flags, body: kept } => {
                kept.put(&mut body);
                (*kind, *flags)
            }
        };
        bytes.extend([kind, flags]);
        length16(BLOCK_HEADER + body.len()).put(bytes);
        body.put(bytes);
    }
}

#[cfg(test)]
mod tests;
