//! What one span is and does, for every span of the 8-bit space.

use super::*;

fn alignments() -> impl Iterator<Item = Alignment> {
    (0..12).map(|exponent| Alignment::new(1 << exponent).expect("a power of two"))
}

#[test]
fn there_is_a_span_for_every_two_ends_in_order_and_no_other() {
    let mut count = 0;
    for first in 0..=255 {
        for last in 0..=255 {
            let span = Span::new(Tiny::new(first), Tiny::new(last));
            assert_eq!(span.is_some(), first <= last);
            count += usize::from(span.is_some());
        }
    }
    assert_eq!(count, 32896);
    assert_eq!(every_span().len(), count);
}

#[test]
fn a_length_makes_a_span_unless_it_is_zero_or_reaches_out_of_the_space() {
    for first in 0..=255_u8 {
        for length in 0..=600_u64 {
            let end = u64::from(first) + length;
            let expected = (length > 0 && end <= 256)
                .then(|| tiny(first, u8::try_from(end - 1).expect("in the space")));
            assert_eq!(Span::from_parts(Tiny::new(first), length), expected);
            if let Some(length) = NonZeroU64::new(length) {
                assert_eq!(Span::from_length(Tiny::new(first), length), expected);
            }
        }
        assert_eq!(Span::from_parts(Tiny::new(first), u64::MAX), None);
    }
}

#[test]
fn the_length_is_the_number_of_addresses_it_contains() {
    for (first, last) in every_span() {
        let span = tiny(first, last);
        let (mut count, mut lowest, mut highest) = (0_u64, 255, 0);
        for raw in (0..=255).filter(|raw| span.contains(Tiny::new(*raw))) {
            (lowest, highest) = (raw.min(lowest), raw.max(highest));
            count += 1;
        }
        assert_eq!((lowest, highest), (first, last));
        assert_eq!(u64::from(last - first) + 1, count);
        assert_eq!(span.length(), u128::from(count));
        assert_eq!(span.length_u64().map(NonZeroU64::get), Some(count));
        assert_eq!((span.first(), span.last()), (Tiny::new(first), Tiny::new(last)));
        assert_eq!(span == Span::of(span.first()), count == 1);
        assert_eq!(span == Span::whole(), count == 256);
    }
}

#[test]
fn offsets_count_the_addresses_below() {
    for (first, last) in every_span() {
        let span = tiny(first, last);
        let mut below = 0;
        for raw in 0..=255 {
            let inside = first <= raw && raw <= last;
            assert_eq!(span.offset_of(Tiny::new(raw)), inside.then_some(below));
            below += u64::from(inside);
        }
    }
}

#[test]
fn splitting_gives_two_spans_that_join_to_the_one() {
    for (first, last) in every_span() {
        let span = tiny(first, last);
        for raw in 0..=255 {
            let expected =
                (first < raw && raw <= last).then(|| (tiny(first, raw - 1), tiny(raw, last)));
            let halves = span.split_at(Tiny::new(raw));
            assert_eq!(halves, expected);
            if let Some((below, above)) = halves {
                assert_eq!(below.join(&above), Some(span));
            }
        }
    }
}

#[test]
fn a_subspan_is_counted_from_the_first_address_and_stays_inside() {
    for (first, last) in every_span() {
        let span = tiny(first, last);
        let length = u64::from(last - first) + 1;
        // One beyond each edge is as far outside as any.
        for offset in (0..=length + 1).step_by(3).chain([length - 1, length, 256, u64::MAX]) {
            for part in [1, 2, 3, length / 2, length, length + 1, 256, 257, u64::MAX] {
                let Some(part) = NonZeroU64::new(part) else { continue };
                let fits = offset < length && part.get() <= length - offset;
                let found = span.subspan(offset, part);
                assert_eq!(found.is_some(), fits, "{span} {offset} {part}");
                let Some(found) = found else { continue };
                assert!(span.encloses(&found));
                assert_eq!(span.offset_of(found.first()), Some(offset));
                assert_eq!(found.length_u64(), Some(part));
            }
        }
    }
}

#[test]
fn rebasing_keeps_the_length_or_does_not_fit() {
    for (first, last) in every_span() {
        let span = tiny(first, last);
        for to in 0..=255_u8 {
            let moved = span.rebase(Tiny::new(to));
            assert_eq!(moved.is_some(), u16::from(to) + u16::from(last - first) <= 255);
            if let Some(moved) = moved {
                assert_eq!(moved.first(), Tiny::new(to));
                assert_eq!(moved.length(), span.length());
                assert_eq!(moved.rebase(span.first()), Some(span));
            }
        }
    }
}

#[test]
fn aligning_finds_the_nearest_aligned_spans() {
    for alignment in alignments() {
        let bytes = alignment.bytes();
        for (first, last) in every_span() {
            let span = tiny(first, last);
            let (first, end) = (u64::from(first), u64::from(last) + 1);

            let out = span.aligned_out(alignment);
            assert_eq!(out.first().get(), first / bytes * bytes);
            assert_eq!(out.last().get() + 1, (end.div_ceil(bytes) * bytes).min(256));
            assert!(out.encloses(&span));

            let (inner_first, inner_end) = (first.div_ceil(bytes) * bytes, end / bytes * bytes);
            let inside = span.aligned_in(alignment);
            assert_eq!(inside.is_some(), inner_first < inner_end, "{span} {alignment}");
            if let Some(inside) = inside {
                assert_eq!(inside.first().get(), inner_first);
                assert_eq!(inside.last().get() + 1, inner_end);
                assert!(inside.is_aligned(alignment) && span.encloses(&inside));
            }
            assert_eq!(span.is_aligned(alignment), inside == Some(span));
        }
    }
}
