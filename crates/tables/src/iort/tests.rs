//! Tests of IORT.

use super::*;
use crate::made::{iort, rmr};
use crate::{Content, Table};

fn content(table: &Table) -> &Iort {
    match &table.content {
        Content::Iort(iort) => iort,
        other => panic!("{other:?}"),
    }
}

#[test]
fn nodes_read_back_with_gaps_and_padding() {
    let mut table = iort(6, vec![rmr(3, 0x20, &[(0x6000_0000, 0x1_0000)])]);
    if let Content::Iort(iort) = &mut table.content {
        (iort.offset, iort.gap) = (52, vec![1, 2, 3, 4]);
        iort.nodes[0].body.extend([7; 3]);
    }
    table.seal();
    let (read, _) = Table::read(&table.write()).expect("it has a header");
    assert_eq!(read, table);
    assert_eq!(content(&read).placed().next().expect("a node").0, 52);
}

#[test]
fn an_rmr_node_is_where_the_specification_has_it() {
    let node = rmr(0x100, 0x20, &[(0x6000_0000, 0x1_0000)]);
    let mut bytes = Vec::new();
    node.put(&mut bytes);
    // As in a table that Linux was booted with.
    let expected = [
        [6, 0x44, 0, 3, 0, 1, 0, 0, 1, 0, 0, 0, 0x1c, 0, 0, 0].as_slice(),
        &[0, 0, 0, 0, 1, 0, 0, 0, 0x30, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0x60, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(bytes, expected.concat());
    assert_eq!(node.descriptors()[0].0, 0x30);
}

#[test]
fn a_function_has_the_stream_that_its_root_complex_gives_it() {
    let table = iort(6, vec![]);
    let iort = content(&table);
    assert_eq!(iort.stream(0, 0x20), Some((0x30, 0x20)));
    assert_eq!(iort.stream(1, 0x20), None, "no such segment");
    let requesters = Streamer::Requesters { segment: 0, first: 0x20, last: 0x27 };
    assert_eq!(iort.who_streams(0x30, 0x20, 0x27), [requesters]);
    assert_eq!(iort.who_streams(0x40, 0x20, 0x27), []);
    assert_eq!(iort.who_streams(0x30, 0x1_0000, 0x2_0000), [], "no requester id is so high");
}

#[test]
fn a_named_device_is_known_by_its_stream() {
    let mut body = [0; 13].to_vec();
    body.extend(b"\\_SB.DMA0\0\0\0");
    let at = u32::try_from(16 + body.len()).expect("short");
    for field in [0, 0, 5, 0x30, 1_u32] {
        body.extend(field.to_le_bytes());
    }
    let node = Node { kind: 1, revision: 4, id: 9, mapping_count: 1, mapping_offset: at, body };
    let table = iort(6, vec![node]);
    let named = Streamer::Named("\\\\_SB.DMA0".to_owned());
    assert!(content(&table).who_streams(0x30, 5, 5).contains(&named));
    assert!(!content(&table).who_streams(0x30, 6, 6).contains(&named));
}

#[test]
fn counts_that_lie_read_no_further_than_the_node() {
    let mut node = rmr(3, 0x20, &[(0x6000_0000, 0x1_0000)]);
    (node.mapping_count, node.body[4]) = (u32::MAX, 0xff);
    assert_eq!(node.mappings().len(), 2, "what is whole within the node");
    assert_eq!(node.descriptors().len(), 1);
    node.mapping_offset = u32::MAX;
    assert_eq!(node.mappings(), []);
}

#[test]
fn what_is_made_for_guests_leads_from_a_function_to_its_stream() {
    let mut iort = Iort::new(vec![Node::its_group(0, &[0])]);
    let smmu = iort.push(Node::smmu_v3(
        1,
        0x905_0000,
        SmmuInterrupts { event: 106, page_request: 107, error: 109, sync: 108 },
        &[IdMapping::whole(48)],
    ));
    let smmu = u32::try_from(smmu).expect("an offset");
    iort.push(Node::root_complex(2, 0, &[IdMapping::whole(smmu)]));
    let piece = Descriptor { base: 0x6000_0000, length: 0x1_0000, reserved: 0 };
    iort.push(Node::rmr(3, 0, &[IdMapping::one(0x10, smmu)], &[piece]));
    let table = Table::new(crate::Header::new(*b"IORT", 6), Content::Iort(iort));
    let (read, findings) = Table::read(&table.write()).expect("it has a header");
    assert_eq!(read, table);
    let found: Vec<_> = findings.iter().map(|finding| finding.code.name).collect();
    assert_eq!(found, [crate::codes::RMR_NEEDS_DSM.name]);
    let regions = crate::reserved_regions([&read]);
    let [region] = &regions[..] else { panic!("{regions:?}") };
    let names: Vec<_> = region.devices.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["0000:00:02.0"]);
    let sizes: Vec<_> = content(&read).nodes.iter().map(|node| node.body.len() + 16).collect();
    // As the specification has them: 24, 68 and 36 bytes, each with its mapping.
    assert_eq!(sizes, [24, 68 + 20, 36 + 20, 28 + 20 + 20]);
}
