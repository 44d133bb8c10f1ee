//! Nodes: kept byte for byte, decoded when asked.
//!
//! A node holds offsets into itself, and firmware leaves gaps, so the bytes are the value and what
//! they mean is a view of them.

use crate::wire::{Wire, length16, split, wire};

/// Bytes of a node before what its type adds.
pub(super) const NODE_BYTES: usize = 16;
const MAPPING_BYTES: usize = 20;
const DESCRIPTOR_BYTES: usize = 20;

/// A node of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The type.
    pub kind: u8,
    /// Of the type's format.
    pub revision: u8,
    /// Its number; reserved before revision 3 of the table.
    pub id: u32,
    /// How many id mappings it has, as it says itself.
    pub mapping_count: u32,
    /// Offset of the first from the beginning of the node.
    pub mapping_offset: u32,
    /// Everything behind.
    pub body: Vec<u8>,
}

/// What a node says, as far as reserved memory needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// 0: interrupt translation units, by their numbers.
    ItsGroup(Vec<u32>),
    /// 1: a device of the ACPI name space.
    Named(Named),
    /// 2: a PCI root complex.
    RootComplex(RootComplex),
    /// 3: an SMMU of version 1 or 2.
    SmmuV1(Smmu),
    /// 4: an SMMU of version 3.
    SmmuV3(Smmu),
    /// 5: a performance counter group, by the address of its registers.
    Pmcg(u64),
    /// 6: memory that devices were told to use.
    Rmr(Rmr),
    /// Another type, or one too short for its fields.
    Unknown,
}

wire! {
    /// A device of the ACPI name space.
    pub struct Named {
        /// Bit 0: it can stall.
        pub flags: u32,
        /// Its cache attributes.
        pub memory_properties: u64,
        /// Bits of an address.
        pub address_bits: u8,
        /// Its path, which a zero ends; padding follows, and mappings if there are any.
        pub name: Vec<u8>,
    }
}

impl Named {
    /// The path as text.
    pub fn name_text(&self) -> String {
        let name = self.name.split(|byte| *byte == 0).next().unwrap_or_default();
        name.escape_ascii().to_string()
    }
}

wire! {
    /// A PCI root complex.
    pub struct RootComplex {
        /// Its cache attributes.
        pub memory_properties: u64,
        /// Bit 0: ATS.
        pub ats: u32,
        /// The PCI segment.
        pub segment: u32,
    }
}

wire! {
    /// An SMMU.
    pub struct Smmu {
        /// Host-physical address of its registers.
        pub base: u64,
    }
}

wire! {
    /// Memory that devices were told to use (RMR).
    pub struct Rmr {
        /// Bit 0: remapping permitted; bit 1: privileged; bits 9:2: memory attributes.
        pub flags: u32,
        /// How many descriptors.
        pub count: u32,
        /// Offset of the first from the beginning of the node.
        pub offset: u32,
    }
}

wire! {
    /// One piece of an RMR.
    pub struct Descriptor {
        /// Host-physical address of the first byte.
        pub base: u64,
        /// Bytes.
        pub length: u64,
        /// Reserved.
        pub reserved: u32,
    }
}

wire! {
    /// From ids at a node to ids at the next.
    pub struct IdMapping {
        /// The first id that comes in.
        pub input_base: u32,
        /// How many, less one.
        pub count: u32,
        /// The first id that goes out.
        pub output_base: u32,
        /// Offset of the next node from the beginning of the table.
        pub output: u32,
        /// Bit 0: all that comes in goes out as the one.
        pub flags: u32,
    }
}

impl Rmr {
    /// Whether an operating system may map other memory there once it has taken the device.
    pub fn may_remap(&self) -> bool {
        self.flags & 1 != 0
    }
}

impl IdMapping {
    /// Whether all that comes in goes out as one id.
    pub fn is_single(&self) -> bool {
        self.flags & 1 != 0
    }

    /// The last id that goes out.
    pub fn last_output(&self) -> u64 {
        u64::from(self.output_base) + u64::from(self.count)
    }

    /// The ids that come in for those that go out from `first` to `last`.
    pub fn inputs_of(&self, first: u64, last: u64) -> Option<(u64, u64)> {
        let base = u64::from(self.output_base);
        let (first, last) = (first.max(base), last.min(self.last_output()));
        let input = |output: u64| u64::from(self.input_base) + (output - base);
        (first <= last).then(|| (input(first), input(last)))
    }
}

