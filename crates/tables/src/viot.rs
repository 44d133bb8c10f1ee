//! VIOT: which devices are behind a virtual IOMMU.
//!
//! ACPI 6.5, section 5.2.33. It states no reserved regions: those the device itself tells.

use crate::codes;
use crate::finding::Finding;
use crate::wire::{Wire, length16, placed, split, wire};

/// Offset of the nodes behind the fixed part.
const FIXED_END: usize = 48;
const NODE_HEADER: usize = 4;

/// The table behind its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viot {
    /// How many nodes there are, as the table says itself.
    pub count: u16,
    /// Offset of the first from the beginning of the table.
    pub offset: u16,
    /// Reserved.
    pub reserved: [u8; 8],
    /// Bytes before the first node.
    pub gap: Vec<u8>,
    /// In their order.
    pub nodes: Vec<ViotNode>,
    /// What follows and is no node: nothing, unless the table is broken.
    pub rest: Vec<u8>,
}

/// A node of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViotNode {
    /// Reserved.
    pub reserved: u8,
    /// What it says.
    pub kind: ViotKind,
    /// What else there is.
    pub tail: Vec<u8>,
}

/// What a node says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViotKind {
    /// 1: PCI functions behind an IOMMU.
    PciRange(PciRange),
    /// 2: a device behind an IOMMU, by the address of its registers.
    Mmio(MmioEndpoint),
    /// 3: a virtio-iommu that is a PCI function.
    VirtioPci(VirtioPci),
    /// 4: a virtio-iommu at an address.
    VirtioMmio(VirtioMmio),
    /// Another type, or one too short for its fields, which are then all in the tail.
    Unknown(u8),
}

wire! {
    /// PCI functions behind an IOMMU.
    pub struct PciRange {
        /// The endpoint id of the first.
        pub endpoint: u32,
        /// The first segment.
        pub first_segment: u16,
        /// The last.
        pub last_segment: u16,
        /// The first requester id.
        pub first: u16,
        /// The last.
        pub last: u16,
        /// Offset of the IOMMU's node.
        pub output: u16,
        /// Reserved.
        pub reserved: [u8; 6],
    }
}

wire! {
    /// A device behind an IOMMU, by the address of its registers.
    pub struct MmioEndpoint {
        /// Its endpoint id.
        pub endpoint: u32,
        /// Host-physical address of its registers.
        pub base: u64,
        /// Offset of the IOMMU's node.
        pub output: u16,
        /// Reserved.
        pub reserved: [u8; 6],
    }
}

wire! {
    /// A virtio-iommu that is a PCI function.
    pub struct VirtioPci {
        /// The segment.
        pub segment: u16,
        /// The requester id.
        pub device: u16,
        /// Reserved.
        pub reserved: [u8; 8],
    }
}

wire! {
    /// A virtio-iommu at an address.
    pub struct VirtioMmio {
        /// Reserved.
        pub reserved: u32,
        /// Host-physical address of its registers.
        pub base: u64,
    }
}

impl Viot {
    /// A table with these nodes.
    pub fn new(nodes: Vec<ViotNode>) -> Self {
        let count = u16::try_from(nodes.len()).expect("fewer nodes than 65,536");
        let (offset, reserved) = (length16(FIXED_END), [0; 8]);
        Self { count, offset, reserved, gap: Vec::new(), nodes, rest: Vec::new() }
    }

    /// The nodes, each with its offset in the table.
    pub fn placed(&self) -> impl Iterator<Item = (usize, &ViotNode)> {
        placed(&self.nodes, FIXED_END + self.gap.len())
    }

