//! The kernel's lists and the tables' regions put together: one region for what both tell of.
//!
//! The kernel joins regions of one kind that overlap or touch, per group, and does not say whose
//! they are. So a line is parted again where tables have their borders; what of a line no table
//! tells of is a region of its own.

use std::collections::BTreeSet;

use ringfence_addr::{Alignment, Hpa, PciAddress, Span, SpanSet};

use crate::fact::Fact;
use crate::host::Host;

use super::listed::Lists;
use super::tabled::ASSERTED;
use super::windows::{self, FLOPPY};
use super::{HostMemory, IommuMaker, Owners, Region, RegionKind};

/// Pairs of a line and a region looked at, at most. Real hosts have some hundred.
const MOST_PAIRS: usize = 1 << 22;

/// Disagreements told, at most.
const MOST_REMARKS: usize = 32;

/// A line of the kernel's lists.
struct Line {
    span: Span<Hpa>,
    kind: RegionKind,
    /// The functions of the groups that have it.
    members: BTreeSet<PciAddress>,
    /// For people: `reserved_regions of groups 3, 4`.
    source: String,
}

/// Takes what the kernel lists into what tables state.
pub(super) fn take(host: &Host, lists: &Lists, memory: &mut HostMemory) {
    let mut merge = Merge {
        listed: vec![false; memory.regions.len()],
        regions: std::mem::take(&mut memory.regions),
        added: Vec::new(),
        remarks: Vec::new(),
        pairs: 0,
        has_tables: host.table_bytes.values().any(Fact::is_known),
    };
    let listing: BTreeSet<u32> = lists.regions.values().flatten().copied().collect();
    for (&(span, kind), groups) in &lists.regions {
        let line = Line { span, kind, members: lists.functions(groups), source: source(groups) };
        if kind >= RegionKind::SoftwareMsi {
            let for_all = *groups == listing;
            let owners = if for_all { Owners::All } else { Owners::Among(line.members.clone()) };
            merge.added.push(line.region(span, owners));
            continue;
        }
        let isa = match memory.iommu {
            Fact::Known(IommuMaker::Intel) => {
                windows::isa_bridges(host, line.members.iter().copied())
            }
            _ => BTreeSet::new(),
        };
        merge.take(&line, isa);
    }
    // Before the others, of which one cause may make many.
    let mut unlisted_regions = Vec::new();
    for (region, _) in merge.regions.iter().zip(&merge.listed).filter(|(_, listed)| !**listed) {
        unlisted_regions.extend(unlisted(host, lists, region));
    }
    merge.remarks.splice(..0, unlisted_regions);
    if merge.pairs > MOST_PAIRS {
        let remark = "too many regions to look for each in every list of the kernel";
        memory.remarks.push(remark.to_owned());
    }
    let more = merge.remarks.len().saturating_sub(MOST_REMARKS);
    memory.remarks.extend(merge.remarks.into_iter().take(MOST_REMARKS));
    if more > 0 {
        memory.remarks.push(format!("{more} more disagreements of tables and kernel"));
    }
    memory.regions = merge.regions;
    memory.regions.append(&mut merge.added);
}

struct Merge {
    /// The tables'.
    regions: Vec<Region>,
    /// Which of them the kernel lists.
    listed: Vec<bool>,
    /// What the kernel alone lists.
    added: Vec<Region>,
    remarks: Vec<String>,
    pairs: usize,
    has_tables: bool,
}

