//! Tests of memory maps.

use ringfence_addr::Gpa;

use super::*;

fn entry(address: u64, kind: E820Kind) -> E820Entry {
    let span = Span::from_parts(Gpa::new(address), 0x1000).expect("a page");
    E820Entry::new(span, kind).expect("not all of the space")
}

#[test]
fn what_does_not_fit_the_zero_page_goes_into_an_extension() {
    let entries: Vec<E820Entry> =
        (0..200).map(|index| entry(index * 0x2000, E820Kind::Reserved)).collect();
    let mut page = vec![0; ZERO_PAGE_BYTES];
    let rest = write_zero_page(&mut page, &entries).expect("it is a page");
    assert_eq!(rest, &entries[128..]);
    assert_eq!(page[0x1e8], 128);
    assert_eq!(
        page[0x2d0 + 20..0x2d0 + 40],
        [0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0]
    );
    assert_eq!(read_zero_page(&page).expect("it is one"), &entries[..128]);
    let extension = E820Extension { next: 0, entries: rest.to_vec() };
    let bytes = extension.write();
    assert_eq!(bytes[..16], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xa0, 5, 0, 0]);
    assert_eq!(E820Extension::read(&bytes).expect("it is one"), extension);
    assert_eq!(write_zero_page(&mut page, &entries[..3]).expect("it is a page"), []);
    assert_eq!(read_zero_page(&page).expect("it is one"), &entries[..3]);
}

#[test]
fn what_is_no_zero_page_is_refused() {
    let mut page = vec![0; ZERO_PAGE_BYTES];
    page[0x1e8] = 129;
    for refusal in [
        read_zero_page(&page).expect_err("129 entries"),
        read_zero_page(&page[1..]).expect_err("too short"),
        write_zero_page(&mut page[1..], &[]).expect_err("too short"),
    ] {
        assert_eq!(refusal.code(), &NOT_A_ZERO_PAGE, "{refusal}");
    }
}

#[test]
fn what_is_no_extension_is_refused() {
    let right = E820Extension { next: 5, entries: vec![entry(0, E820Kind::Ram)] }.write();
    let with = |at: usize, value: u8| {
        let mut bytes = right.clone();
        bytes[at] = value;
        bytes
    };
    for bytes in [right[..15].to_vec(), right[..30].to_vec(), with(8, 2), with(12, 19), with(15, 1)]
    {
        let refusal = E820Extension::read(&bytes).expect_err("it is none");
        assert_eq!(refusal.code(), &NOT_AN_E820_EXTENSION, "{refusal}");
    }
    assert_eq!(E820Extension::read(&with(0, 6)).expect("it is one").next, 6);
}

#[test]
fn kinds_and_spans_are_as_stated() {
    for number in 0..9 {
        assert_eq!(E820Kind::from(number).number(), number);
    }
    let wrapping = E820Entry { address: u64::MAX, size: 2, kind: 1 };
    assert_eq!(wrapping.span::<Gpa>(), None);
    assert_eq!(E820Entry::new(Span::<Gpa>::whole(), E820Kind::Ram), None);
    let last = Span::new(Gpa::new(!0xfff), Gpa::new(u64::MAX)).expect("a page");
    let entry = E820Entry::new(last, E820Kind::Reserved).expect("a part of the space");
    assert_eq!(entry.span::<Gpa>(), Some(last));
    assert_eq!(entry.kind(), E820Kind::Reserved);
}