    pub(crate) fn find(&self, findings: &mut Vec<Finding>) {
        let mut say = |code, at, detail: String| findings.push(Finding::new(code, at, detail));
        let end = FIXED_END + self.gap.len() + self.nodes.iter().map(Wire::size).sum::<usize>();
        if usize::from(self.count) != self.nodes.len() || !self.rest.is_empty() {
            let (count, there) = (self.count, self.nodes.len());
            let detail = format!("{count} stated, {there} whole, {} bytes left", self.rest.len());
            say(&codes::VIOT_NODES, end, detail);
        }
        if usize::from(self.offset) != FIXED_END + self.gap.len() {
            say(&codes::VIOT_NODES, 38, format!("the nodes are said to be at {:#x}", self.offset));
        }
        let iommus: Vec<usize> = self
            .placed()
            .filter(|(_, node)| {
                matches!(node.kind, ViotKind::VirtioPci(_) | ViotKind::VirtioMmio(_))
            })
            .map(|(at, _)| at)
            .collect();
        for (at, node) in self.placed() {
            let output = match &node.kind {
                ViotKind::PciRange(range) => {
                    if range.last < range.first || range.last_segment < range.first_segment {
                        let detail = format!("{:#x} to {:#x}", range.first, range.last);
                        say(&codes::VIOT_RANGE, at, detail);
                    }
                    Some(range.output)
                }
                ViotKind::Mmio(endpoint) => Some(endpoint.output),
                ViotKind::Unknown(kind) => {
                    say(&codes::VIOT_UNKNOWN, at, format!("type {kind}"));
                    None
                }
                ViotKind::VirtioPci(_) | ViotKind::VirtioMmio(_) => None,
            };
            if let Some(output) = output.filter(|output| !iommus.contains(&usize::from(*output))) {
                say(&codes::VIOT_OUTPUT, at, format!("{output:#x} is the offset of no IOMMU"));
            }
        }
    }
}

impl ViotNode {
    /// A node that says this.
    pub fn new(kind: ViotKind) -> Self {
        Self { reserved: 0, kind, tail: Vec::new() }
    }
}

impl Wire for Viot {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (count, offset, reserved) = (u16::take(bytes)?, u16::take(bytes)?, Wire::take(bytes)?);
        let gap = usize::from(offset).checked_sub(FIXED_END);
        let gap = gap.and_then(|gap| split(bytes, gap)).unwrap_or_default().to_vec();
        let mut nodes = Vec::new();
        while nodes.len() < usize::from(count)
            && let Some(node) = ViotNode::take(bytes)
        {
            nodes.push(node);
        }
        Some(Self { count, offset, reserved, gap, nodes, rest: Wire::take(bytes)? })
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        self.count.put(bytes);
        self.offset.put(bytes);
        self.reserved.put(bytes);
        self.gap.put(bytes);
        for node in &self.nodes {
            node.put(bytes);
        }
        self.rest.put(bytes);
    }
}

impl Wire for ViotNode {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let mut ahead = *bytes;
        let (kind, reserved) = (u8::take(&mut ahead)?, u8::take(&mut ahead)?);
        let length = usize::from(u16::take(&mut ahead)?).checked_sub(NODE_HEADER)?;
        let mut body = split(&mut ahead, length)?;
        *bytes = ahead;
        let whole = body;
        let known = match kind {
            1 => Wire::take(&mut body).map(ViotKind::PciRange),
            2 => Wire::take(&mut body).map(ViotKind::Mmio),
            3 => Wire::take(&mut body).map(ViotKind::VirtioPci),
            4 => Wire::take(&mut body).map(ViotKind::VirtioMmio),
            _ => None,
        };
        Some(match known {
            Some(known) => Self { reserved, kind: known, tail: body.to_vec() },
            None => Self { reserved, kind: ViotKind::Unknown(kind), tail: whole.to_vec() },
        })
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        let mut body = Vec::new();
        let kind = match &self.kind {
            ViotKind::PciRange(range) => {
                range.put(&mut body);
                1
            }
            ViotKind::Mmio(endpoint) => {
                endpoint.put(&mut body);
                2
            }
            ViotKind::VirtioPci(iommu) => {
                iommu.put(&mut body);
                3
            }
            ViotKind::VirtioMmio(iommu) => {
                iommu.put(&mut body);
                4
            }
            ViotKind::Unknown(kind) => *kind,
        };
        self.tail.put(&mut body);
        bytes.extend([kind, self.reserved]);
        length16(NODE_HEADER + body.len()).put(bytes);
        body.put(bytes);
    }
}