impl Merge {
    /// Takes a line of what is mapped one to one. `isa` are the bridges to ISA it may be for.
    fn take(&mut self, line: &Line, isa: BTreeSet<PciAddress>) {
        let mut rest = SpanSet::from(line.span);
        let floppy = Span::new(Hpa::new(FLOPPY.0), Hpa::new(FLOPPY.1));
        if let Some(floppy) = floppy
            && !isa.is_empty()
            && line.kind == RegionKind::Relaxable
            && line.span.encloses(&floppy)
        {
            rest.remove(floppy);
            let mut region = line.region(floppy, Owners::These(isa));
            region.sources.push("Linux's way round floppy controllers".to_owned());
            self.added.push(region);
        }
        let meant = self.meant(line);
        for &at in &meant {
            rest.remove(pages(&self.regions[at]));
            let other = |it: &usize| {
                self.regions[*it].span == self.regions[at].span
                    && self.regions[*it].kind == line.kind
            };
            // What it is for another function of the group has the other line.
            if self.regions[at].kind != line.kind && meant.iter().any(other) {
                continue;
            }
            self.listed[at] = true;
            self.join(at, line);
        }
        for piece in rest.iter() {
            if self.has_tables {
                let Line { span, source, .. } = line;
                self.remarks.push(format!(
                    "{source} has {span}, of which no table states {piece} for them"
                ));
            }
            self.added.push(line.region(piece, Owners::Among(line.members.clone())));
        }
    }

    /// The tables' regions that the line may be of.
    fn meant(&mut self, line: &Line) -> Vec<usize> {
        if self.pairs > MOST_PAIRS {
            return Vec::new();
        }
        self.pairs += self.regions.len();
        let regions = self.regions.iter().enumerate();
        let meant = regions.filter(|(_, region)| {
            pages(region).overlaps(&line.span)
                && line.members.iter().any(|member| region.owners.may_include(*member))
        });
        meant.map(|(at, _)| at).collect()
    }

    /// The line tells of this region.
    fn join(&mut self, at: usize, line: &Line) {
        let region = &mut self.regions[at];
        let Line { span, kind, source, .. } = line;
        if region.kind != *kind {
            if !region.sources.iter().any(|source| source == ASSERTED) {
                self.remarks.push(format!(
                    "{} {} would be {}, and {source} has it as {kind}",
                    region.sources[0], region.span, region.kind
                ));
            }
            region.kind = *kind;
        }
        region.sources.retain(|source| source != ASSERTED);
        region.sources.push(source.clone());
        if !span.encloses(&region.span) {
            self.remarks.push(format!(
                "{} states {}, of which {source} has {span} alone",
                region.sources[0], region.span
            ));
        }
    }
}

impl Line {
    fn region(&self, span: Span<Hpa>, owners: Owners) -> Region {
        windows::region(span, self.kind, owners, self.source.clone())
    }
}

fn pages(region: &Region) -> Span<Hpa> {
    region.span.aligned_out(Alignment::PAGE_4K)
}

/// What is to be said of a region that no list has, if its owners' groups have lists.
fn unlisted(host: &Host, lists: &Lists, region: &Region) -> Option<String> {
    let group = |owner: &PciAddress| {
        let group = host.function(*owner)?.kernel_group.known().copied().flatten()?;
        lists.read.contains(&group).then_some((*owner, group))
    };
    let (owner, group) = match &region.owners {
        Owners::These(owners) => owners.iter().find_map(group)?,
        Owners::Range(first, last) => {
            host.functions.range(first..=last).find_map(|(address, _)| group(address))?
        }
        Owners::All => host.functions.keys().find_map(group)?,
        Owners::Among(_) | Owners::Unknown => return None,
    };
    let cut = if lists.cut.contains(&group) { ", whose list was cut" } else { "" };
    Some(format!(
        "{} states {} for {owner}, and the kernel does not list it for group {group}{cut}",
        region.sources.first()?,
        region.span
    ))
}

/// For people, and no longer than they read.
fn source(groups: &BTreeSet<u32>) -> String {
    let several = if groups.len() == 1 { "" } else { "s" };
    let first: Vec<_> = groups.iter().take(8).map(u32::to_string).collect();
    let more =
        if groups.len() > 8 { format!(" and {} more", groups.len() - 8) } else { String::new() };
    format!("reserved_regions of group{several} {}{more}", first.join(", "))
}
