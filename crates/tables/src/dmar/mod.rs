//! DMAR: Intel's DMA remapping units and the memory firmware reserved for devices.
//!
//! VT-d specification 4.1, chapter 8.

mod checks;
mod path;
mod scope;
mod units;

use crate::wire::{Wire, length16, placed, split, wire};

pub use path::{Buses, ScopePath};
pub use scope::{SCOPE_BYTES, Scope, ScopeKind, Scopes};

/// Offset of the first structure from the beginning of the table.
pub const STRUCTURES_AT: usize = 48;
/// Bytes of a structure's type and length.
pub(crate) const STRUCTURE_HEADER: usize = 4;

/// The table behind its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dmar {
    /// Bits of a DMA address, less one.
    pub width: u8,
    /// Bit 0: interrupt remapping; bit 1: x2APIC opt-out; bit 2: DMA control by platform opt-in.
    pub flags: u8,
    /// Reserved.
    pub reserved: [u8; 10],
    /// In their order.
    pub structures: Vec<Structure>,
    /// What follows and is no structure: nothing, unless the table is broken.
    pub rest: Vec<u8>,
}

/// A structure of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Structure {
    /// 0: a remapping unit.
    Drhd(Drhd),
    /// 1: memory that devices were told to use.
    Rmrr(Rmrr),
    /// 2: root ports that support ATS.
    Atsr(Atsr),
    /// 3: a unit's proximity domain.
    Rhsa(Rhsa),
    /// 4: a name in the ACPI name space for a scope to refer to.
    Andd(Andd),
    /// 5: integrated devices with an address translation cache.
    Satc(Satc),
    /// 6: properties of integrated devices.
    Sidp(Sidp),
    /// Another type, or one too short for its fields.
    Unknown {
        /// The type.
        kind: u16,
        /// Everything behind type and length.
        body: Vec<u8>,
    },
}

wire! {
    /// A remapping unit (DRHD).
    pub struct Drhd {
        /// Bit 0: it translates for every device of the segment that no other unit names.
        pub flags: u8,
        /// The size of its registers, 2^n pages; formerly reserved.
        pub size: u8,
        /// The PCI segment.
        pub segment: u16,
        /// Host-physical address of its registers.
        pub base: u64,
        /// For which devices it translates.
        pub scopes: Scopes,
    }
}

wire! {
    /// Memory that devices were told to use (RMRR): mapped at the same number, or they fault.
    pub struct Rmrr {
        /// Reserved.
        pub reserved: u16,
        /// The PCI segment.
        pub segment: u16,
        /// Host-physical address of the first byte.
        pub base: u64,
        /// Host-physical address of the last byte.
        pub limit: u64,
        /// Which devices use it.
        pub scopes: Scopes,
    }
}

wire! {
    /// Root ports that support ATS (ATSR).
    pub struct Atsr {
        /// Bit 0: all root ports of the segment do.
        pub flags: u8,
        /// Reserved.
        pub reserved: u8,
        /// The PCI segment.
        pub segment: u16,
        /// The ports.
        pub scopes: Scopes,
    }
}

wire! {
    /// A unit's proximity domain (RHSA).
    pub struct Rhsa {
        /// Reserved.
        pub reserved: u32,
        /// Host-physical address of the unit's registers.
        pub base: u64,
        /// As in the SRAT.
        pub proximity: u32,
        /// What else there is.
        pub tail: Vec<u8>,
    }
}

wire! {
    /// A name in the ACPI name space (ANDD).
    pub struct Andd {
        /// Reserved.
        pub reserved: [u8; 3],
        /// The number by which scopes name it.
        pub number: u8,
        /// The path, which a zero ends.
        pub name: Vec<u8>,
    }
}

wire! {
    /// Integrated devices with an address translation cache (SATC).
    pub struct Satc {
        /// Bit 0: they need it.
        pub flags: u8,
        /// Reserved.
        pub reserved: u8,
        /// The PCI segment.
        pub segment: u16,
        /// The devices.
        pub scopes: Scopes,
    }
}

wire! {
    /// Properties of integrated devices (SIDP).
    pub struct Sidp {
        /// Reserved.
        pub reserved: u16,
        /// The PCI segment.
        pub segment: u16,
        /// The devices, with their properties as flags.
        pub scopes: Scopes,
    }
}

impl Drhd {
    /// Whether it translates for every device of its segment that no other unit names.
    pub fn includes_all(&self) -> bool {
        self.flags & 1 != 0
    }
}

impl Dmar {
    /// A table with these structures, for DMA addresses of `bits` bits (1 to 64).
    pub fn new(bits: u8, structures: Vec<Structure>) -> Self {
        let width = bits.saturating_sub(1);
        Self { width, flags: 1, reserved: [0; 10], structures, rest: Vec::new() }
    }

