//! Everything that was read of one host.

use std::collections::BTreeMap;

use ringfence_addr::PciAddress;

use crate::fact::Fact;
use crate::function::Function;

/// A host as it was read: live, from a snapshot, or from `lspci`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Its functions by address: no two are at the same one.
    pub functions: BTreeMap<PciAddress, Function>,
    /// The kernel that ran.
    pub kernel: Kernel,
    /// The IOMMUs the kernel uses; `Known` and empty when it uses none.
    pub iommus: Fact<Vec<Iommu>>,
    /// Signatures of the ACPI tables that firmware has (`DMAR`, `IVRS`, `IORT`, `VIOT`…).
    pub tables: Fact<Vec<String>>,
    /// The tables that say how requests are translated and what is reserved (DMAR, IVRS, IORT, VIOT),
    /// byte for byte, by signature; those `tables` does not name are not there.
    pub table_bytes: BTreeMap<String, Fact<Vec<u8>>>,
    /// The host is itself a virtual machine, as far as its CPU says.
    pub is_virtual_machine: Fact<bool>,
    /// Firmware regions the kernel maps one to one or keeps free, by the number of its group:
    /// lines of `reserved_regions`.
    pub reserved_regions: BTreeMap<u32, Vec<String>>,
    /// How the kernel translates for each of its groups: `DMA`, `DMA-FQ`, `identity`…
    pub group_types: BTreeMap<u32, String>,
    /// Requester ids that firmware says stand for another (the alias entries of IVRS): from the
    /// function to the one whose id its requests carry.
    pub firmware_aliases: BTreeMap<PciAddress, PciAddress>,
    /// What was odd about the source, for people: lines that made no sense, files cut short.
    pub remarks: Vec<String>,
}

/// The kernel that ran on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// `uname -r`.
    pub release: Fact<String>,
    /// `/proc/cmdline`, as far as it is about memory and devices: the values of other arguments (where
    /// the root is, names, passwords) are not kept.
    pub command_line: Fact<String>,
    /// `uname -m`.
    pub machine: Fact<String>,
}

/// An IOMMU in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iommu {
    /// As in `/sys/class/iommu`: `dmar0`, `ivhd0`, `smmu3.0x…`, `virtio1`.
    pub name: String,
    /// The functions it translates for, if the source says.
    pub functions: Fact<Vec<PciAddress>>,
    /// What it can: VT-d's capability register (Intel VT-d 4.1, 11.4.2), AMD-Vi's extended feature
    /// register (AMD IOMMU 3.08, 3.4.9). Linux shows nothing of the kind for others.
    pub features: Fact<u64>,
}

impl Host {
    /// The function there.
    pub fn function(&self, address: PciAddress) -> Option<&Function> {
        self.functions.get(&address)
    }
}
