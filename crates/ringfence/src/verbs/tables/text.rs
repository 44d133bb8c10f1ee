//! What `tables` prints for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, Table, presets};
use ringfence_tables::{Finding, FindingCode, ReservedRegion, Severity, reserved_regions};

use super::answer::meant;
use super::source::{Found, Named};
use crate::size::Bytes;
use crate::talk::printable;

const STRONG: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default().bold();
const ODD: Style = AnsiColor::Yellow.on_default();

/// Places named of one kind of finding; more are counted.
const PLACES: usize = 8;

pub(super) fn text(found: &Found) -> String {
    let tables = found.tables.iter().map(|named| one(found, named));
    tables.collect::<Vec<_>>().join("\n")
}

fn one(found: &Found, named: &Named) -> String {
    let header = &named.table.header;
    let (signature, revision, length) = (header.signature, header.revision, header.length);
    let maker = [header.oem_id.as_slice(), header.oem_table_id.as_slice()]
        .map(|id| String::from_utf8_lossy(id).trim_matches(['\0', ' ']).to_owned())
        .join(" ");
    let (file, maker) = (printable(&named.file), printable(&maker));
    // Writing to a String cannot fail.
    let mut text = format!("{STRONG}{file}{STRONG:#}\n");
    let _ = writeln!(text, "{signature}, revision {revision}, {length} bytes, by {maker}\n");
    let mut structures = plain(&["OFFSET", "WHAT", ""]);
    for line in named.table.outline() {
        structures.add_row([format!("{:#x}", line.offset), line.name, printable(&line.text)]);
    }
    push(&mut text, &structures);
    let regions = reserved_regions([&named.table]);
    if !regions.is_empty() {
        text.push('\n');
        push(&mut text, &reserved(found, &regions));
    }
    text.push('\n');
    text.push_str(&findings(&named.findings));
    text
}

fn plain(titles: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(titles.iter().copied());
    table
}

fn push(text: &mut String, table: &Table) {
    for line in table.lines() {
        text.push_str(line.trim());
        text.push('\n');
    }
}

fn reserved(found: &Found, regions: &[ReservedRegion]) -> Table {
    let mut table = plain(&["RESERVED", "SIZE", "KIND", "DEVICES"]);
    for region in regions {
        let devices: Vec<String> = region.devices.iter().map(ToString::to_string).collect();
        let mut devices = if devices.is_empty() { "nobody".to_owned() } else { devices.join(", ") };
        // What the table names by paths and ranges is named by address where the host is known.
        if let Some(meant) = meant(found, region) {
            let meant: Vec<String> = meant.iter().map(ToString::to_string).collect();
            let meant = if meant.is_empty() { "none here".to_owned() } else { meant.join(" ") };
            if meant != devices {
                let _ = write!(devices, " ({meant})");
            }
        }
        let size = region
            .span
            .length_u64()
            .map_or_else(|| "all".to_owned(), |length| Bytes(length.get()).to_string());
        let size = Cell::new(size).set_alignment(CellAlignment::Right);
        let kind = region.kind.to_string();
        table.add_row([
            Cell::new(region.span),
            size,
            Cell::new(kind),
            Cell::new(printable(&devices)),
        ]);
    }
    table
}

/// Each kind of finding once, the worst first, with its places.
fn findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "Nothing odd about it.\n".to_owned();
    }
    let mut by_code: BTreeMap<(std::cmp::Reverse<Severity>, &str), Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        let key = (std::cmp::Reverse(finding.code.severity), finding.code.name);
        by_code.entry(key).or_default().push(finding);
    }
    by_code.values().filter_map(|all| Some(of_code(all.first()?.code, all))).collect()
}

fn of_code(code: &FindingCode, all: &[&Finding]) -> String {
    let style = match code.severity {
        Severity::Error => BAD,
        Severity::Warning => ODD,
        Severity::Note => Style::new(),
    };
    let FindingCode { name, severity, sentence, linux, xen } = code;
    let mut text = format!("{style}{severity}{style:#} {STRONG}{name}{STRONG:#}: {sentence}\n");
    for finding in all.iter().take(PLACES) {
        let _ = writeln!(text, "  at {:#x}: {}", finding.offset, printable(&finding.detail));
    }
    if all.len() > PLACES {
        let _ = writeln!(text, "  and {} more", all.len() - PLACES);
    }
    let _ = writeln!(text, "  {QUIET}Linux:{QUIET:#} {linux}\n  {QUIET}Xen:{QUIET:#} {xen}");
    text
}
