//! Tests of DMAR: bytes by hand, odd ones, paths.

use proptest::prelude::*;

use super::*;
use crate::made::{dmar, endpoint, rmrr, scopes, unit};
use crate::{Content, Table};

#[test]
fn fields_are_where_the_specification_has_them() {
    let table = dmar(vec![unit(), rmrr(0x7b00_0000, 0x7b7f_ffff, endpoint(2))]);
    let bytes = table.write();
    assert_eq!(&bytes[..4], b"DMAR");
    assert_eq!(bytes[36], 38, "39 bits, less one");
    let structures = [
        [0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0].as_slice(),
        &[1, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0, 0, 0, 0, 0xff, 0xff, 0x7f, 0x7b, 0, 0, 0, 0],
        &[1, 8, 0, 0, 0, 0, 2, 0],
    ];
    assert_eq!(bytes[48..], structures.concat());
    assert_eq!(bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    assert_eq!(Table::read(&bytes).expect("it has a header").0, table);
}

#[test]
fn every_structure_reads_back_as_itself() {
    let all = scopes(&[
        (ScopeKind::Endpoint, 0, &[[2, 0]]),
        (ScopeKind::Bridge, 0, &[[0x1c, 4], [0, 0], [3, 1]]),
        (ScopeKind::IoApic, 0xf0, &[[0x1f, 0]]),
        (ScopeKind::Hpet, 0, &[[0xf, 0]]),
        (ScopeKind::Namespace, 0, &[[0x15, 1]]),
        (ScopeKind::Unknown(9), 7, &[]),
    ]);
    let structures = vec![
        Structure::Drhd(Drhd {
            flags: 0,
            size: 3,
            segment: 5,
            base: 0xfed9_1000,
            scopes: all.clone(),
        }),
        rmrr(0x1000, 0x1fff, all.clone()),
        Structure::Atsr(Atsr { flags: 0, reserved: 1, segment: 2, scopes: all.clone() }),
        Structure::Rhsa(Rhsa { reserved: 1, base: 2, proximity: 3, tail: vec![4] }),
        Structure::Andd(Andd { reserved: [1, 2, 3], number: 4, name: b"\\_SB.X\0\0".to_vec() }),
        Structure::Satc(Satc { flags: 1, reserved: 0, segment: 0, scopes: all.clone() }),
        Structure::Sidp(Sidp { reserved: 7, segment: 1, scopes: all }),
        Structure::Unknown { kind: 0x1234, body: vec![1, 2, 3] },
    ];
    let table = dmar(structures);
    let (read, _) = Table::read(&table.write()).expect("it has a header");
    assert_eq!(read, table);
    let Content::Dmar(read) = read.content else { panic!("it is a DMAR") };
    let kinds: Vec<u16> = read.structures.iter().map(Structure::kind).collect();
    assert_eq!(kinds, [0, 1, 2, 3, 4, 5, 6, 0x1234]);
}

#[test]
fn a_path_leads_over_the_buses_behind_bridges() {
    let behind = |bridge: ringfence_addr::PciAddress| match bridge.to_string().as_str() {
        "0001:00:1c.4" => Some((3, 5)),
        "0001:03:00.0" => Some((4, 5)),
        _ => None,
    };
    let path = |hops: &[[u8; 2]]| ScopePath { segment: 1, start_bus: 0, hops: hops.to_vec() };
    let resolve = |hops: &[[u8; 2]]| path(hops).resolve(&behind).map(|it| it.to_string());
    assert_eq!(resolve(&[[2, 0]]).as_deref(), Some("0001:00:02.0"));
    assert_eq!(resolve(&[[0x1c, 4], [0, 0], [3, 1]]).as_deref(), Some("0001:04:03.1"));
    assert_eq!(resolve(&[[0x1c, 5], [0, 0]]), None, "no bridge is there");
    assert_eq!(resolve(&[[0x20, 0]]), None, "no device has that number");
    assert_eq!(resolve(&[]), None);
    assert_eq!(path(&[[0x1c, 4], [0, 0]]).to_string(), "0001:00:1c.4/00.0");
}

proptest! {
    #[test]
    fn any_bytes_are_read_and_written_back(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        for signature in [*b"DMAR", *b"IVRS", *b"IORT", *b"VIOT", *b"SSDT"] {
            let mut bytes = signature.to_vec();
            bytes.extend([0; 32]);
            bytes.extend(&body);
            for length in [bytes.len(), body.len(), 0x1_0000] {
                let length = u32::try_from(length).expect("short");
                bytes[4..8].copy_from_slice(&length.to_le_bytes());
                let (table, findings) = Table::read(&bytes).expect("it has a header");
                prop_assert_eq!(table.write(), &bytes[..]);
                prop_assert!(findings.iter().all(|finding| finding.offset <= bytes.len()));
            }
        }
    }

    #[test]
    fn any_bytes_end_well_in_every_target(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        kinds in proptest::collection::vec(0_u8..0x50, 0..20),
    ) {
        // Plausible structures: a small type, a length that fits, and what came.
        let mut shaped = vec![0; 48];
        for (kind, chunk) in kinds.iter().zip(bytes.chunks(40)) {
            let length = u8::try_from(chunk.len() + 4).expect("at most 44");
            shaped.extend([*kind, 0, length, 0]);
            shaped.extend(chunk);
        }
        for (_, target) in crate::TARGETS {
            target(&bytes);
            target(&shaped);
        }
    }
}

#[test]
fn fewer_bytes_than_a_header_has_are_refused() {
    let refusal = Table::read(&[0; 35]).expect_err("35 bytes are no header");
    assert_eq!(refusal.code(), &crate::refusals::NOT_A_TABLE);
    assert!(refusal.detail().contains("35"), "{refusal}");
    let refusal = Table::read(&vec![0; crate::TABLE_BYTES_MAX + 1]).expect_err("too many");
    assert_eq!(refusal.code(), &crate::refusals::TOO_LARGE);
}
