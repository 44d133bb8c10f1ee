//! Any bytes: they are answered, or the connection ends. Batches that are none leave nothing.

use std::io::{Read, Write};

use proptest::prelude::*;
use ringfence_iommu::Mode;
use ringfence_iommu::refusals::NOT_A_MESSAGE;
use ringfence_iommu::service::batch::{self, ENTRIES_MAX};
use ringfence_ledger::{Handle, Which};

use crate::kit::{Kit, wish};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_bytes_end_or_are_answered(
        bodies in prop::collection::vec((0..5_u32, prop::collection::vec(any::<u8>(), 0..200)), 1..6),
        is_holder: bool,
    ) {
        let kit = Kit::new();
        let (owner, _file) = kit.owner("red");
        let mut stream = kit.connect();
        if is_holder {
            let text = br#"{"ask": "hold", "name": "nic", "owner": "red", "device": null}"#;
            send(&mut stream, 0, text);
        }
        for (kind, body) in &bodies {
            send(&mut stream, *kind, body);
        }
        let _closed = stream.shutdown(std::net::Shutdown::Write);
        let mut answers = Vec::new();
        let _ended = stream.read_to_end(&mut answers);
        prop_assert!(owner.events().is_ok(), "others are served all the same");
    }

    #[test]
    fn batches_are_read_as_they_were_written(first in 0..100_u64, count in 1..50_u64, at in any::<bool>()) {
        let kit = Kit::new();
        let (_owner, _file) = kit.owner("red");
        let holder = kit.holder("red");
        let mut wishes = vec![wish(&holder, first, count); 3];
        if at {
            wishes[1].place = ringfence_ledger::Place::Chosen;
        }
        let mut bytes = Vec::new();
        batch::write_wishes(Mode::AllOrNothing, &wishes, &mut bytes);
        prop_assert_eq!(batch::read_wishes(&bytes), Ok((Mode::AllOrNothing, wishes)));
    }
}

fn send(stream: &mut std::os::unix::net::UnixStream, kind: u32, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("short");
    let head = [length.to_le_bytes(), kind.to_le_bytes()].concat();
    // It may have ended before.
    let _sent = stream.write_all(&head).and_then(|()| stream.write_all(body));
}

#[test]
fn batches_that_are_none_are_refused_whole() {
    let kit = Kit::new();
    let (_owner, _file) = kit.owner("red");
    let mut holder = kit.holder("red");
    let many = vec![Which::Handle(Handle::from_number(u64::MAX)); ENTRIES_MAX + 1];
    let refused = holder.unmap(&many).expect_err("too many");
    assert!(refused.to_string().contains(&NOT_A_MESSAGE.to_string()), "{refused}");
    let answers = holder.unmap(&many[..ENTRIES_MAX]).expect("so many there may be");
    assert_eq!(answers.len(), ENTRIES_MAX);
    let mut bytes = Vec::new();
    batch::write_wishes(Mode::BestEffort, &[wish(&holder, 0, 1)], &mut bytes);
    for cut in [0, 4, 8 + 39, 8 + 41] {
        let mut bytes = bytes.clone();
        bytes.resize(cut, 0);
        assert!(batch::read_wishes(&bytes).is_err(), "{cut} bytes");
    }
    for (place, value) in [(0, 2), (4, 1), (8 + 32, 0), (8 + 33, 1), (8 + 36, 1)] {
        let mut bytes = bytes.clone();
        bytes[place] = value;
        assert!(batch::read_wishes(&bytes).is_err(), "{value} at {place}");
    }
}
