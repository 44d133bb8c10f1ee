//! What is odd about a DMAR.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::{Alignment, Hpa, PciAddress, Span};

use super::units::Units;
use super::{Dmar, Drhd, Rmrr, STRUCTURES_AT, Scope, ScopeKind, ScopePath, Structure};
use crate::finding::Finding;
use crate::sweep::overlaps;
use crate::wire::{Wire, placed};
use crate::{codes, place};

/// Offset of the address width in the table.
const WIDTH_AT: usize = 36;
/// Widths that an IOMMU has had, or could have by its page tables.
const WIDTHS: std::ops::RangeInclusive<u16> = 32..=57;

impl Rmrr {
    /// Where it is; none if it ends before it begins.
    pub fn span(&self) -> Option<Span<Hpa>> {
        Span::new(Hpa::new(self.base), Hpa::new(self.limit))
    }
}

impl Dmar {
    pub(crate) fn find(&self, findings: &mut Vec<Finding>) {
        self.find_whole(findings);
        let units = Units::of(self);
        for (at, structure) in self.placed() {
            if let Some((segment, scopes, before)) = structure.scopes() {
                find_scopes(segment, scopes, at + before, findings);
            }
            match structure {
                Structure::Rmrr(rmrr) => self.find_rmrr(at, rmrr, &units, findings),
                Structure::Andd(andd) if !andd.name.contains(&0) => {
                    let detail = andd.name.escape_ascii().to_string();
                    findings.push(Finding::new(&codes::ANDD_NAME, at, detail));
                }
                Structure::Rhsa(rhsa) if !units.has(rhsa.base) => {
                    let detail = format!("no unit is at {:#x}", rhsa.base);
                    findings.push(Finding::new(&codes::RHSA_NO_UNIT, at, detail));
                }
                Structure::Unknown { kind, body } => {
                    let is_short = *kind <= 6;
                    let code = if is_short { &codes::DMAR_SHORT } else { &codes::DMAR_UNKNOWN };
                    let detail = format!("type {kind} with {} bytes", body.len());
                    findings.push(Finding::new(code, at, detail));
                }
                _ => {}
            }
        }
        self.find_units(findings);
        self.find_overlaps(findings);
    }

    fn find_whole(&self, findings: &mut Vec<Finding>) {
        let end = STRUCTURES_AT + self.structures.iter().map(Wire::size).sum::<usize>();
        if !self.rest.is_empty() {
            let is_zero = matches!(self.rest[..], [_, _, 0, 0, ..]);
            let code = if is_zero { &codes::DMAR_ZERO_LENGTH } else { &codes::DMAR_PAST_END };
            let detail = format!("{} bytes that are no structure", self.rest.len());
            findings.push(Finding::new(code, end, detail));
        }
        if !WIDTHS.contains(&self.address_bits()) {
            let detail = format!("{} bits", self.address_bits());
            findings.push(Finding::new(&codes::DMAR_WIDTH, WIDTH_AT, detail));
        }
        if self.reserved != [0; 10] || self.rmrrs().any(|(_, rmrr)| rmrr.reserved != 0) {
            findings.push(Finding::new(&codes::RESERVED, WIDTH_AT + 2, "of DMAR or RMRR"));
        }
        if self.drhds().next().is_none() {
            findings.push(Finding::new(&codes::DMAR_NO_UNITS, STRUCTURES_AT, "no DRHD"));
        }
    }

    fn find_rmrr(&self, at: usize, rmrr: &Rmrr, units: &Units, findings: &mut Vec<Finding>) {
        let mut say = |code, detail: String| findings.push(Finding::new(code, at, detail));
        let Some(span) = rmrr.span() else {
            say(&codes::RMRR_INVERTED, format!("{:#x} to {:#x}", rmrr.base, rmrr.limit));
            return;
        };
        if !span.is_aligned(Alignment::PAGE_4K) {
            say(&codes::RMRR_UNALIGNED, span.to_string());
        }
        for code in place::of_pc(span) {
            say(code, span.to_string());
        }
        let bits = self.address_bits();
        if bits < 64 && span.last().get() >> bits != 0 {
            say(&codes::RMRR_BEYOND_WIDTH, format!("{span}, where addresses have {bits} bits"));
        }
        let paths: BTreeSet<ScopePath> = rmrr
            .scopes
            .list
            .iter()
            .filter(|scope| matches!(scope.kind, ScopeKind::Endpoint | ScopeKind::Bridge))
            .filter_map(|scope| scope.path(rmrr.segment))
            .collect();
        if rmrr.scopes.list.is_empty() {
            say(&codes::RMRR_NO_SCOPE, span.to_string());
        }
        if paths.len() > 1 || rmrr.scopes.list.iter().any(|it| it.kind == ScopeKind::Bridge) {
            let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
            say(&codes::RMRR_SHARED, format!("{span} of {}", paths.join(", ")));
        }
        for path in paths.iter().filter(|path| !units.has_for(path)) {
            say(&codes::RMRR_NO_UNIT, format!("{span} of {path}"));
        }
    }

