//! From a host to its memory: tables, the kernel's lists, and what is fixed, put together.

use ringfence_tables::{Severity, Table};

use crate::fact::Fact;
use crate::host::Host;

use super::{HostMemory, listed, merge, stolen, tabled, width, windows};

/// Findings of one table among the remarks, at most: a made-up table has no end of them.
const MOST_FINDINGS: usize = 16;

impl HostMemory {
    /// What is set apart of a host's memory, by all that was read of it. This reads nothing.
    ///
    /// Owners come from tables alone; a region that only the kernel lists belongs to some function
    /// of the groups it is listed for. Where the kernel lists nothing, what it would list is said
    /// with "asserted" among the sources. Remarks name what is not known and what disagrees.
    pub fn of(host: &Host) -> Self {
        let mut memory = Self::default();
        let tables = tables(host, &mut memory.remarks);
        memory.iommu = windows::maker(host, &tables);
        memory.address_bits = width::address_bits(host, memory.iommu, &tables, &mut memory.remarks);
        memory.regions = tabled::regions(host, &tables, &mut memory.remarks);
        let listed = listed::of(host, &mut memory.remarks);
        if listed.regions.is_empty() {
            windows::assert(host, &mut memory);
        } else {
            merge::take(host, &listed, &mut memory);
        }
        stolen::take(host, &mut memory);
        memory.regions.sort_by_key(|region| (region.span, region.kind));
        memory
    }
}

/// The tables that could be read.
fn tables(host: &Host, remarks: &mut Vec<String>) -> Vec<Table> {
    let mut tables = Vec::new();
    for (signature, bytes) in &host.table_bytes {
        let bytes = match bytes {
            Fact::Known(bytes) => bytes,
            Fact::Unknown(why) => {
                remarks.push(format!("{signature}: {why}, so it is not known whose regions are"));
                continue;
            }
        };
        match Table::read(bytes) {
            Ok((table, findings)) => {
                let mut grave = findings.iter().filter(|it| it.code.severity > Severity::Note);
                let told = grave.by_ref().take(MOST_FINDINGS);
                remarks.extend(told.map(|finding| format!("{signature}: {finding}")));
                let rest = grave.count();
                if rest > 0 {
                    remarks.push(format!("{signature}: {rest} more findings"));
                }
                tables.push(table);
            }
            Err(refusal) => remarks.push(format!("{signature}: {}", refusal.detail())),
        }
    }
    tables
}

#[cfg(test)]
mod tests;
