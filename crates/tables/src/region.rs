//! Memory that tables reserve for devices, in one shape whatever the table: what planners start from.
//!
//! A region is given as host memory ([`Hpa`]): that is what the tables state and what firmware took.
//! The devices use the same number as a bus address, so where they are concerned it is
//! [`Span::rebase`]d.

use std::fmt;

use ringfence_addr::{Address, Alignment, Hpa, PciAddress, Rights, Span};

use crate::iort::{NodeKind, Streamer};
use crate::{
    Buses, Content, Dmar, Iort, Ivmd, IvmdFlags, Ivrs, Rmrr, ScopeKind, ScopePath, Signature,
    Structure, Table,
};

/// Memory that a table reserves for devices, as the table states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservedRegion {
    /// Where, to the byte. What is protected are pages: [`ReservedRegion::pages`].
    pub span: Span<Hpa>,
    /// What it is called in its table.
    pub kind: RegionKind,
    /// Whose it is; empty if the table names nobody.
    pub devices: Vec<Devices>,
    /// What the devices may do there.
    pub rights: Rights,
    /// Whether the table itself says that other memory may be mapped there later (RMR alone does).
    pub may_remap: bool,
    /// The table.
    pub table: Signature,
    /// Offset in the table of what states it.
    pub offset: usize,
}

/// What a region is called in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegionKind {
    /// DMAR's reserved memory.
    Rmrr,
    /// IVRS's, mapped at the same number.
    IvmdUnity,
    /// IVRS's, not translated at all.
    IvmdExclusion,
    /// IORT's.
    Rmr,
}

impl fmt::Display for RegionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Rmrr => "rmrr",
            Self::IvmdUnity => "ivmd-unity",
            Self::IvmdExclusion => "ivmd-exclusion",
            Self::Rmr => "rmr",
        })
    }
}

/// Devices, as a table names them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Devices {
    /// The function at the end of a path; everything behind it, too, if it is a bridge.
    Path {
        /// The way there.
        path: ScopePath,
        /// Whether what is behind it is meant.
        and_behind: bool,
    },
    /// Functions by requester id, first and last.
    Requesters {
        /// The PCI segment.
        segment: u32,
        /// The first.
        first: u16,
        /// The last.
        last: u16,
    },
    /// Streams of an SMMU that no root complex leads to, first and last.
    Streams {
        /// Offset of the SMMU's node in the IORT.
        smmu: u32,
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// A device of the ACPI name space, by its path, or its number if nothing names it.
    Namespace(String),
}

impl Devices {
    /// Whether the function is one of them; none if that takes bus numbers that are not known.
    pub fn include(&self, function: PciAddress, buses: &impl Buses) -> Option<bool> {
        match self {
            Self::Requesters { segment, first, last } => Some(
                *segment == function.domain()
                    && (*first..=*last).contains(&function.requester_id()),
            ),
            Self::Streams { .. } | Self::Namespace(_) => Some(false),
            Self::Path { path, .. } if u32::from(path.segment) != function.domain() => Some(false),
            Self::Path { path, and_behind } => {
                let end = path.resolve(buses)?;
                if end == function || !and_behind {
                    return Some(end == function);
                }
                let (first, last) = buses.behind(end)?;
                Some((first..=last).contains(&function.bus()))
            }
        }
    }
}

/// `0000:00:02.0`, `0000:00:1c.0 and behind`, `0000:00:00.0-0000:0f:1f.7`, `all`, `streams 0x20-0x20`.
impl fmt::Display for Devices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { path, and_behind: false } => path.fmt(formatter),
            Self::Path { path, and_behind: true } => write!(formatter, "{path} and behind"),
            Self::Requesters { segment: 0, first: 0, last: u16::MAX } => formatter.write_str("all"),
            Self::Requesters { segment, first: 0, last: u16::MAX } => {
                write!(formatter, "all of {segment:04x}")
            }
            Self::Requesters { segment, first, last } => {
                let [first, last] =
                    [*first, *last].map(|id| PciAddress::from_requester_id(*segment, id));
                match first == last {
                    true => first.fmt(formatter),
                    false => write!(formatter, "{first}-{last}"),
                }
            }
            Self::Streams { first, last, .. } => write!(formatter, "streams {first:#x}-{last:#x}"),
            Self::Namespace(name) => formatter.write_str(name),
        }
    }
}

impl ReservedRegion {
    /// The pages it touches: nothing else may be there, whatever the table says of the bytes.
    pub fn pages(&self) -> Span<Hpa> {
        self.span.aligned_out(Alignment::PAGE_4K)
    }

    /// The same as bus addresses: a reserved region is at its own number.
    pub fn on_bus<A: Address>(&self) -> Option<Span<A>> {
        self.pages().rebase(A::try_new(self.pages().first().get())?)
    }
}

/// Every region that these tables reserve, by address.
///
/// What states no bytes (a region that ends before it begins, or of length zero) is not among them:
/// a finding tells of it.
pub fn reserved_regions<'a>(tables: impl IntoIterator<Item = &'a Table>) -> Vec<ReservedRegion> {
    let mut regions: Vec<ReservedRegion> = tables
        .into_iter()
        .flat_map(|table| match &table.content {
            Content::Dmar(dmar) => of_dmar(dmar, table.header.signature),
            Content::Ivrs(ivrs) => of_ivrs(ivrs, table.header.signature),
            Content::Iort(iort) => of_iort(iort, table.header.signature),
            Content::Viot(_) | Content::Other(_) => Vec::new(),
        })
        .collect();
    regions.sort_by_key(|region| (region.span, region.table, region.offset));
    regions
}

