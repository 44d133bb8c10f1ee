//! What is odd about an IVRS.

use std::collections::BTreeMap;

use ringfence_addr::{Hpa, Span};

use super::units::Units;
use super::{BLOCKS_AT, Block, DeviceEntry, Ivhd, Ivmd, IvmdFlags, Ivrs};
use crate::finding::Finding;
use crate::ivrs::memory::IVMD_BYTES;
use crate::sweep::overlaps;
use crate::wire::Wire;
use crate::{codes, place};

const PAGE_MASK: u64 = 0xfff;
/// An IOMMU's registers take 16 KiB, or more, and begin at a multiple of that.
const REGISTERS_MASK: u64 = 0x3fff;

impl Ivmd {
    /// Where it is, as stated; none if it is empty or runs over the last address.
    pub fn span(&self) -> Option<Span<Hpa>> {
        Span::from_parts(Hpa::new(self.start), self.length)
    }
}

impl Ivrs {
    pub(crate) fn find(&self, findings: &mut Vec<Finding>) {
        let end = BLOCKS_AT + self.blocks.iter().map(Wire::size).sum::<usize>();
        if !self.rest.is_empty() {
            let is_zero = matches!(self.rest[..], [_, _, 0, 0, ..]);
            let code = if is_zero { &codes::IVRS_ZERO_LENGTH } else { &codes::IVRS_PAST_END };
            let detail = format!("{} bytes that are no block", self.rest.len());
            findings.push(Finding::new(code, end, detail));
        }
        if self.reserved != [0; 8] {
            findings.push(Finding::new(&codes::RESERVED, 40, "of IVRS"));
        }
        if self.ivhds().next().is_none() {
            findings.push(Finding::new(&codes::IVRS_NO_UNITS, BLOCKS_AT, "no IVHD"));
        }
        let units = Units::of(self);
        for (at, block) in self.placed() {
            match block {
                Block::Ivhd(ivhd) => find_ivhd(at, ivhd, findings),
                Block::Ivmd(ivmd) => Self::find_ivmd(at, ivmd, &units, findings),
                Block::Unknown { kind, body, .. } => {
                    let is_short = matches!(kind, 0x10 | 0x11 | 0x40 | 0x20..=0x23);
                    let code = if is_short { &codes::IVRS_SHORT } else { &codes::IVRS_UNKNOWN };
                    let detail = format!("type {kind:#x} with {} bytes", body.len());
                    findings.push(Finding::new(code, at, detail));
                }
            }
        }
        self.find_overlaps(findings);
    }

    fn find_ivmd(at: usize, ivmd: &Ivmd, units: &Units, findings: &mut Vec<Finding>) {
        let mut say = |code, detail: String| findings.push(Finding::new(code, at, detail));
        let Ivmd { start, length, flags, device, last, .. } = *ivmd;
        let stated = format!("{length:#x} bytes from {start:#x}");
        if ivmd.size_in_table() != IVMD_BYTES {
            say(&codes::IVMD_SIZE, format!("{} bytes", ivmd.size_in_table()));
        }
        if ivmd.reserved != [0; 6] {
            say(&codes::RESERVED, "of IVMD".to_owned());
        }
        match ivmd.span() {
            Some(span) => {
                for code in place::of_pc(span) {
                    say(code, span.to_string());
                }
                if place::overlaps(span, place::HYPERTRANSPORT) {
                    say(&codes::IVMD_HOLE, span.to_string());
                }
            }
            None if length == 0 => say(&codes::IVMD_EMPTY, stated.clone()),
            None => say(&codes::REGION_WRAPS, stated.clone()),
        }
        if length & PAGE_MASK != 0 {
            say(&codes::IVMD_LENGTH, stated.clone());
        }
        if start & PAGE_MASK != 0 {
            let up = start.checked_add(PAGE_MASK).map_or(0, |sum| sum & !PAGE_MASK);
            say(&codes::IVMD_UNALIGNED, format!("{stated}; Linux begins at {up:#x}"));
        }
        let rights = flags & (IvmdFlags::READ | IvmdFlags::WRITE);
        if ivmd.is_exclusion() {
            say(&codes::IVMD_EXCLUSION, format!("{stated}, flags {flags:#x}"));
        } else if !ivmd.is_unity() {
            say(&codes::IVMD_FLAGS, format!("{stated}, flags {flags:#x}"));
        } else if rights != IvmdFlags::READ | IvmdFlags::WRITE {
            say(&codes::IVMD_RIGHTS, format!("{stated}, flags {flags:#x}"));
        }
        if ivmd.kind == 0x22 && last <= device {
            say(&codes::IVMD_RANGE, format!("{device:#06x} to {last:#06x}"));
        }
        if ivmd.kind == 0x23 {
            say(&codes::IVMD_PER_IOMMU, format!("{stated}, of the IOMMU {device:#06x}"));
        }
        Self::find_devices(at, ivmd, units, findings);
    }

