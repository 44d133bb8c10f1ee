//! What `tables --json` prints.

use ringfence_addr::PciAddress;
use ringfence_tables::{ReservedRegion, reserved_regions};
use serde::Serialize;

use super::source::{Found, Named};

#[derive(Serialize)]
pub(super) struct Answer {
    schema: &'static str,
    tables: Vec<OneTable>,
    remarks: Vec<String>,
}

#[derive(Serialize)]
struct OneTable {
    file: String,
    signature: String,
    revision: u8,
    length: u32,
    structures: Vec<Structure>,
    regions: Vec<Region>,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Structure {
    offset: String,
    name: String,
    text: String,
}

#[derive(Serialize)]
struct Region {
    first: String,
    last: String,
    devices: Vec<String>,
    kind: String,
    rights: String,
    may_remap: bool,
    offset: String,
    /// The functions of the host that are meant; none without a host.
    functions: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Finding {
    code: &'static str,
    severity: String,
    offset: String,
    detail: String,
    sentence: &'static str,
    linux: &'static str,
    xen: &'static str,
}

impl Answer {
    pub(super) fn new(found: &Found) -> Self {
        let tables = found.tables.iter().map(|named| one(found, named)).collect();
        Self { schema: "ringfence.tables/1", tables, remarks: found.remarks.clone() }
    }
}

fn one(found: &Found, named: &Named) -> OneTable {
    let header = &named.table.header;
    let structure = |line: ringfence_tables::Line| Structure {
        offset: format!("{:#x}", line.offset),
        name: line.name.trim().to_owned(),
        text: line.text,
    };
    let regions = reserved_regions([&named.table]);
    let finding = |finding: &ringfence_tables::Finding| Finding {
        code: finding.code.name,
        severity: finding.code.severity.to_string(),
        offset: format!("{:#x}", finding.offset),
        detail: finding.detail.clone(),
        sentence: finding.code.sentence,
        linux: finding.code.linux,
        xen: finding.code.xen,
    };
    OneTable {
        file: named.file.clone(),
        signature: header.signature.to_string(),
        revision: header.revision,
        length: header.length,
        structures: named.table.outline().into_iter().map(structure).collect(),
        regions: regions.iter().map(|it| region(found, it)).collect(),
        findings: named.findings.iter().map(finding).collect(),
    }
}

fn region(found: &Found, region: &ReservedRegion) -> Region {
    Region {
        first: region.span.first().to_string(),
        last: region.span.last().to_string(),
        devices: region.devices.iter().map(ToString::to_string).collect(),
        kind: region.kind.to_string(),
        rights: region.rights.to_string(),
        may_remap: region.may_remap,
        offset: format!("{:#x}", region.offset),
        functions: meant(found, region).map(|all| all.iter().map(ToString::to_string).collect()),
    }
}

/// The functions of the host that a region is for, by address; none without a host.
pub(super) fn meant(found: &Found, region: &ReservedRegion) -> Option<Vec<PciAddress>> {
    let functions = found.functions.as_ref()?;
    let is_meant = |address: &&PciAddress| {
        region.devices.iter().any(|devices| devices.include(**address, functions) == Some(true))
    };
    Some(functions.by_address.keys().filter(is_meant).copied().collect())
}
