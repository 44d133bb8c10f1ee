//! Small tables for tests, in order unless a test breaks them.

use crate::dmar::{Drhd, Rmrr, Scope, ScopeKind, Scopes, Structure};
use crate::iort::{Descriptor, IdMapping, Node};
use crate::ivrs::{Block, DeviceEntries, DeviceEntry, Ivhd, Ivmd};
use crate::{Content, Dmar, Header, Iort, Ivrs, Table, Viot, ViotKind, ViotNode};

pub(crate) fn scopes(scopes: &[(ScopeKind, u8, &[[u8; 2]])]) -> Scopes {
    let list = scopes.iter().map(|(kind, bus, path)| Scope::new(*kind, *bus, path)).collect();
    Scopes { list, rest: Vec::new() }
}

pub(crate) fn endpoint(device: u8) -> Scopes {
    scopes(&[(ScopeKind::Endpoint, 0, &[[device, 0]])])
}

/// A unit for every device of segment 0.
pub(crate) fn unit() -> Structure {
    Structure::Drhd(Drhd {
        flags: 1,
        size: 0,
        segment: 0,
        base: 0xfed9_0000,
        scopes: Scopes::default(),
    })
}

pub(crate) fn rmrr(base: u64, limit: u64, scopes: Scopes) -> Structure {
    Structure::Rmrr(Rmrr { reserved: 0, segment: 0, base, limit, scopes })
}

pub(crate) fn dmar(structures: Vec<Structure>) -> Table {
    Table::new(Header::new(*b"DMAR", 1), Content::Dmar(Dmar::new(39, structures)))
}

pub(crate) fn select(device: u16) -> DeviceEntry {
    DeviceEntry::Short { kind: 2, device, setting: 0 }
}

pub(crate) fn ivhd(kind: u8, list: Vec<DeviceEntry>) -> Block {
    Block::Ivhd(Ivhd {
        kind,
        flags: 0,
        device: 2,
        capability: 0x40,
        base: 0xfeb8_0000,
        segment: 0,
        info: 0,
        attributes: 0,
        features: (kind != 0x10).then_some([0, 0]),
        entries: DeviceEntries { list, rest: Vec::new() },
    })
}

/// An IOMMU for bus 0.
pub(crate) fn bus_unit() -> Block {
    let ends = [(3, 0), (4, 0xff)];
    ivhd(0x10, ends.map(|(kind, device)| DeviceEntry::Short { kind, device, setting: 0 }).into())
}

pub(crate) fn ivmd(first: u16, last: u16, start: u64, length: u64) -> Block {
    Block::Ivmd(Ivmd::unity(first, last, start, length))
}

pub(crate) fn ivrs(blocks: Vec<Block>) -> Table {
    Table::new(Header::new(*b"IVRS", 2), Content::Ivrs(Ivrs::new(0, blocks)))
}

/// An SMMU at 0x30 and a root complex of segment 0 whose requester ids are its streams.
pub(crate) fn iort(revision: u8, more: Vec<Node>) -> Table {
    let plain = |kind, id, body: Vec<u8>| Node {
        kind,
        revision: 4,
        id,
        mapping_count: 0,
        mapping_offset: 0,
        body,
    };
    let smmu = plain(4, 1, vec![0; 52]);
    let mut complex = plain(2, 2, vec![0; 20]);
    (complex.mapping_count, complex.mapping_offset) = (1, 36);
    for field in [0, 0xffff, 0, 0x30, 0_u32] {
        complex.body.extend(field.to_le_bytes());
    }
    let mut nodes = vec![smmu, complex];
    nodes.extend(more);
    Table::new(Header::new(*b"IORT", revision), Content::Iort(Iort::new(nodes)))
}

/// Reserved memory of one stream of the SMMU at 0x30.
pub(crate) fn rmr(id: u32, stream: u32, pieces: &[(u64, u64)]) -> Node {
    let mapping =
        IdMapping { input_base: 0, count: 0, output_base: stream, output: 0x30, flags: 0 };
    let pieces = pieces.iter().map(|(base, length)| Descriptor {
        base: *base,
        length: *length,
        reserved: 0,
    });
    Node::rmr(id, 0, &[mapping], &pieces.collect::<Vec<_>>())
}

pub(crate) fn viot(kinds: Vec<ViotKind>) -> Table {
    let nodes = kinds.into_iter().map(ViotNode::new).collect();
    Table::new(Header::new(*b"VIOT", 1), Content::Viot(Viot::new(nodes)))
}