    /// What is odd about the devices it names, given those that IOMMUs have.
    fn find_devices(at: usize, ivmd: &Ivmd, units: &Units, findings: &mut Vec<Finding>) {
        let mut say = |code, detail: String| findings.push(Finding::new(code, at, detail));
        let segment = ivmd.segment;
        if ivmd.kind == 0x23 {
            if !units.has(segment, ivmd.device, ivmd.last) {
                say(&codes::IVMD_NO_IOMMU, format!("the IOMMU {:#06x}", ivmd.device));
            }
            return;
        }
        let Some((first, last)) = ivmd.requesters() else { return };
        if !units.translates(segment, first, last) {
            say(&codes::IVMD_NO_UNIT, format!("{first:#06x} to {last:#06x}"));
        }
        // Xen has room for whole devices up to the last that a block it reads names.
        let highest = units.last(segment) | 7;
        if ivmd.kind != 0x20 && last > highest {
            say(&codes::IVMD_BEYOND_LAST, format!("{last:#06x}, where {highest:#06x} is the last"));
        }
    }

    fn find_overlaps(&self, findings: &mut Vec<Finding>) {
        let blocks: BTreeMap<usize, &Ivmd> = self.ivmds().collect();
        let spans: Vec<(usize, Span<Hpa>)> =
            blocks.iter().filter_map(|(at, ivmd)| Some((*at, ivmd.span()?))).collect();
        for (one, other) in overlaps(&spans) {
            let (before, at) = (one.min(other), one.max(other));
            let (first, second) = (blocks[&before], blocks[&at]);
            let share = match (first.requesters(), second.requesters()) {
                (Some(one), Some(other)) => one.0 <= other.1 && other.0 <= one.1,
                _ => true,
            };
            // The same region stated again for the same devices is no conflict.
            if share && first.segment == second.segment && first.span() != second.span() {
                let detail = format!("{:#x} and {:#x} at {before:#x}", second.start, first.start);
                let code = match first.is_exclusion() || second.is_exclusion() {
                    true => &codes::IVMD_OVERLAP_EXCLUDED,
                    false => &codes::IVMD_OVERLAP,
                };
                findings.push(Finding::new(code, at, detail));
            }
        }
    }
}

impl Ivmd {
    fn size_in_table(&self) -> usize {
        IVMD_BYTES + self.tail.len()
    }
}

fn find_ivhd(at: usize, ivhd: &Ivhd, findings: &mut Vec<Finding>) {
    if ivhd.base == 0 {
        findings.push(Finding::new(&codes::IVHD_BASE, at, "0x0"));
    } else if ivhd.base & REGISTERS_MASK != 0 {
        findings.push(Finding::new(&codes::IVHD_UNALIGNED, at, format!("{:#x}", ivhd.base)));
    }
    let mut range: Option<(usize, u16)> = None;
    let mut end = ivhd.entries_at();
    for (entry_at, entry) in ivhd.placed() {
        end = entry_at + entry.size();
        let at = at + entry_at;
        let mut say = |code, detail: String| findings.push(Finding::new(code, at, detail));
        // Padding may stand inside a range; anything else between its ends is an error.
        let is_padding = matches!(entry.kind(), 0 | 0x40);
        if let Some((began, first)) = range.filter(|_| !is_padding && entry.kind() != 4) {
            say(&codes::IVHD_RANGE, format!("{first:#06x} at {began:#x} has no end before this"));
            range = None;
        }
        match *entry {
            DeviceEntry::Short { kind: 3, device, .. }
            | DeviceEntry::Alias { kind: 0x43, device, .. }
            | DeviceEntry::Extended { kind: 0x47, device, .. } => range = Some((at, device)),
            DeviceEntry::Short { kind: 4, device, .. } => match range.take() {
                Some((_, first)) if first < device => {}
                Some((_, first)) => {
                    say(&codes::IVHD_RANGE, format!("{first:#06x} to {device:#06x}"));
                }
                None => say(&codes::IVHD_RANGE, format!("to {device:#06x}, from nowhere")),
            },
            DeviceEntry::Special { variety, .. } if !matches!(variety, 1 | 2) => {
                say(&codes::IVHD_SPECIAL, format!("variety {variety}"));
            }
            DeviceEntry::Short { kind: 5.., .. }
            | DeviceEntry::Long { kind: 0x41.., .. }
            | DeviceEntry::Reserved { .. } => {
                say(&codes::IVHD_ENTRY_UNKNOWN, format!("type {:#x}", entry.kind()));
            }
            DeviceEntry::Named { .. } if ivhd.kind != 0x40 => {
                say(&codes::IVHD_ENTRY_UNKNOWN, format!("type 0xf0 in a {:#x}", ivhd.kind));
            }
            _ => {}
        }
    }
    if let Some((began, first)) = range {
        let detail = format!("{first:#06x} has no end");
        findings.push(Finding::new(&codes::IVHD_RANGE, began, detail));
    }
    if !ivhd.entries.rest.is_empty() {
        let detail = format!("{} bytes that are no entry", ivhd.entries.rest.len());
        findings.push(Finding::new(&codes::IVHD_ENTRY_BROKEN, at + end, detail));
    }
}
