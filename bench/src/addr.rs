//! The span map beside the same work done by hand on a `BTreeMap`.
//!
//! Both do the same operations on the same spans in the same order, in turn, and must end with the
//! same contents.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use ringfence_addr::{Gpa, Span, SpanMap};

use crate::by_hand::ByHand;
use crate::order::shuffled;
use crate::report::{Row, median};
use crate::settings::Settings;

/// "Near a `BTreeMap`'s speed or better."
const GOAL: f64 = 0.9;
const STRIDE: u64 = 0x4000;
const LENGTH: u64 = 0x2000;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Get,
    TryInsert,
    Insert,
    Remove,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::TryInsert => "try-insert",
            Self::Insert => "insert",
            Self::Remove => "remove",
        }
    }

    /// How far from the start of a span in the map the spans it works on begin.
    fn shift(self) -> u64 {
        match self {
            Self::Get | Self::TryInsert => 0,
            // Half over a span that is there: it must be cut.
            Self::Insert | Self::Remove => LENGTH / 2,
        }
    }
}

/// Measures every operation at both sizes.
pub(crate) fn run(settings: &Settings) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (spans, size) in [(1_000, "1k"), (100_000, "100k")] {
        for operation in
            [Operation::Get, Operation::TryInsert, Operation::Insert, Operation::Remove]
        {
            rows.push(compare(settings, operation, spans, size)?);
        }
    }
    Ok(rows)
}

fn compare(settings: &Settings, operation: Operation, spans: u64, size: &str) -> Result<Row> {
    let name = format!("addr/{}-{size}", operation.name());
    let work = if settings.quick { 200_000 } else { 600_000 };
    let firsts: Vec<u64> = shuffled(spans, 1).iter().map(|number| number * STRIDE).collect();
    let lasts: Vec<(u64, u64)> = firsts
        .iter()
        .map(|first| first + operation.shift())
        .map(|first| (first, first + (LENGTH - 1)))
        .collect();
    let mut full = (SpanMap::new(), ByHand::default());
    if operation != Operation::TryInsert {
        for (&first, value) in firsts.iter().zip(0..) {
            full.0.insert(span(first, first + (LENGTH - 1)), value);
            full.1.insert(first, first + (LENGTH - 1), value);
        }
    }
    let typed: Vec<Span<Gpa>> = lasts.iter().map(|&(first, last)| span(first, last)).collect();

    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for round in 1..=settings.rounds {
        settings.stop_if_asked()?;
        // The median of many short passes: whatever else runs interrupts but a few of them.
        let (mut our_rates, mut peer_rates, mut done) = (Vec::new(), Vec::new(), 0);
        while done < work {
            let (mut map, mut by_hand) = full.clone();
            // Who goes first finds colder caches: take turns.
            let ours_first = (done / spans).is_multiple_of(2);
            if ours_first {
                our_rates.push(rate(spans, || use_ours(&mut map, operation, &typed)));
            }
            peer_rates.push(rate(spans, || use_by_hand(&mut by_hand, operation, &lasts)));
            if !ours_first {
                our_rates.push(rate(spans, || use_ours(&mut map, operation, &typed)));
            }
            done += spans;
            let same = map
                .iter()
                .map(|(span, &value)| (span.first().get(), (span.last().get(), value)))
                .eq(by_hand.0.iter().map(|(&first, &entry)| (first, entry)));
            ensure!(same, "{name}: the two maps differ after the same work");
        }
        ours.push(median(&our_rates));
        peer.push(median(&peer_rates));
        eprintln!("{name}: round {round} of {}", settings.rounds);
    }
    let peer = ("BTreeMap by hand", peer.as_slice());
    Ok(Row::new(name, "M operations/s", &ours, peer, Some(GOAL)))
}

fn use_ours(map: &mut SpanMap<Gpa, u32>, operation: Operation, spans: &[Span<Gpa>]) {
    match operation {
        Operation::Get => spans.iter().for_each(|span| {
            black_box(map.get(black_box(span.last())));
        }),
        Operation::TryInsert => spans.iter().zip(0..).for_each(|(&span, value)| {
            black_box(map.try_insert(span, value).is_ok());
        }),
        Operation::Insert => {
            spans.iter().zip(0..).for_each(|(&span, value)| map.insert(span, value));
        }
        Operation::Remove => spans.iter().for_each(|&span| {
            black_box(map.remove(span));
        }),
    }
}

fn use_by_hand(map: &mut ByHand, operation: Operation, spans: &[(u64, u64)]) {
    match operation {
        Operation::Get => spans.iter().for_each(|&(_, last)| {
            black_box(map.get(black_box(last)));
        }),
        Operation::TryInsert => spans.iter().zip(0..).for_each(|(&(first, last), value)| {
            black_box(map.try_insert(first, last, value));
        }),
        Operation::Insert => {
            spans
                .iter()
                .zip(0..)
                .for_each(|(&(first, last), value)| map.insert(first, last, value));
        }
        Operation::Remove => spans.iter().for_each(|&(first, last)| {
            black_box(map.remove(first, last));
        }),
    }
}

fn span(first: u64, last: u64) -> Span<Gpa> {
    Span::new(Gpa::new(first), Gpa::new(last)).expect("the spans made here are in order")
}

/// Millions per second of `count` operations that `work` does.
#[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
fn rate(count: u64, work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    count as f64 / begin.elapsed().as_secs_f64() / 1e6
}
