//! Every set of ten addresses at either end of the 8-bit space, and every pair of them.

use std::vec::Vec;

use super::super::*;
use crate::Tiny;

const CELLS: u8 = 10;

/// Addresses at one end of the space, numbered from 0 on.
#[derive(Clone, Copy, Debug)]
struct Corner {
    base: u8,
}

const CORNERS: [Corner; 2] = [Corner { base: 0 }, Corner { base: 0xff - (CELLS - 1) }];

impl Corner {
    fn address(self, cell: u8) -> Tiny {
        Tiny::new(self.base + cell)
    }

    fn span(self, first: u8, last: u8) -> Span<Tiny> {
        Span::new(self.address(first), self.address(last)).expect("first <= last")
    }

    /// Every span of the corner, and its bits.
    fn spans(self) -> Vec<(Span<Tiny>, u16)> {
        let ends = (0..CELLS).flat_map(|first| (first..CELLS).map(move |last| (first, last)));
        let bits = |first: u8, last: u8| (first..=last).fold(0, |bits, cell| bits | 1 << cell);
        ends.map(|(first, last)| (self.span(first, last), bits(first, last))).collect()
    }

    /// The set of these bits, built one address at a time from the middle out.
    fn set(self, bits: u16) -> SpanSet<Tiny> {
        let mut set = SpanSet::new();
        for step in 0..CELLS {
            let cell = (step * 7 + 5) % CELLS;
            if bits & 1 << cell != 0 {
                set.insert(Span::of(self.address(cell)));
            }
        }
        set
    }

    /// The bits of a set; panics if it is not in its one form or reaches out of the corner.
    fn bits(self, set: &SpanSet<Tiny>) -> u16 {
        let spans: Vec<_> = set.iter().collect();
        for pair in spans.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].join(&pair[1]).is_none(), "{set}");
        }
        let cells = spans.iter().flat_map(|span| span.first().raw()..=span.last().raw());
        cells.fold(0, |bits, raw| bits | 1 << raw.checked_sub(self.base).expect("in the corner"))
    }
}

const ALL: u16 = (1 << CELLS) - 1;

#[test]
fn every_set_answers_for_every_span_as_its_bits_do() {
    for corner in CORNERS {
        let spans = corner.spans();
        for bits in 0..=ALL {
            let set = corner.set(bits);
            assert_eq!(corner.bits(&set), bits);
            assert_eq!(set.is_empty(), bits == 0);
            assert_eq!(set.length(), u128::from(bits.count_ones()));
            for cell in 0..CELLS {
                assert_eq!(set.contains(corner.address(cell)), bits & 1 << cell != 0);
            }
            for (span, span_bits) in &spans {
                assert_eq!(set.encloses(span), span_bits & !bits == 0, "{set} and {span}");
                assert_eq!(set.overlaps(span), span_bits & bits != 0, "{set} and {span}");
                let gaps: SpanSet<_> = set.gaps(*span).collect();
                assert_eq!(corner.bits(&gaps), span_bits & !bits, "{set} and {span}");
                assert_eq!(set.gaps(*span).count(), gaps.iter().count(), "gaps do not touch");
                let overlapping: Vec<_> = set.overlapping(*span).collect();
                let expected: Vec<_> = set.iter().filter(|one| one.overlaps(span)).collect();
                assert_eq!(overlapping, expected);
            }
        }
    }
}

#[test]
fn every_insertion_and_removal_changes_a_set_as_it_does_its_bits() {
    for corner in CORNERS {
        let spans = corner.spans();
        for bits in 0..=ALL {
            let set = corner.set(bits);
            for (span, span_bits) in &spans {
                let mut inserted = set.clone();
                inserted.insert(*span);
                assert_eq!(corner.bits(&inserted), bits | span_bits, "{set} with {span}");
                let mut removed = set.clone();
                removed.remove(*span);
                assert_eq!(corner.bits(&removed), bits & !span_bits, "{set} without {span}");
            }
        }
    }
}

#[test]
fn every_pair_of_sets_combines_as_its_bits_do() {
    // Eight of the ten addresses: 65536 pairs for each corner.
    let corner = CORNERS[1];
    let shift = CELLS - 8;
    let sets: Vec<_> = (0..=0xff).map(|bits| (bits << shift, corner.set(bits << shift))).collect();
    assert!(sets.iter().any(|(_, set)| set.contains(Tiny::LAST)));
    for (one_bits, one) in &sets {
        for (other_bits, other) in &sets {
            assert_eq!(corner.bits(&one.union(other)), one_bits | other_bits);
            assert_eq!(corner.bits(&one.intersection(other)), one_bits & other_bits);
            assert_eq!(corner.bits(&one.minus(other)), one_bits & !other_bits);
            assert_eq!(one == other, one_bits == other_bits);
        }
    }
}

#[test]
fn the_complement_is_every_address_but_those() {
    for corner in CORNERS {
        for bits in 0..=ALL {
            let set = corner.set(bits);
            let complement = set.complement();
            assert_eq!(set.length() + complement.length(), 256);
            assert!(set.intersection(&complement).is_empty());
            assert_eq!(set.union(&complement), SpanSet::whole());
            assert_eq!(complement.complement(), set);
        }
    }
}
