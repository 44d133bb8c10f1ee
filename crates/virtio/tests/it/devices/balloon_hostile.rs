//! What a guest may try: each attempt is refused by name, stops its queue, and discards nothing.

use ringfence_ledger::refusals::{EMPTY, NOT_GRANTED, WRAPS};
use ringfence_refusal::Code;
use ringfence_virtio::balloon::BalloonOptions;
use ringfence_virtio::refusals::{
    BAD_AVAILABLE_INDEX, BAD_CHAIN, BAD_DEVICE_REQUEST, BAD_RING, REQUEST_TOO_LONG,
};

use super::driver::{
    MUST_TELL_HOST, Machine, NEXT, PAGE, PAYLOAD, REPORTING, RINGS, VERSION_1, WRITE,
};

const BYTES: u64 = 8 << 20;
const TOLD: u64 = MUST_TELL_HOST | REPORTING | VERSION_1;
const NEEDS_RESET: u8 = 0x40;

fn machine() -> Machine {
    Machine::started(BYTES, BalloonOptions::default(), TOLD)
}

/// The attempt is refused, and the device is of use again after a reset.
fn refused(code: &'static Code, attempt: impl FnOnce(&mut Machine)) {
    let mut machine = machine();
    machine.fill(100, 7);
    attempt(&mut machine);
    let refusal = machine.last_refusal().expect("it was refused");
    assert_eq!(refusal.code(), code, "{refusal}");
    assert_ne!(machine.status() & NEEDS_RESET, 0, "{refusal}");
    let figures = machine.figures();
    assert_eq!(figures.discarded_bytes, 0, "{refusal}: {figures:?}");
    assert_eq!(figures.given_back_bytes + figures.waiting_bytes, 0, "{figures:?}");
    machine.start(TOLD);
    assert_eq!(machine.status() & NEEDS_RESET, 0);
    assert!(machine.send(0, &[100]));
    assert_eq!(machine.figures().given_back_bytes, PAGE);
    assert_eq!(machine.page(100), vec![0; 4096]);
}

#[test]
fn pages_that_are_not_the_guests() {
    for page in [(BYTES / PAGE) as u32, u32::MAX, 1 << 20] {
        refused(&NOT_GRANTED, |machine| assert!(!machine.send(0, &[100, page])));
        refused(&NOT_GRANTED, |machine| assert!(!machine.send(1, &[page])));
    }
    refused(&NOT_GRANTED, |machine| {
        assert!(!machine.post(2, &[(BYTES - PAGE, 0x2000, WRITE)]));
    });
}

#[test]
fn requests_of_another_form() {
    let bad: &[&[(u64, u32, u16)]] = &[
        &[(PAYLOAD, 3, 0)],
        &[(PAYLOAD, 6, 0)],
        &[(PAYLOAD, 4, WRITE)],
        &[(PAYLOAD, 4, NEXT), (PAYLOAD, 4, WRITE)],
    ];
    for buffers in bad {
        refused(&BAD_DEVICE_REQUEST, |machine| assert!(!machine.post(0, buffers)));
        refused(&BAD_DEVICE_REQUEST, |machine| assert!(!machine.post(1, buffers)));
    }
}

#[test]
fn a_million_pages_at_once() {
    refused(&REQUEST_TOO_LONG, |machine| assert!(!machine.post(0, &[(PAYLOAD, 4 << 20, 0)])));
    refused(&REQUEST_TOO_LONG, |machine| {
        assert!(!machine.post(1, &[(PAYLOAD, 0x4000, NEXT), (PAYLOAD, 4, 0)]));
    });
    // As many as a request may have are done.
    let mut machine = machine();
    let pages: Vec<u32> = (0..4096).map(|turn| 128 + turn % 1500).collect();
    assert!(machine.send(0, &pages));
    assert_eq!(machine.figures().given_back_bytes, 1500 * PAGE);
}

#[test]
fn buffers_that_wrap_or_are_nowhere() {
    refused(&WRAPS, |machine| assert!(!machine.post(0, &[(u64::MAX - 3, 8, 0)])));
    refused(&EMPTY, |machine| assert!(!machine.post(0, &[(PAYLOAD, 0, 0)])));
    refused(&NOT_GRANTED, |machine| assert!(!machine.post(0, &[(BYTES, 4, 0)])));
    refused(&NOT_GRANTED, |machine| assert!(!machine.post(0, &[(u64::MAX - 3, 4, 0)])));
}

