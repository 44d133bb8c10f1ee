//! All spans and all pairs of spans of the 8-bit space, and the edges of the 64-bit spaces.

mod edges;
mod every_pair;
mod every_span;

use std::vec::Vec;

use super::*;
use crate::Tiny;

/// The span `first..=last` of the 8-bit space.
fn tiny(first: u8, last: u8) -> Span<Tiny> {
    Span::new(Tiny::new(first), Tiny::new(last)).expect("first <= last")
}

/// The ends of every span of the 8-bit space: 32896 of them.
fn every_span() -> Vec<(u8, u8)> {
    (0..=255).flat_map(|first| (first..=255).map(move |last| (first, last))).collect()
}
