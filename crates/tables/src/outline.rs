//! A table in lines, for people: what stands at which offset.

use std::fmt::Write;

use ringfence_addr::PciAddress;

use crate::dmar::{Dmar, ScopeKind, Scopes, Structure};
use crate::iort::{Iort, NodeKind};
use crate::ivrs::{Block, DeviceEntry, Ivhd, Ivrs};
use crate::{Content, Table, Viot, ViotKind};

/// A line of an outline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Bytes from the beginning of the table.
    pub offset: usize,
    /// What stands there, as its specification calls it: `RMRR`, `IVHD 0x11`.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Line {
    fn new(offset: usize, name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { offset, name: name.into(), text: text.into() }
    }
}

impl Table {
    /// The structures of the table, in order. Reserved fields and padding are not told.
    pub fn outline(&self) -> Vec<Line> {
        match &self.content {
            Content::Dmar(dmar) => of_dmar(dmar),
            Content::Ivrs(ivrs) => of_ivrs(ivrs),
            Content::Iort(iort) => of_iort(iort),
            Content::Viot(viot) => of_viot(viot),
            Content::Other(body) => {
                vec![Line::new(36, "body", format!("{} bytes, kept as they are", body.len()))]
            }
        }
    }
}

fn of_dmar(dmar: &Dmar) -> Vec<Line> {
    let bits = dmar.address_bits();
    let whole = Line::new(36, "DMAR", format!("{bits} address bits, flags {:#x}", dmar.flags));
    let lines = dmar.placed().map(|(at, structure)| match structure {
        Structure::Drhd(it) => {
            let all = if it.includes_all() { ", every other device" } else { "" };
            let names = scopes(it.segment, &it.scopes);
            Line::new(at, "DRHD", format!("registers at {:#x}{all}{names}", it.base))
        }
        Structure::Rmrr(it) => {
            let names = scopes(it.segment, &it.scopes);
            Line::new(at, "RMRR", format!("{:#x}-{:#x}{names}", it.base, it.limit))
        }
        Structure::Atsr(it) => {
            let all = if it.flags & 1 != 0 { ", all ports" } else { "" };
            let names = scopes(it.segment, &it.scopes);
            Line::new(at, "ATSR", format!("segment {:04x}{all}{names}", it.segment))
        }
        Structure::Rhsa(it) => {
            Line::new(at, "RHSA", format!("registers at {:#x}: domain {}", it.base, it.proximity))
        }
        Structure::Andd(it) => {
            let name = it.name.split(|byte| *byte == 0).next().unwrap_or_default();
            Line::new(at, "ANDD", format!("{} is {}", it.number, name.escape_ascii()))
        }
        Structure::Satc(it) => {
            let names = scopes(it.segment, &it.scopes);
            Line::new(at, "SATC", format!("flags {:#x}{names}", it.flags))
        }
        Structure::Sidp(it) => {
            let names = scopes(it.segment, &it.scopes);
            Line::new(at, "SIDP", format!("segment {:04x}{names}", it.segment))
        }
        Structure::Unknown { kind, body } => unknown(at, *kind, body.len()),
    });
    std::iter::once(whole).chain(lines).collect()
}

fn scopes(segment: u16, scopes: &Scopes) -> String {
    let mut text = String::new();
    for scope in &scopes.list {
        let (kind, number) = match scope.kind {
            ScopeKind::Endpoint => ("endpoint".to_owned(), None),
            ScopeKind::Bridge => ("bridge".to_owned(), None),
            ScopeKind::IoApic => ("I/O APIC".to_owned(), Some(scope.enumeration)),
            ScopeKind::Hpet => ("HPET".to_owned(), Some(scope.enumeration)),
            ScopeKind::Namespace => ("ACPI device".to_owned(), Some(scope.enumeration)),
            ScopeKind::Unknown(kind) => (format!("scope {kind}"), Some(scope.enumeration)),
        };
        // Writing to a String cannot fail.
        let _ = write!(text, ", {kind}");
        let _ = number.map(|number| write!(text, " {number}"));
        let _ = scope.path(segment).map(|path| write!(text, " {path}"));
    }
    text
}

fn unknown(at: usize, kind: u16, bytes: usize) -> Line {
    Line::new(at, format!("type {kind:#x}"), format!("{bytes} bytes, kept as they are"))
}

fn of_ivrs(ivrs: &Ivrs) -> Vec<Line> {
    let mut lines = vec![Line::new(36, "IVRS", format!("info {:#x}", ivrs.info))];
    for (at, block) in ivrs.placed() {
        match block {
            Block::Ivhd(ivhd) => {
                let own = PciAddress::from_requester_id(ivhd.segment.into(), ivhd.device);
                let text = format!("{own}, registers at {:#x}", ivhd.base);
                lines.push(Line::new(at, format!("IVHD {:#x}", ivhd.kind), text));
                lines.extend(ivhd.placed().filter_map(|(more, it)| entry(at + more, ivhd, it)));
            }
            Block::Ivmd(ivmd) => {
                let segment = ivmd.segment.into();
                let id = |id| PciAddress::from_requester_id(segment, id);
                let whose = match ivmd.kind {
                    0x20 => "all devices".to_owned(),
                    0x21 => id(ivmd.device).to_string(),
                    0x22 => format!("{} to {}", id(ivmd.device), id(ivmd.last)),
                    _ => format!("devices of the IOMMU {}", id(ivmd.device)),
                };
                let (length, start, flags) = (ivmd.length, ivmd.start, ivmd.flags);
                let text = format!("{length:#x} bytes from {start:#x}, flags {flags:#x}, {whose}");
                lines.push(Line::new(at, format!("IVMD {:#x}", ivmd.kind), text));
            }
            Block::Unknown { kind, body, .. } => {
                lines.push(unknown(at, (*kind).into(), body.len()));
            }
        }
    }
    lines
}