#[test]
fn chains_and_rings_that_are_torn() {
    refused(&BAD_CHAIN, |machine| {
        let descriptors = [(PAYLOAD, 4, NEXT); 16];
        assert!(!machine.post(0, &descriptors));
    });
    refused(&BAD_CHAIN, |machine| {
        assert!(!machine.post(0, &[(PAYLOAD, 4, WRITE | NEXT), (PAYLOAD, 4, 0)]));
    });
    refused(&BAD_CHAIN, |machine| assert!(!machine.post(0, &[(PAYLOAD, 16, 4)])));
    refused(&BAD_AVAILABLE_INDEX, |machine| machine.publish(0, 17));
    refused(&BAD_AVAILABLE_INDEX, |machine| machine.publish(1, 0xffff));
}

#[test]
fn rings_that_are_nowhere() {
    for (code, at) in [
        (&NOT_GRANTED, BYTES),
        (&NOT_GRANTED, BYTES - 64),
        (&NOT_GRANTED, 1 << 63),
        (&NOT_GRANTED, !0xfff),
        (&BAD_RING, RINGS + 1),
    ] {
        refused(code, |machine| {
            machine.negotiate(TOLD);
            machine.put(0x16, &0u16.to_le_bytes());
            machine.put(0x20, &at.to_le_bytes());
            machine.put(0x28, &at.wrapping_add(0x800).to_le_bytes());
            machine.put(0x30, &at.wrapping_add(0x1000).to_le_bytes());
            machine.put(0x1c, &1u16.to_le_bytes());
            machine.put(0x14, &[0xf]);
            machine.put(0x3000, &[0, 0]);
        });
    }
}

#[test]
fn pages_that_are_in_already_or_never_were() {
    let mut machine = machine();
    machine.fill(100, 1);
    assert!(machine.send(0, &[100, 100, 101]));
    assert!(machine.send(0, &[100]));
    let figures = machine.figures();
    assert_eq!((figures.given_back_bytes, figures.counts.repeated), (2 * PAGE, 1));
    machine.fill(200, 9);
    assert!(machine.send(1, &[200, 201, 100]));
    let figures = machine.figures();
    assert_eq!((figures.given_back_bytes, figures.counts.strangers), (PAGE, 2));
    assert_eq!(machine.page(200), vec![9; 4096]);
    assert!(machine.send(1, &[100]));
    assert_eq!(machine.figures().counts.strangers, 3);
    // A page of the ring itself can go, and is found empty: the guest's own loss.
    assert!(!machine.send(0, &[(RINGS / PAGE) as u32]) || machine.last_refusal().is_none());
}

/// A guest that waits for a block which its holder does not let go of is answered when it does.
#[test]
fn deflating_waits_for_what_is_being_asked_back() {
    let mut machine = machine();
    let block = ringfence_addr::Span::from_parts(ringfence_addr::Gpa::new(100 * PAGE), 4 * PAGE);
    machine.world.be_stubborn(true);
    assert!(machine.world.map(1, block.expect("a block")));
    assert!(machine.send(0, &[100, 101, 102]));
    let figures = machine.figures();
    assert_eq!((figures.waiting_bytes, figures.counts.asked), (3 * PAGE, 0));
    assert_eq!(figures.holders, ["the card"]);
    assert!(machine.send(0, &[103]));
    assert_eq!(machine.figures().counts.asked, 1);
    assert!(!machine.send(1, &[102]), "nobody has let go");
    assert_eq!(machine.figures().discarded_bytes, 0);
    let released = machine.world.give_in();
    machine.function.with(|balloon| balloon.gate().released(&released));
    machine.function.settle().expect("settled");
    assert!(machine.is_all_answered(1));
    let figures = machine.figures();
    assert_eq!(figures.counts.returned, 1);
    assert_eq!((figures.given_back_bytes, figures.waiting_bytes), (0, 3 * PAGE));
    assert!(machine.world.is_mapped(block.expect("a block")), "it is mapped again");
}
