//! What can be wrong with any table.

use crate::codes;
use crate::finding::Finding;
use crate::header::HEADER_BYTES;
use crate::table::{Content, Table, sum};

/// Offset of the length in the header.
const LENGTH_AT: usize = 4;
/// Offset of the checksum.
const CHECKSUM_AT: usize = 9;

/// Signatures whose content this crate reads.
const KNOWN: [&[u8; 4]; 4] = [b"DMAR", b"IVRS", b"IORT", b"VIOT"];

/// Findings about the header and what is behind the table.
pub(crate) fn findings(table: &Table) -> Vec<Finding> {
    let mut findings = Vec::new();
    let bytes = table.stated();
    let stated = usize::try_from(table.header.length).unwrap_or(usize::MAX);
    if stated < HEADER_BYTES {
        let detail = format!("the header states {stated} bytes and has {HEADER_BYTES} itself");
        findings.push(Finding::new(&codes::LENGTH_BELOW_HEADER, LENGTH_AT, detail));
    } else if stated > bytes.len() {
        let detail =
            format!("the header states {stated} bytes, of which {} are there", bytes.len());
        findings.push(Finding::new(&codes::LENGTH_BEYOND_FILE, LENGTH_AT, detail));
    } else if stated != bytes.len() {
        let detail = format!("the header states {stated} bytes, the content takes {}", bytes.len());
        findings.push(Finding::new(&codes::LENGTH_BEYOND_FILE, LENGTH_AT, detail));
    }
    if !table.behind.is_empty() {
        let detail = format!("{} bytes behind the {stated} of the table", table.behind.len());
        findings.push(Finding::new(&codes::BYTES_BEHIND, bytes.len(), detail));
    }
    let off = sum(&bytes);
    if off != 0 && stated == bytes.len() {
        let right = table.header.checksum.wrapping_sub(off);
        let detail = format!("{:#04x}, where {right:#04x} would be right", table.header.checksum);
        findings.push(Finding::new(&codes::CHECKSUM, CHECKSUM_AT, detail));
    }
    if let Content::Other(body) = &table.content
        && KNOWN.contains(&&table.header.signature.0)
    {
        let detail = format!("{} bytes behind the header", body.len());
        findings.push(Finding::new(&codes::FIXED_PART_SHORT, HEADER_BYTES, detail));
    }
    findings
}