    /// How many bits a DMA address has.
    pub fn address_bits(&self) -> u16 {
        u16::from(self.width) + 1
    }

    /// The structures, each with its offset in the table.
    pub fn placed(&self) -> impl Iterator<Item = (usize, &Structure)> {
        placed(&self.structures, STRUCTURES_AT)
    }

    /// The reserved regions, each with its offset in the table.
    pub fn rmrrs(&self) -> impl Iterator<Item = (usize, &Rmrr)> {
        self.placed().filter_map(|(at, structure)| match structure {
            Structure::Rmrr(rmrr) => Some((at, rmrr)),
            _ => None,
        })
    }

    /// The remapping units, each with its offset in the table.
    pub fn drhds(&self) -> impl Iterator<Item = (usize, &Drhd)> {
        self.placed().filter_map(|(at, structure)| match structure {
            Structure::Drhd(drhd) => Some((at, drhd)),
            _ => None,
        })
    }
}

impl Wire for Dmar {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (width, flags, reserved) =
            (u8::take(bytes)?, u8::take(bytes)?, <[u8; 10]>::take(bytes)?);
        let mut structures = Vec::new();
        while let Some(structure) = Structure::take(bytes) {
            structures.push(structure);
        }
        Some(Self { width, flags, reserved, structures, rest: Wire::take(bytes)? })
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend([self.width, self.flags]);
        bytes.extend(self.reserved);
        for structure in &self.structures {
            structure.put(bytes);
        }
        self.rest.put(bytes);
    }
}

impl Structure {
    /// The number of its type.
    pub fn kind(&self) -> u16 {
        match self {
            Self::Drhd(_) => 0,
            Self::Rmrr(_) => 1,
            Self::Atsr(_) => 2,
            Self::Rhsa(_) => 3,
            Self::Andd(_) => 4,
            Self::Satc(_) => 5,
            Self::Sidp(_) => 6,
            Self::Unknown { kind, .. } => *kind,
        }
    }

    /// The segment and the scopes, if it is of a type that has them, and how many bytes of it come
    /// before the scopes.
    pub fn scopes(&self) -> Option<(u16, &Scopes, usize)> {
        match self {
            Self::Drhd(drhd) => Some((drhd.segment, &drhd.scopes, 16)),
            Self::Rmrr(rmrr) => Some((rmrr.segment, &rmrr.scopes, 24)),
            Self::Atsr(atsr) => Some((atsr.segment, &atsr.scopes, 8)),
            Self::Satc(satc) => Some((satc.segment, &satc.scopes, 8)),
            Self::Sidp(sidp) => Some((sidp.segment, &sidp.scopes, 8)),
            Self::Rhsa(_) | Self::Andd(_) | Self::Unknown { .. } => None,
        }
    }

    fn put_body(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Drhd(drhd) => drhd.put(bytes),
            Self::Rmrr(rmrr) => rmrr.put(bytes),
            Self::Atsr(atsr) => atsr.put(bytes),
            Self::Rhsa(rhsa) => rhsa.put(bytes),
            Self::Andd(andd) => andd.put(bytes),
            Self::Satc(satc) => satc.put(bytes),
            Self::Sidp(sidp) => sidp.put(bytes),
            Self::Unknown { body, .. } => body.put(bytes),
        }
    }
}

impl Wire for Structure {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut ahead = *bytes;
        let (kind, length) = (u16::take(&mut ahead)?, u16::take(&mut ahead)?);
        let length = usize::from(length).checked_sub(STRUCTURE_HEADER)?;
        let body = split(&mut ahead, length)?;
        *bytes = ahead;
        let known = match kind {
            0 => Wire::take(&mut &*body).map(Self::Drhd),
            1 => Wire::take(&mut &*body).map(Self::Rmrr),
            2 => Wire::take(&mut &*body).map(Self::Atsr),
            3 => Wire::take(&mut &*body).map(Self::Rhsa),
            4 => Wire::take(&mut &*body).map(Self::Andd),
            5 => Wire::take(&mut &*body).map(Self::Satc),
            6 => Wire::take(&mut &*body).map(Self::Sidp),
            _ => None,
        };
        Some(known.unwrap_or_else(|| Self::Unknown { kind, body: body.to_vec() }))
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        let mut body = Vec::new();
        self.put_body(&mut body);
        self.kind().put(bytes);
        length16(STRUCTURE_HEADER + body.len()).put(bytes);
        body.put(bytes);
    }
}

#[cfg(test)]
mod tests;
