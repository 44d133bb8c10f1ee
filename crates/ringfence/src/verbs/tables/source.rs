//! Where the tables come from: files, another host, or this one.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ringfence_host::{Fact, Host, Unknown, pci_functions};
use ringfence_refusal::{Failure, Fault};
use ringfence_tables::{Finding, PciFunctions, TABLE_BYTES_MAX, Table, findings_on_host};

use crate::cli::Tables;
use crate::exit::Exit;
use crate::host_source;
use crate::talk::Trouble;

/// What was read.
pub(super) struct Found {
    /// The tables, in order.
    pub(super) tables: Vec<Named>,
    /// The functions they are about, if a host was given.
    pub(super) functions: Option<PciFunctions>,
    /// What people should know besides.
    pub(super) remarks: Vec<String>,
}

/// A table and where it was read.
pub(super) struct Named {
    pub(super) file: String,
    pub(super) table: Table,
    pub(super) findings: Vec<Finding>,
}

pub(super) fn tables(arguments: &Tables) -> anyhow::Result<Found> {
    if arguments.files.is_empty() {
        let host = host_source::host(arguments.from.as_deref(), false)?;
        return of_host(&host);
    }
    let functions = match &arguments.from {
        Some(path) => Some(pci_functions(&host_source::host(Some(path), false)?)),
        None => None,
    };
    let mut tables = Vec::new();
    for path in &arguments.files {
        tables.push(named(path.display().to_string(), &bytes(path)?, functions.as_ref())?);
    }
    Ok(Found { tables, functions, remarks: Vec::new() })
}

/// The bytes of a file, and one more than a table has at most, so that too many are seen as such.
fn bytes(path: &Path) -> Result<Vec<u8>, Fault> {
    let fault = |operation| {
        move |error: std::io::Error| Fault::new(operation, path.display().to_string(), error)
    };
    let file = File::open(path).map_err(fault("open"))?;
    let mut bytes = Vec::new();
    let most = u64::try_from(TABLE_BYTES_MAX).expect("1 MiB") + 1;
    file.take(most).read_to_end(&mut bytes).map_err(fault("read"))?;
    Ok(bytes)
}

fn named(file: String, bytes: &[u8], functions: Option<&PciFunctions>) -> Result<Named, Failure> {
    let (table, mut findings) = Table::read(bytes).map_err(|refusal| refusal.within(&file))?;
    findings.extend(functions.iter().flat_map(|functions| findings_on_host(&table, functions)));
    findings.sort_by_key(|finding| (finding.offset, finding.code.name));
    Ok(Named { file, table, findings })
}

fn of_host(host: &Host) -> anyhow::Result<Found> {
    let functions = pci_functions(host);
    let (mut tables, mut remarks) = (Vec::new(), Vec::new());
    let mut is_denied = matches!(host.tables, Fact::Unknown(Unknown::NeedsRoot));
    for (signature, bytes) in &host.table_bytes {
        match bytes {
            Fact::Known(bytes) => {
                let file = format!("/sys/firmware/acpi/tables/{signature}");
                tables.push(named(file, bytes, Some(&functions))?);
            }
            Fact::Unknown(why) => {
                is_denied |= *why == Unknown::NeedsRoot;
                remarks.push(format!("{signature} could not be read: {why}"));
            }
        }
    }
    if tables.is_empty() && is_denied {
        let next = "run it as root, or give --from a snapshot that root took";
        let what = "the kernel shows firmware's tables to root alone";
        return Err(Trouble::new(Exit::NotPermitted, what, next).into());
    }
    if tables.is_empty() {
        remarks.push(match host.tables {
            Fact::Known(_) => "firmware has no table that describes an IOMMU".to_owned(),
            Fact::Unknown(why) => format!("firmware's tables are unknown: {why}"),
        });
    }
    Ok(Found { tables, functions: Some(functions), remarks })
}
