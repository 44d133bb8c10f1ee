//! Sets of spans against sets of plain bits, and the edges of the 64-bit spaces.

mod every_set;
mod histories;

use std::format;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::Gpa;

fn gpa(first: u64, last: u64) -> Span<Gpa> {
    Span::new(Gpa::new(first), Gpa::new(last)).expect("first <= last")
}

fn set(spans: &[(u64, u64)]) -> SpanSet<Gpa> {
    spans.iter().map(|(first, last)| gpa(*first, *last)).collect()
}

fn spans(set: &SpanSet<Gpa>) -> Vec<(u64, u64)> {
    set.iter().map(|span| (span.first().get(), span.last().get())).collect()
}

#[test]
fn spans_that_touch_or_overlap_become_one() {
    assert_eq!(spans(&set(&[(0x1000, 0x1fff), (0x2000, 0x2fff)])), [(0x1000, 0x2fff)]);
    assert_eq!(spans(&set(&[(0x2000, 0x2fff), (0x1000, 0x1fff)])), [(0x1000, 0x2fff)]);
    assert_eq!(spans(&set(&[(0, 9), (20, 29), (40, 49), (5, 44)])), [(0, 49)]);
    assert_eq!(spans(&set(&[(0, 9), (11, 20)])), [(0, 9), (11, 20)]);
}

#[test]
fn removing_cuts_holes_and_edges() {
    let mut holed = set(&[(0, 99)]);
    holed.remove(gpa(40, 59));
    assert_eq!(spans(&holed), [(0, 39), (60, 99)]);
    holed.remove(gpa(30, 69));
    assert_eq!(spans(&holed), [(0, 29), (70, 99)]);
    holed.remove(Span::whole());
    assert!(holed.is_empty());
    assert_eq!(holed, SpanSet::new());
}

#[test]
fn the_last_page_is_held_joined_and_removed_like_any_other() {
    let last_page = gpa(!0xfff, u64::MAX);
    let mut set = SpanSet::from(last_page);
    assert!(set.contains(Gpa::LAST) && set.encloses(&last_page));
    set.insert(gpa(!0x1fff, !0x1000));
    assert_eq!(spans(&set), [(!0x1fff, u64::MAX)]);
    assert_eq!(spans(&set.complement()), [(0, !0x2000)]);
    set.remove(Span::of(Gpa::LAST));
    assert_eq!(spans(&set), [(!0x1fff, u64::MAX - 1)]);
    assert_eq!(set.gaps(last_page).collect::<Vec<_>>(), [Span::of(Gpa::LAST)]);
}

#[test]
fn the_whole_space_has_the_length_2_to_the_64_and_no_complement() {
    let whole = SpanSet::<Gpa>::whole();
    assert_eq!(whole.length(), 1 << 64);
    assert!(whole.complement().is_empty());
    assert_eq!(SpanSet::<Gpa>::new().complement(), whole);
    assert_eq!(SpanSet::<Gpa>::new().length(), 0);
    let ends = set(&[(0, 0), (u64::MAX, u64::MAX)]);
    assert_eq!(spans(&ends), [(0, 0), (u64::MAX, u64::MAX)]);
    assert_eq!(spans(&ends.complement()), [(1, u64::MAX - 1)]);
}

#[test]
fn overlapping_spans_are_given_whole_and_gaps_are_clipped() {
    let set = set(&[(0, 9), (20, 29), (40, 49)]);
    let overlapping: Vec<_> = set.overlapping(gpa(5, 40)).collect();
    assert_eq!(overlapping, [gpa(0, 9), gpa(20, 29), gpa(40, 49)]);
    let gaps: Vec<_> = set.gaps(gpa(5, 60)).collect();
    assert_eq!(gaps, [gpa(10, 19), gpa(30, 39), gpa(50, 60)]);
    assert_eq!(set.get(Gpa::new(25)), Some(gpa(20, 29)));
    assert_eq!(set.get(Gpa::new(30)), None);
}

#[test]
fn a_set_prints_its_spans() {
    assert_eq!(set(&[(0x2000, 0x2fff), (0, 0xfff)]).to_string(), "0x0-0xfff, 0x2000-0x2fff");
    assert_eq!(SpanSet::<Gpa>::default().to_string(), "nothing");
    assert_eq!(format!("{:?}", set(&[(0, 0xfff)])), "{Gpa(0x0-0xfff)}");
}