    fn find_units(&self, findings: &mut Vec<Finding>) {
        let mut bases = BTreeSet::new();
        let mut all: BTreeMap<u16, usize> = BTreeMap::new();
        let mut named: BTreeMap<(u8, ScopePath), usize> = BTreeMap::new();
        let mut ports: BTreeSet<u16> = BTreeSet::new();
        for (at, structure) in self.placed() {
            let mut say = |code, detail: String| findings.push(Finding::new(code, at, detail));
            match structure {
                Structure::Drhd(drhd) => {
                    if matches!(drhd.base, 0 | u64::MAX) {
                        say(&codes::DRHD_BASE, format!("{:#x}", drhd.base));
                    } else if drhd.base & 0xfff != 0 {
                        say(&codes::DRHD_UNALIGNED, format!("{:#x}", drhd.base));
                    }
                    if !bases.insert((drhd.segment, drhd.base)) {
                        say(&codes::DRHD_TWICE, format!("{:#x}", drhd.base));
                    }
                    if let Some(first) = all.get(&drhd.segment) {
                        let code = match drhd.includes_all() {
                            true => &codes::DRHD_TWO_ALL,
                            false => &codes::DRHD_ALL_NOT_LAST,
                        };
                        say(code, format!("segment {}: {first:#x} does", drhd.segment));
                    } else if drhd.includes_all() {
                        all.insert(drhd.segment, at);
                    }
                    for key in keys(drhd) {
                        let path = key.1.clone();
                        if let Some(before) = named.insert(key, at).filter(|before| *before != at) {
                            say(&codes::SCOPE_TWO_UNITS, format!("{path}, too, at {before:#x}"));
                        }
                    }
                }
                Structure::Atsr(atsr) if atsr.flags & 1 != 0 && !ports.insert(atsr.segment) => {
                    say(&codes::ATSR_TWO_ALL, format!("segment {}", atsr.segment));
                }
                _ => {}
            }
        }
    }

    fn find_overlaps(&self, findings: &mut Vec<Finding>) {
        let spans: Vec<(usize, Span<Hpa>)> =
            self.rmrrs().filter_map(|(at, rmrr)| Some((at, rmrr.span()?))).collect();
        let by_offset: BTreeMap<usize, Span<Hpa>> = spans.iter().copied().collect();
        for (one, other) in overlaps(&spans) {
            let (before, at) = (one.min(other), one.max(other));
            let detail = format!("{} and {} at {before:#x}", by_offset[&at], by_offset[&before]);
            findings.push(Finding::new(&codes::RMRR_OVERLAP, at, detail));
        }
    }
}

/// What a unit names that only one should.
fn keys(drhd: &Drhd) -> impl Iterator<Item = (u8, ScopePath)> {
    let devices = drhd.scopes.list.iter();
    let devices = devices.filter(|it| matches!(it.kind, ScopeKind::Endpoint | ScopeKind::Bridge));
    devices.filter_map(|scope| Some((scope.kind.number(), scope.path(drhd.segment)?)))
}

fn find_scopes(segment: u16, scopes: &super::Scopes, at: usize, findings: &mut Vec<Finding>) {
    let mut seen: BTreeSet<(ScopeKind, u8, Option<ScopePath>)> = BTreeSet::new();
    for (at, scope) in placed(&scopes.list, at) {
        let mut say = |code, detail: String| findings.push(Finding::new(code, at, detail));
        let path = scope.path(segment);
        let shown = path.as_ref().map_or_else(|| "no path".to_owned(), ToString::to_string);
        if path.is_none() {
            say(&codes::SCOPE_NO_PATH, format!("type {}", scope.kind.number()));
        }
        if scope.odd.is_some() || has_bad_hop(scope) {
            say(&codes::SCOPE_PATH, shown.clone());
        }
        if let ScopeKind::Unknown(kind) = scope.kind {
            say(&codes::SCOPE_UNKNOWN, format!("type {kind}"));
        }
        if !seen.insert((scope.kind, scope.enumeration, path)) {
            say(&codes::SCOPE_TWICE, shown);
        }
    }
    if !scopes.rest.is_empty() {
        let at = at + scopes.list.iter().map(Wire::size).sum::<usize>();
        let detail = format!("{} bytes that are no scope", scopes.rest.len());
        findings.push(Finding::new(&codes::SCOPE_BROKEN, at, detail));
    }
}

fn has_bad_hop(scope: &Scope) -> bool {
    let is_bad = |[device, function]: &[u8; 2]| {
        *device > PciAddress::LAST_DEVICE || *function > PciAddress::LAST_FUNCTION
    };
    scope.path.iter().any(is_bad)
}