fn entry(at: usize, ivhd: &Ivhd, entry: &DeviceEntry) -> Option<Line> {
    let id = |id| PciAddress::from_requester_id(ivhd.segment.into(), id);
    let text = match entry {
        DeviceEntry::Short { kind: 0, .. } | DeviceEntry::Long { kind: 0x40, .. } => return None,
        DeviceEntry::Short { kind: 1, .. } => "all devices".to_owned(),
        DeviceEntry::Short { kind: 3, device, .. } => format!("from {}", id(*device)),
        DeviceEntry::Short { kind: 4, device, .. } => format!("to {}", id(*device)),
        DeviceEntry::Short { device, .. } => id(*device).to_string(),
        DeviceEntry::Alias { kind, device, alias, .. } => {
            let from = if *kind == 0x43 { "from " } else { "" };
            format!("{from}{}, by the id of {}", id(*device), id(*alias))
        }
        DeviceEntry::Extended { kind, device, extended, .. } => {
            let from = if *kind == 0x47 { "from " } else { "" };
            format!("{from}{}, extended {extended:#x}", id(*device))
        }
        DeviceEntry::Special { handle, device, variety, .. } => {
            let what = match variety {
                1 => "I/O APIC".to_owned(),
                2 => "HPET".to_owned(),
                other => format!("variety {other}"),
            };
            format!("{what} {handle} as {}", id(*device))
        }
        DeviceEntry::Named { device, hardware_id, unique, .. } => {
            let name = hardware_id.escape_ascii();
            format!("{name} {} as {}", unique.escape_ascii(), id(*device))
        }
        DeviceEntry::Long { .. } | DeviceEntry::Reserved { .. } => "kept as it is".to_owned(),
    };
    Some(Line::new(at, format!("  entry {:#x}", entry.kind()), text))
}

fn of_iort(iort: &Iort) -> Vec<Line> {
    let mut lines = vec![Line::new(36, "IORT", format!("{} nodes", iort.count))];
    for (at, node) in iort.placed() {
        let (name, text) = match node.decode() {
            NodeKind::ItsGroup(units) => ("ITS group", format!("{units:?}")),
            NodeKind::Named(named) => ("named component", named.name_text()),
            NodeKind::RootComplex(it) => ("root complex", format!("segment {:04x}", it.segment)),
            NodeKind::SmmuV1(it) => ("SMMU", format!("registers at {:#x}", it.base)),
            NodeKind::SmmuV3(it) => ("SMMUv3", format!("registers at {:#x}", it.base)),
            NodeKind::Pmcg(base) => ("PMCG", format!("registers at {base:#x}")),
            NodeKind::Rmr(rmr) => ("RMR", format!("flags {:#x}", rmr.flags)),
            NodeKind::Unknown => {
                lines.push(unknown(at, node.kind.into(), node.body.len()));
                continue;
            }
        };
        lines.push(Line::new(at, name, text));
        let offset = usize::try_from(node.mapping_offset).unwrap_or_default();
        for (index, mapping) in node.mappings().into_iter().enumerate() {
            let (input, output) = (mapping.input_base, mapping.output_base);
            let (more, target) = (mapping.count, mapping.output);
            let single = if mapping.is_single() { ", single" } else { "" };
            let text =
                format!("{input:#x} and {more:#x} more to {output:#x} of {target:#x}{single}");
            lines.push(Line::new(at + offset + 20 * index, "  ids", text));
        }
        for (piece_at, piece) in node.descriptors() {
            let text = format!("{:#x} bytes from {:#x}", piece.length, piece.base);
            lines.push(Line::new(at + piece_at, "  memory", text));
        }
    }
    lines
}

fn of_viot(viot: &Viot) -> Vec<Line> {
    let whole = Line::new(36, "VIOT", format!("{} nodes", viot.count));
    let lines = viot.placed().map(|(at, node)| match &node.kind {
        ViotKind::PciRange(it) => {
            let first = PciAddress::from_requester_id(it.first_segment.into(), it.first);
            let last = PciAddress::from_requester_id(it.last_segment.into(), it.last);
            Line::new(at, "PCI range", format!("{first} to {last}, behind {:#x}", it.output))
        }
        ViotKind::Mmio(it) => {
            Line::new(at, "MMIO endpoint", format!("at {:#x}, behind {:#x}", it.base, it.output))
        }
        ViotKind::VirtioPci(it) => {
            let own = PciAddress::from_requester_id(it.segment.into(), it.device);
            Line::new(at, "virtio-iommu", own.to_string())
        }
        ViotKind::VirtioMmio(it) => Line::new(at, "virtio-iommu", format!("at {:#x}", it.base)),
        ViotKind::Unknown(kind) => unknown(at, (*kind).into(), node.tail.len()),
    });
    std::iter::once(whole).chain(lines).collect()
}