fn of_dmar(dmar: &Dmar, table: Signature) -> Vec<ReservedRegion> {
    let region = |(offset, rmrr): (usize, &Rmrr)| {
        Some(ReservedRegion {
            span: rmrr.span()?,
            kind: RegionKind::Rmrr,
            devices: devices_of(dmar, rmrr),
            rights: Rights::READ_WRITE,
            may_remap: false,
            table,
            offset,
        })
    };
    dmar.rmrrs().filter_map(region).collect()
}

fn devices_of(dmar: &Dmar, rmrr: &Rmrr) -> Vec<Devices> {
    let named = |number: u8| {
        let name = dmar.structures.iter().find_map(|structure| match structure {
            Structure::Andd(andd) if andd.number == number => {
                andd.name.split(|byte| *byte == 0).next()
            }
            _ => None,
        });
        Devices::Namespace(match name {
            Some(name) => name.escape_ascii().to_string(),
            None => format!("ACPI device {number}"),
        })
    };
    let scopes = rmrr.scopes.list.iter();
    scopes
        .filter_map(|scope| {
            let path = || scope.path(rmrr.segment);
            match scope.kind {
                ScopeKind::Endpoint => Some(Devices::Path { path: path()?, and_behind: false }),
                ScopeKind::Bridge => Some(Devices::Path { path: path()?, and_behind: true }),
                ScopeKind::Namespace => Some(named(scope.enumeration)),
                ScopeKind::IoApic | ScopeKind::Hpet | ScopeKind::Unknown(_) => None,
            }
        })
        .collect()
}

fn of_ivrs(ivrs: &Ivrs, table: Signature) -> Vec<ReservedRegion> {
    let region = |(offset, ivmd): (usize, &Ivmd)| {
        let kind = match (ivmd.is_exclusion(), ivmd.is_unity()) {
            (true, _) => RegionKind::IvmdExclusion,
            (false, true) => RegionKind::IvmdUnity,
            (false, false) => return None,
        };
        let segment = ivmd.segment.into();
        let devices = match ivmd.requesters() {
            Some((first, last)) => vec![Devices::Requesters { segment, first, last }],
            None => of_iommu(ivrs, ivmd),
        };
        Some(ReservedRegion {
            span: ivmd.span()?,
            kind,
            devices,
            rights: rights(ivmd),
            may_remap: false,
            table,
            offset,
        })
    };
    ivrs.ivmds().filter_map(region).collect()
}

/// What the devices of an excluded region do is not translated, so nothing withholds it from them.
fn rights(ivmd: &Ivmd) -> Rights {
    if ivmd.is_exclusion() {
        return Rights::READ_WRITE;
    }
    match ivmd.flags & (IvmdFlags::READ | IvmdFlags::WRITE) {
        0 => Rights::NONE,
        IvmdFlags::READ => Rights::READ,
        IvmdFlags::WRITE => Rights::WRITE,
        _ => Rights::READ_WRITE,
    }
}

/// The devices of the IOMMU that a block of type 0x23 names.
fn of_iommu(ivrs: &Ivrs, ivmd: &Ivmd) -> Vec<Devices> {
    let is_meant = ivmd.kind == 0x23;
    let mut found: Vec<Devices> = ivrs
        .ivhds()
        .filter(|(_, it)| is_meant && it.device == ivmd.device && it.capability == ivmd.last)
        .flat_map(|(_, ivhd)| {
            let segment = ivhd.segment.into();
            let spans = ivhd.requesters().into_iter();
            spans.map(move |(first, last)| Devices::Requesters { segment, first, last })
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

fn of_iort(iort: &Iort, table: Signature) -> Vec<ReservedRegion> {
    let mut regions = Vec::new();
    for (at, node) in iort.placed() {
        let NodeKind::Rmr(rmr) = node.decode() else { continue };
        let mut devices = Vec::new();
        for mapping in node.mappings() {
            let (first, last) = (u64::from(mapping.output_base), mapping.last_output());
            let streamers = iort.who_streams(mapping.output, first, last);
            if streamers.is_empty() {
                devices.push(Devices::Streams { smmu: mapping.output, first, last });
            }
            devices.extend(streamers.into_iter().map(|streamer| match streamer {
                Streamer::Requesters { segment, first, last } => {
                    Devices::Requesters { segment, first, last }
                }
                Streamer::Named(name) => Devices::Namespace(name),
            }));
        }
        for (piece_at, piece) in node.descriptors() {
            let Some(span) = piece.span() else { continue };
            regions.push(ReservedRegion {
                span,
                kind: RegionKind::Rmr,
                devices: devices.clone(),
                rights: Rights::READ_WRITE,
                may_remap: rmr.may_remap(),
                table,
                offset: at + piece_at,
            });
        }
    }
    regions
}

#[cfg(test)]
mod tests;
