//! Checks of the host by itself: its IOMMU, how far devices reach, what was not read.

use ringfence_host::{Fact, Host, HostMemory};

use super::check::Check;
use super::codes::{ADDRESS_WIDTH, NO_IOMMU, NOT_READ};
use crate::isolation::situation;

/// What they are about.
pub(super) const HOST: &str = "host";

pub(super) fn checks(host: &Host, memory: &HostMemory) -> Vec<Check> {
    let mut checks = vec![iommu(host), width(memory)];
    checks.extend(tables(host));
    checks
}

fn iommu(host: &Host) -> Check {
    match &host.iommus {
        Fact::Known(units) if !units.is_empty() => {
            let names: Vec<_> = units.iter().map(|unit| unit.name.as_str()).collect();
            Check::pass(&NO_IOMMU, HOST, format!("the kernel uses {}", names.join(", ")))
        }
        Fact::Known(_) => {
            let check = Check::fail(
                &NO_IOMMU,
                HOST,
                "the kernel uses no IOMMU: it isolates nothing, and VFIO gives no device away",
            );
            match situation(host).unwrap_or_default().get(1) {
                Some(why) => check.remedy(why.trim_start_matches("why: ")),
                None => check,
            }
        }
        Fact::Unknown(why) => {
            Check::warn(&NOT_READ, HOST, format!("whether the kernel uses an IOMMU: {why}"))
        }
    }
}

fn width(memory: &HostMemory) -> Check {
    match memory.address_bits {
        Fact::Known(bits) => {
            Check::pass(&ADDRESS_WIDTH, HOST, format!("devices reach {bits} bits of address"))
        }
        Fact::Unknown(why) => {
            Check::warn(&NOT_READ, HOST, format!("how many bits of address devices reach: {why}"))
        }
    }
}

/// Firmware's tables say whose a region is, the kernel's lists only for which group.
fn tables(host: &Host) -> Option<Check> {
    let unread = host.table_bytes.iter().find_map(|(signature, bytes)| match bytes {
        Fact::Known(_) => None,
        Fact::Unknown(why) => Some(format!("{signature}: {why}")),
    });
    let unread = unread.or_else(|| match &host.tables {
        Fact::Unknown(why) if host.table_bytes.is_empty() => Some(format!("tables: {why}")),
        _ => None,
    })?;
    let what = if host.reserved_regions.is_empty() {
        "what firmware reserved for devices"
    } else {
        "whose the regions are that the kernel lists"
    };
    Some(Check::warn(&NOT_READ, HOST, format!("{what} ({unread})")))
}
