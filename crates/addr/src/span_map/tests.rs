//! Maps of spans by example, and the edges of the 64-bit spaces. The models are beside.

mod every_map;
mod histories;
mod model;

use std::format;
use std::string::ToString;
use std::vec::Vec;

use super::*;
use crate::Gpa;

fn gpa(first: u64, last: u64) -> Span<Gpa> {
    Span::new(Gpa::new(first), Gpa::new(last)).expect("first <= last")
}

fn entries<V: Clone>(map: &SpanMap<Gpa, V>) -> Vec<(u64, u64, V)> {
    let plain =
        |(span, value): (Span<Gpa>, &V)| (span.first().get(), span.last().get(), value.clone());
    map.iter().map(plain).collect()
}

#[test]
fn inserting_cuts_what_was_there() {
    let mut map = SpanMap::new();
    map.insert(gpa(0, 99), 'a');
    map.insert(gpa(40, 59), 'b');
    assert_eq!(entries(&map), [(0, 39, 'a'), (40, 59, 'b'), (60, 99, 'a')]);
    map.insert(gpa(30, 60), 'c');
    assert_eq!(entries(&map), [(0, 29, 'a'), (30, 60, 'c'), (61, 99, 'a')]);
    map.insert(Span::whole(), 'd');
    assert_eq!(entries(&map), [(0, u64::MAX, 'd')]);
}

#[test]
fn removing_returns_the_pieces_and_leaves_the_edges() {
    let mut map = SpanMap::new();
    map.insert(gpa(0, 9), 'a');
    map.insert(gpa(20, 29), 'b');
    map.insert(gpa(30, 39), 'c');
    let pieces = map.remove(gpa(5, 32));
    assert_eq!(pieces, [(gpa(5, 9), 'a'), (gpa(20, 29), 'b'), (gpa(30, 32), 'c')]);
    assert_eq!(entries(&map), [(0, 4, 'a'), (33, 39, 'c')]);
    assert_eq!(map.remove(gpa(5, 32)), []);
}

#[test]
fn a_taken_span_is_refused_by_name_and_nothing_changes() {
    let mut map = SpanMap::new();
    map.insert(gpa(0x1000, 0x1fff), 'a');
    map.insert(gpa(0x3000, 0x3fff), 'b');
    let before = map.clone();
    let refused = map.try_insert(gpa(0x1800, 0x3000), 'c').expect_err("taken");
    assert_eq!(refused, Occupied { wanted: gpa(0x1800, 0x3000), by: gpa(0x1000, 0x1fff) });
    assert_eq!(refused.to_string(), "0x1800-0x3000 overlaps 0x1000-0x1fff, which is taken");
    assert_eq!(map, before);
    assert_eq!(map.try_insert(gpa(0x2000, 0x2fff), 'c'), Ok(()));
    assert_eq!(map.len(), 3);
}

#[test]
fn neighbours_stay_apart_until_coalesced() {
    let mut map = SpanMap::new();
    map.insert(gpa(0, 9), 'a');
    map.insert(gpa(10, 19), 'a');
    map.insert(gpa(20, 29), 'b');
    map.insert(gpa(31, 39), 'b');
    assert_eq!(map.len(), 4);
    assert_eq!(map.get(Gpa::new(10)), Some((gpa(10, 19), &'a')));
    map.coalesce();
    assert_eq!(entries(&map), [(0, 19, 'a'), (20, 29, 'b'), (31, 39, 'b')]);
}

#[test]
fn the_last_page_is_held_cut_and_removed_like_any_other() {
    let last_page = gpa(!0xfff, u64::MAX);
    let mut map = SpanMap::new();
    assert_eq!(map.try_insert(last_page, 'a'), Ok(()));
    assert_eq!(map.get(Gpa::LAST), Some((last_page, &'a')));
    assert!(map.covers(last_page) && map.overlaps(Span::of(Gpa::LAST)));
    assert_eq!(map.gaps(Span::whole()).collect::<Vec<_>>(), [gpa(0, !0x1000)]);
    assert!(map.try_insert(Span::of(Gpa::LAST), 'b').is_err());

    map.insert(Span::of(Gpa::LAST), 'b');
    assert_eq!(entries(&map), [(!0xfff, u64::MAX - 1, 'a'), (u64::MAX, u64::MAX, 'b')]);
    assert!(map.covers(last_page));
    assert_eq!(map.remove_exact(Span::of(Gpa::LAST)), Some('b'));
    assert!(!map.covers(last_page));
    assert_eq!(map.gaps(last_page).collect::<Vec<_>>(), [Span::of(Gpa::LAST)]);

    map.insert(Span::of(Gpa::LAST), 'a');
    map.coalesce();
    assert_eq!(entries(&map), [(!0xfff, u64::MAX, 'a')]);
    assert_eq!(map.remove(Span::of(Gpa::LAST)), [(Span::of(Gpa::LAST), 'a')]);
    assert_eq!(map.get(Gpa::LAST), None);
}

#[test]
fn the_first_and_the_last_page_are_no_neighbours() {
    let mut map = SpanMap::new();
    map.insert(gpa(0, 0xfff), 'a');
    map.insert(gpa(!0xfff, u64::MAX), 'a');
    map.coalesce();
    assert_eq!(map.len(), 2);
    map.insert(gpa(0x1000, !0x1000), 'a');
    map.coalesce();
    assert_eq!(entries(&map), [(0, u64::MAX, 'a')]);
    assert_eq!(map.to_set(), SpanSet::whole());
}

#[test]
fn exactly_a_span_is_not_part_of_one() {
    let mut map = SpanMap::new();
    map.insert(gpa(0, 9), 'a');
    for other in [gpa(0, 8), gpa(1, 9), gpa(0, 10), gpa(10, 19)] {
        assert_eq!(map.get_exact(other), None);
        assert_eq!(map.remove_exact(other), None);
    }
    assert_eq!(map.get_exact(gpa(0, 9)), Some(&'a'));
    assert_eq!(map.remove_exact(gpa(0, 9)), Some('a'));
    assert!(map.is_empty());
}

#[test]
fn values_change_in_place() {
    let mut map = SpanMap::new();
    map.insert(gpa(0, 9), 1);
    map.insert(gpa(20, 29), 2);
    if let Some((span, value)) = map.get_mut(Gpa::new(9)) {
        assert_eq!(span, gpa(0, 9));
        *value += 10;
    }
    assert!(map.get_mut(Gpa::new(10)).is_none());
    map.iter_mut().for_each(|(_, value)| *value *= 2);
    assert_eq!(entries(&map), [(0, 9, 22), (20, 29, 4)]);
    map.retain(|span, value| span.contains(Gpa::new(25)) && *value == 4);
    assert_eq!(entries(&map), [(20, 29, 4)]);
    map.clear();
    assert_eq!(map, SpanMap::default());
}

#[test]
fn what_cannot_be_cloned_can_be_held() {
    struct Sealed(u8);
    let mut map = SpanMap::new();
    assert!(map.try_insert(gpa(0, 9), Sealed(1)).is_ok());
    assert!(map.try_insert(gpa(9, 19), Sealed(2)).is_err());
    assert_eq!(map.get(Gpa::new(9)).map(|(_, value)| value.0), Some(1));
    assert_eq!(map.remove_exact(gpa(0, 9)).map(|value| value.0), Some(1));
}

#[test]
fn a_map_debugs_as_spans_and_values() {
    let mut map = SpanMap::new();
    map.insert(gpa(0, 0xfff), 'a');
    assert_eq!(format!("{map:?}"), "{Gpa(0x0-0xfff): 'a'}");
}