impl Node {
    /// Memory at its own number for streams of an SMMU: mappings first, then the descriptors.
    pub fn rmr(id: u32, flags: u32, mappings: &[IdMapping], pieces: &[Descriptor]) -> Self {
        let fixed = NODE_BYTES + 12;
        let pieces_at = fixed + MAPPING_BYTES * mappings.len();
        let mut body = Vec::new();
        let offset = u32::from(length16(pieces_at));
        let count = u32::try_from(pieces.len()).expect("pieces fit into the node");
        Rmr { flags, count, offset }.put(&mut body);
        mappings.iter().for_each(|mapping| mapping.put(&mut body));
        pieces.iter().for_each(|piece| piece.put(&mut body));
        let mapping_count = u32::try_from(mappings.len()).expect("mappings fit into the node");
        let mapping_offset = if mappings.is_empty() { 0 } else { u32::from(length16(fixed)) };
        Self { kind: 6, revision: 3, id, mapping_count, mapping_offset, body }
    }

    /// What it says.
    pub fn decode(&self) -> NodeKind {
        let mut body = self.body.as_slice();
        let known = match self.kind {
            0 => u32::take(&mut body).map(|count| {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                let numbers = body.as_chunks::<4>().0.iter().take(count);
                NodeKind::ItsGroup(numbers.map(|bytes| u32::from_le_bytes(*bytes)).collect())
            }),
            1 => Wire::take(&mut body).map(NodeKind::Named),
            2 => Wire::take(&mut body).map(NodeKind::RootComplex),
            3 => Wire::take(&mut body).map(NodeKind::SmmuV1),
            4 => Wire::take(&mut body).map(NodeKind::SmmuV3),
            5 => Wire::take(&mut body).map(NodeKind::Pmcg),
            6 => Wire::take(&mut body).map(NodeKind::Rmr),
            _ => None,
        };
        known.unwrap_or(NodeKind::Unknown)
    }

    /// Whether it translates.
    pub fn is_smmu(&self) -> bool {
        matches!(self.kind, 3 | 4)
    }

    /// The id mappings that are whole within the node.
    pub fn mappings(&self) -> Vec<IdMapping> {
        self.array(self.mapping_offset, self.mapping_count, MAPPING_BYTES)
    }

    /// The pieces of an RMR that are whole within the node, each with its offset in the node.
    pub fn descriptors(&self) -> Vec<(usize, Descriptor)> {
        let NodeKind::Rmr(rmr) = self.decode() else { return Vec::new() };
        let at = usize::try_from(rmr.offset).unwrap_or(usize::MAX);
        let pieces = self.array(rmr.offset, rmr.count, DESCRIPTOR_BYTES).into_iter();
        pieces.enumerate().map(|(index, it)| (at + index * DESCRIPTOR_BYTES, it)).collect()
    }

    fn array<T: Wire>(&self, offset: u32, count: u32, each: usize) -> Vec<T> {
        let start = usize::try_from(offset).ok().and_then(|at| at.checked_sub(NODE_BYTES));
        let mut bytes = start.and_then(|start| self.body.get(start..)).unwrap_or_default();
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(bytes.len() / each);
        (0..count).filter_map(|_| T::take(&mut bytes)).collect()
    }
}

impl Wire for Node {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut ahead = *bytes;
        let (kind, length) = (u8::take(&mut ahead)?, u16::take(&mut ahead)?);
        // One that says it is shorter than its fixed part is none.
        let length = Some(usize::from(length)).filter(|length| *length >= NODE_BYTES)?;
        let whole = split(bytes, length);
        let mut whole = whole?.get(3..)?;
        Some(Self {
            kind,
            revision: Wire::take(&mut whole)?,
            id: Wire::take(&mut whole)?,
            mapping_count: Wire::take(&mut whole)?,
            mapping_offset: Wire::take(&mut whole)?,
            body: Wire::take(&mut whole)?,
        })
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        self.kind.put(bytes);
        length16(NODE_BYTES + self.body.len()).put(bytes);
        self.revision.put(bytes);
        self.id.put(bytes);
        self.mapping_count.put(bytes);
        self.mapping_offset.put(bytes);
        self.body.put(bytes);
    }
}
