//! What Linux 6.12 makes of the tables: the lines of each group's `reserved_regions`.
//!
//! This follows the kernel, its oddities included (`drivers/iommu/intel/iommu.c`,
//! `drivers/iommu/amd/init.c`, `drivers/acpi/arm64/iort.c`), and is compared with what real kernels
//! print. What it lists are bus addresses.

mod amd;
mod arm;
mod intel;
mod list;

use std::collections::BTreeMap;

use ringfence_addr::{Iova, PciAddress, Span};

use crate::{Buses, Content, Table};

pub use list::{LinuxKind, LinuxRegion, group};

/// What Linux looks at of a function when it applies the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciFunction {
    /// Its class code: base class, subclass, interface, as in `0x030000`; none if not known.
    pub class: Option<u32>,
    /// Whether its header is a bridge's.
    pub is_bridge: bool,
    /// The secondary and the subordinate bus number of a bridge.
    pub behind: Option<(u8, u8)>,
    /// For a virtual function, the physical one.
    pub physical: Option<PciAddress>,
}

/// The functions of a host, as far as the tables turn on them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PciFunctions {
    /// By address.
    pub by_address: BTreeMap<PciAddress, PciFunction>,
    /// Arm: whether the host bridges ask to keep the setup that firmware made (their `_DSM`, function
    /// 5, returns 0), without which Linux ignores reserved memory of PCI functions.
    pub keeps_boot_setup: bool,
}

impl Buses for PciFunctions {
    fn behind(&self, bridge: PciAddress) -> Option<(u8, u8)> {
        self.by_address.get(&bridge)?.behind
    }
}

/// What Linux makes of a host's tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AsLinux {
    /// Why no IOMMU is used at all; the regions are then none.
    pub off: Option<String>,
    /// The regions of each function that has an IOMMU, in the kernel's order.
    pub regions: BTreeMap<PciAddress, Vec<LinuxRegion>>,
    /// Where the prediction rests on something not known, or the kernel's own arithmetic fails.
    pub remarks: Vec<String>,
}

/// What Linux 6.12 lists for each function, given the tables and the functions of a host.
pub fn as_linux<'a>(
    tables: impl IntoIterator<Item = &'a Table>,
    functions: &PciFunctions,
) -> AsLinux {
    for table in tables {
        let answer = match &table.content {
            Content::Dmar(dmar) => intel::regions(dmar, functions),
            Content::Ivrs(ivrs) => amd::regions(table, ivrs, functions),
            Content::Iort(iort) => arm::regions(iort, table.header.revision, functions),
            Content::Viot(_) | Content::Other(_) => continue,
        };
        return answer;
    }
    AsLinux { off: Some("no table describes an IOMMU".to_owned()), ..AsLinux::default() }
}

impl AsLinux {
    fn off(why: impl Into<String>) -> Self {
        Self { off: Some(why.into()), ..Self::default() }
    }
}

fn region(first: u64, last: u64, kind: LinuxKind) -> Option<LinuxRegion> {
    Some(LinuxRegion { span: Span::new(Iova::new(first), Iova::new(last))?, kind })
}

#[cfg(test)]
mod tests;
