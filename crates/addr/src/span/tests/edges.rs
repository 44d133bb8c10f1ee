//! Where 64-bit spaces start and end, and between two of them.

use std::format;

use super::*;
use crate::{Gpa, Iova};

fn gpa(first: u64, last: u64) -> Span<Gpa> {
    Span::new(Gpa::new(first), Gpa::new(last)).expect("first <= last")
}

fn length(bytes: u64) -> NonZeroU64 {
    NonZeroU64::new(bytes).expect("not zero")
}

const LAST_PAGE: u64 = !0xfff;

#[test]
fn the_whole_space_is_a_span_whose_length_takes_65_bits() {
    let whole = Span::<Gpa>::whole();
    assert_eq!(whole, gpa(0, u64::MAX));
    assert_eq!(whole.length(), 1 << 64);
    assert_eq!(whole.length_u64(), None);
    assert_eq!(gpa(1, u64::MAX).length_u64(), Some(length(u64::MAX)));
    assert_eq!(whole.minus(&whole), [None, None]);
    assert_eq!(whole.join(&whole), Some(whole));
    assert!(whole.is_aligned(Alignment::PAGE_1G));
    assert_eq!(whole.aligned_out(Alignment::PAGE_1G), whole);
    assert_eq!(whole.aligned_in(Alignment::PAGE_1G), Some(whole));
}

#[test]
fn the_last_page_fits_and_one_byte_more_does_not() {
    let first = Gpa::new(LAST_PAGE);
    assert_eq!(Span::from_parts(first, 0x1000), Some(gpa(LAST_PAGE, u64::MAX)));
    assert_eq!(Span::from_parts(first, 0x1001), None);
    assert_eq!(Span::from_parts(first, u64::MAX), None);
    assert_eq!(Span::from_parts(first, 0), None);
    assert_eq!(Span::from_length(Gpa::LAST, length(1)), Some(Span::of(Gpa::LAST)));
    assert_eq!(Span::from_length(Gpa::LAST, length(2)), None);
}

#[test]
fn the_last_and_the_first_address_do_not_touch() {
    let (lowest, highest) = (Span::of(Gpa::FIRST), Span::of(Gpa::LAST));
    assert!(!lowest.touches(&highest) && !highest.touches(&lowest));
    assert_eq!(lowest.join(&highest), None);
    let [below, above] = Span::whole().minus(&highest);
    assert_eq!((below, above), (Some(gpa(0, u64::MAX - 1)), None));
    assert!(highest.touches(&gpa(0, u64::MAX - 1)));
    assert_eq!(Span::whole().minus(&lowest), [None, Some(gpa(1, u64::MAX))]);
}

#[test]
fn the_last_page_is_aligned_and_aligns_to_itself() {
    let last_page = gpa(LAST_PAGE, u64::MAX);
    assert!(last_page.is_aligned(Alignment::PAGE_4K));
    assert_eq!(Span::of(Gpa::LAST).aligned_out(Alignment::PAGE_4K), last_page);
    assert_eq!(last_page.aligned_in(Alignment::PAGE_4K), Some(last_page));
    assert_eq!(gpa(LAST_PAGE + 1, u64::MAX).aligned_in(Alignment::PAGE_4K), None);
    assert_eq!(Span::of(Gpa::FIRST).aligned_in(Alignment::PAGE_4K), None);
}

#[test]
fn a_subspan_can_end_with_the_last_address_and_no_later() {
    let last_page = gpa(LAST_PAGE, u64::MAX);
    assert_eq!(last_page.subspan(0xff0, length(0x10)), Some(gpa(!0xf, u64::MAX)));
    assert_eq!(last_page.subspan(0xff0, length(0x11)), None);
    assert_eq!(last_page.subspan(0x1000, length(1)), None);
    assert_eq!(last_page.subspan(u64::MAX, length(u64::MAX)), None);
    assert_eq!(Span::<Gpa>::whole().subspan(u64::MAX, length(1)), Some(Span::of(Gpa::LAST)));
}

#[test]
fn a_span_moves_to_another_space_only_where_it_fits() {
    let span = gpa(0x1000, 0x2fff);
    let moved = span.rebase(Iova::new(0xffff_ffff_ffff_e000));
    assert_eq!(moved.map(|span| span.last()), Some(Iova::LAST));
    assert_eq!(span.rebase(Iova::new(0xffff_ffff_ffff_e001)), None);
    let whole = Span::<Gpa>::whole();
    assert_eq!(whole.rebase(Iova::FIRST), Some(Span::whole()));
    assert_eq!(whole.rebase(Iova::new(1)), None);
    assert_eq!(whole.rebase(Tiny::new(0)), None);
    assert_eq!(gpa(0xff00, 0xffff).rebase(Tiny::new(0)), Some(Span::whole()));
}

#[test]
fn spans_order_by_first_and_then_by_last() {
    let mut spans = [gpa(2, 3), gpa(1, 9), gpa(1, 2), gpa(0, 0)];
    spans.sort_unstable();
    assert_eq!(spans, [gpa(0, 0), gpa(1, 2), gpa(1, 9), gpa(2, 3)]);
}

#[test]
fn spans_print_as_the_kernel_does_and_debug_with_their_space() {
    assert_eq!(format!("{}", gpa(0x1000, 0x1fff)), "0x1000-0x1fff");
    assert_eq!(format!("{:?}", gpa(LAST_PAGE, u64::MAX)), {
        "Gpa(0xfffffffffffff000-0xffffffffffffffff)"
    });
}
