//! Intervals on plain sorted lists of ends.

use ringfence_addr::{Gpa, Span};

/// Where `keep` holds of "in `a`" and "in `b`", lowest first and joined. `keep` must not hold where
/// neither is.
pub(super) fn sweep(
    a: &[Span<Gpa>],
    b: &[Span<Gpa>],
    keep: impl Fn(bool, bool) -> bool,
) -> Vec<Span<Gpa>> {
    let mut ends = Vec::with_capacity(2 * (a.len() + b.len()));
    for (which, spans) in [a, b].into_iter().enumerate() {
        for span in spans {
            ends.push((u128::from(span.first().get()), which, 1_i64));
            ends.push((u128::from(span.last().get()) + 1, which, -1));
        }
    }
    ends.sort_unstable();
    let mut depth = [0_i64; 2];
    let mut open = None;
    let mut kept = Vec::new();
    let mut ends = ends.into_iter().peekable();
    while let Some((at, which, change)) = ends.next() {
        depth[which] += change;
        if ends.peek().is_some_and(|next| next.0 == at) {
            continue;
        }
        match (open, keep(depth[0] > 0, depth[1] > 0)) {
            (None, true) => open = Some(at),
            (Some(first), false) => {
                kept.extend(span(first, at));
                open = None;
            }
            _ => {}
        }
    }
    kept
}

/// The addresses from `first` up to `end`.
fn span(first: u128, end: u128) -> Option<Span<Gpa>> {
    let first = u64::try_from(first).ok()?;
    let last = u64::try_from(end.checked_sub(1)?).ok()?;
    Span::new(Gpa::new(first), Gpa::new(last))
}

/// Both, joined.
pub(super) fn joined(spans: &[Span<Gpa>]) -> Vec<Span<Gpa>> {
    sweep(spans, &[], |a, _| a)
}

/// What is in both.
pub(super) fn common(a: &[Span<Gpa>], b: &[Span<Gpa>]) -> Vec<Span<Gpa>> {
    sweep(a, b, |a, b| a && b)
}

/// What is in `a` and not in `b`.
pub(super) fn without(a: &[Span<Gpa>], b: &[Span<Gpa>]) -> Vec<Span<Gpa>> {
    sweep(a, b, |a, b| a && !b)
}

/// How many bytes there are; of what overlaps, each once.
pub(super) fn total(spans: &[Span<Gpa>]) -> u128 {
    joined(spans).iter().map(length).sum()
}

pub(super) fn length(span: &Span<Gpa>) -> u128 {
    u128::from(span.last().get()) - u128::from(span.first().get()) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(pairs: &[(u64, u64)]) -> Vec<Span<Gpa>> {
        pairs.iter().filter_map(|(a, b)| Span::new(Gpa::new(*a), Gpa::new(*b))).collect()
    }

    #[test]
    fn sweeping_joins_and_parts() {
        let a = spans(&[(8, 9), (0, 3), (4, 5), (2, 4)]);
        let b = spans(&[(3, 8)]);
        assert_eq!(joined(&a), spans(&[(0, 5), (8, 9)]));
        assert_eq!(common(&a, &b), spans(&[(3, 5), (8, 8)]));
        assert_eq!(without(&a, &b), spans(&[(0, 2), (9, 9)]));
        assert_eq!(total(&a), 8);
    }

    #[test]
    fn the_last_address_of_all_counts() {
        let a = spans(&[(0, u64::MAX)]);
        assert_eq!(total(&a), 1 << 64);
        let top = spans(&[(u64::MAX, u64::MAX)]);
        assert_eq!(without(&a, &top), spans(&[(0, u64::MAX - 1)]));
        assert_eq!(common(&a, &top), top);
    }
}
