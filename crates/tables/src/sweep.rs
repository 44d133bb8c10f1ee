//! What overlaps what, without looking at every pair.

use ringfence_addr::{Address, Span};

/// Pairs looked at, at most: a table with more than these has been told enough of.
const PAIRS_MAX: usize = 1 << 14;

/// Pairs of the spans that overlap, each by its index, the one that begins first being first.
///
/// Sorted by beginning, only neighbours can overlap, so this takes time for the pairs there are.
pub(crate) fn overlaps<A: Address>(spans: &[(usize, Span<A>)]) -> Vec<(usize, usize)> {
    let mut sorted = spans.to_vec();
    sorted.sort_by_key(|(index, span)| (*span, *index));
    let mut pairs = Vec::new();
    for (place, (index, span)) in sorted.iter().enumerate() {
        for (other, behind) in &sorted[place + 1..] {
            if behind.first() > span.last() || pairs.len() == PAIRS_MAX {
                break;
            }
            pairs.push((*index, *other));
        }
    }
    pairs
}
