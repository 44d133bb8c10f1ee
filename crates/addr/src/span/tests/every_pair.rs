//! How two spans lie to each other, for all 1,082,146,816 ordered pairs of the 8-bit space.
//!
//! The spans under test are inclusive and compare ends. The model is half-open and counts: its
//! one number `shared` is how many addresses both have, zero where they touch, and minus the
//! distance where they are apart. A second, plainer model (one bit per address) agrees with the
//! spans on all pairs within 64 addresses of either end of the space.

use std::thread;

use super::*;

/// A span under test, and the half-open `start..end` of the model.
#[derive(Clone, Copy, Debug)]
struct Modelled {
    span: Span<Tiny>,
    start: i16,
    end: i16,
}

/// Whether `span` is `start..end`, or there is none and that is empty.
fn is(span: Option<Span<Tiny>>, start: i16, end: i16) -> bool {
    let number = |address: Tiny| i16::from(address.raw());
    match span {
        Some(span) => number(span.first()) == start && number(span.last()) + 1 == end,
        None => start >= end,
    }
}

/// Whether everything spans say about the pair is what the model says.
fn is_as_counted(a: &Modelled, b: &Modelled) -> bool {
    let shared = a.end.min(b.end) - a.start.max(b.start);
    let [below, above] = a.span.minus(&b.span);
    let joined = a.span.join(&b.span);
    a.span.overlaps(&b.span) == (shared > 0)
        && a.span.touches(&b.span) == (shared == 0)
        && a.span.encloses(&b.span) == (shared == b.end - b.start)
        && is(a.span.intersection(&b.span), a.start.max(b.start), a.end.min(b.end))
        && is(below, a.start, a.end.min(b.start))
        && is(above, a.start.max(b.end), a.end)
        && joined.is_some() == (shared >= 0)
        && (shared < 0 || is(joined, a.start.min(b.start), a.end.max(b.end)))
}

#[test]
fn every_pair_is_as_counted() {
    let model = |(first, last)| Modelled {
        span: tiny(first, last),
        start: i16::from(first),
        end: i16::from(last) + 1,
    };
    let spans: Vec<_> = every_span().into_iter().map(model).collect();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let check = |worker: usize| {
        let mut pairs = 0_u64;
        for one in spans.iter().skip(worker).step_by(workers) {
            for other in &spans {
                assert!(is_as_counted(one, other), "{one:x?} and {other:x?}");
                pairs += 1;
            }
        }
        pairs
    };
    let pairs: u64 = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..workers).map(|worker| scope.spawn(move || check(worker))).collect();
        threads.into_iter().map(|worker| worker.join().expect("every pair is as counted")).sum()
    });
    assert_eq!(pairs, 1_082_146_816);
}

#[test]
fn every_pair_near_an_end_of_the_space_is_as_its_bits_are() {
    for base in [0_u8, 192] {
        let ends = (0..64_u8).flat_map(|first| (first..64).map(move |last| (first, last)));
        let mut spans = Vec::new();
        let mut table = [[0_u64; 64]; 64];
        for (first, last) in ends {
            let bits = (first..=last).fold(0, |bits, bit| bits | 1 << bit);
            table[usize::from(first)][usize::from(last)] = bits;
            spans.push((tiny(base + first, base + last), bits));
        }
        assert_eq!(spans.len(), 2080);
        let index = |address: Tiny| usize::from(address.raw() - base);
        let bits = |span: Option<Span<Tiny>>| {
            span.map_or(0, |span| table[index(span.first())][index(span.last())])
        };
        for (one, one_bits) in &spans {
            for (other, other_bits) in &spans {
                let union = one_bits | other_bits;
                let run = union >> union.trailing_zeros();
                let one_run = run & run.wrapping_add(1) == 0;
                let [below, above] = one.minus(other);
                let shared = one_bits & other_bits;
                let is_as_its_bits = one.overlaps(other) == (shared != 0)
                    && one.encloses(other) == (shared == *other_bits)
                    && one.touches(other) == (one_run && shared == 0)
                    && bits(one.intersection(other)) == shared
                    && bits(below) | bits(above) == one_bits & !other_bits
                    && bits(below) & bits(above) == 0
                    && bits(one.join(other)) == if one_run { union } else { 0 };
                assert!(is_as_its_bits, "{one} and {other}");
            }
        }
    }
}
