//! What of a host's memory firmware and IOMMUs set apart: where devices must not reach, or do reach
//! whatever anybody maps.
//!
//! A region stands at the same number in two spaces, which is what makes it one: firmware took host
//! memory there ([`Hpa`]), and a device that was told so uses that number as a bus address
//! ([`ringfence_addr::Iova`]). Here it is given as host memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ringfence_addr::{Hpa, PciAddress, Span};

use crate::fact::Fact;

mod kinds;
mod listed;
mod merge;
mod of;
mod owners;
mod stolen;
mod tabled;
mod width;
mod windows;

/// Memory of a host that is not like other memory to its devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostMemory {
    /// The regions; they may overlap, and each says who told of it.
    pub regions: Vec<Region>,
    /// How many bits a bus address may have: the fewest that any IOMMU of the host translates.
    pub address_bits: Fact<u8>,
    /// Who made the IOMMUs.
    pub iommu: Fact<IommuMaker>,
    /// What graphics functions have of their own in memory, by function.
    pub stolen: BTreeMap<PciAddress, Fact<Stolen>>,
    /// What was odd, for people.
    pub remarks: Vec<String>,
}

/// A region that firmware or an IOMMU set apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where it is.
    pub span: Span<Hpa>,
    /// What Linux makes of it.
    pub kind: RegionKind,
    /// Whose requests go there.
    pub owners: Owners,
    /// Functions for which the same memory is set apart as another kind, which is another region:
    /// whoever gets one of the owners shares it with them.
    pub shared: BTreeSet<PciAddress>,
    /// What it is for.
    pub role: Role,
    /// Where it was read, for people: `DMAR+0x58`, `reserved_regions of group 1`.
    pub sources: Vec<String>,
}

/// What Linux makes of a region (`reserved_regions` in sysfs), weakest first: where two overlap, the
/// later one says what may be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegionKind {
    /// Mapped one to one for the host, given up to whoever takes the device: VFIO maps other memory
    /// over it without a word.
    Relaxable,
    /// Mapped one to one, always: VFIO refuses the device.
    Direct,
    /// Where the kernel puts an interrupt controller's page; Arm.
    SoftwareMsi,
    /// Writes there are interrupts.
    Msi,
    /// Nothing may be mapped there.
    Reserved,
}

/// Whose a region is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Every device behind the IOMMU.
    All,
    /// These functions. Where a table names a bridge, which starts no requests itself, these are the
    /// functions behind it, or the bridge while there are none.
    These(BTreeSet<PciAddress>),
    /// Some of these: the groups for which the kernel lists the region, which does not say for
    /// which functions of a group.
    Among(BTreeSet<PciAddress>),
    /// Every function from the first to the last, whether it is there or not.
    Range(PciAddress, PciAddress),
    /// The source does not say.
    Unknown,
}

/// What a region is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The memory firmware took for an integrated graphics device: its page table and its own
    /// memory (GSM and DSM).
    Graphics,
    /// Buffers of firmware's keyboard emulation.
    Usb,
    /// Anything else, or not known.
    #[default]
    Other,
}

/// Who made the IOMMUs of a host, which decides what is reserved whatever tables say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IommuMaker {
    /// VT-d.
    Intel,
    /// AMD-Vi: HyperTransport takes the last 12 GiB below 1 TiB.
    Amd,
    /// An SMMU.
    Arm,
    /// virtio-iommu.
    Virtio,
}

/// The memory firmware took for an integrated graphics device, as its registers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stolen {
    /// The graphics generation as Linux counts: 6 to 12, then 20 and 30.
    pub generation: u8,
    /// The page table of graphics addresses (GSM), right below the data.
    pub page_table: Option<Span<Hpa>>,
    /// The device's own memory (DSM), from BDSM on.
    pub data: Option<Span<Hpa>>,
    /// The top of it that firmware keeps for the device's own processors (WOPCM), if known.
    pub firmware: Fact<Option<Span<Hpa>>>,
    /// The OpRegion's address (ASLS).
    pub op_region: Fact<Option<Hpa>>,
    /// The registers it was decoded from, for people: `GGC 0x50 = 0x02c8`.
    pub registers: Vec<String>,
}

impl Owners {
    /// Whether requests of `function` go there, as far as is known: what is not known may be.
    pub fn may_include(&self, function: PciAddress) -> bool {
        match self {
            Self::All | Self::Unknown => true,
            Self::These(functions) | Self::Among(functions) => functions.contains(&function),
            Self::Range(first, last) => (first..=last).contains(&&function),
        }
    }
}

impl fmt::Display for RegionKind {
    /// As sysfs has it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Relaxable => "direct-relaxable",
            Self::Direct => "direct",
            Self::SoftwareMsi => "msi (software)",
            Self::Msi => "msi",
            Self::Reserved => "reserved",
        })
    }
}
