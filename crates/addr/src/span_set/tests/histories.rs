//! Random histories of a set over the whole 8-bit space, against 256 booleans.

use proptest::prelude::*;
use std::vec::Vec;

use super::super::*;
use crate::Tiny;

#[derive(Clone, Copy, Debug)]
enum Step {
    Insert(Span<Tiny>),
    Remove(Span<Tiny>),
}

fn any_span() -> impl Strategy<Value = Span<Tiny>> {
    let short = (any::<u8>(), 0..12_u8)
        .prop_map(|(first, reach)| (Tiny::new(first), Tiny::new(first.saturating_add(reach))));
    let any = (any::<u8>(), any::<u8>())
        .prop_map(|(one, other)| (Tiny::new(one.min(other)), Tiny::new(one.max(other))));
    prop_oneof![4 => short, 1 => any]
        .prop_map(|(first, last)| Span::new(first, last).expect("first <= last"))
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => any_span().prop_map(Step::Insert),
        2 => any_span().prop_map(Step::Remove),
    ]
}

fn cells_of(set: &SpanSet<Tiny>) -> Vec<bool> {
    (0..=255).map(|raw| set.contains(Tiny::new(raw))).collect()
}

fn after(steps: &[Step]) -> (SpanSet<Tiny>, Vec<bool>) {
    let mut set = SpanSet::new();
    let mut cells = std::vec![false; 256];
    for step in steps {
        let (span, value) = match *step {
            Step::Insert(span) => {
                set.insert(span);
                (span, true)
            }
            Step::Remove(span) => {
                set.remove(span);
                (span, false)
            }
        };
        cells[span.first().raw().into()..=span.last().raw().into()].fill(value);
    }
    (set, cells)
}

proptest! {
    #[test]
    fn a_set_holds_what_its_history_left(steps in proptest::collection::vec(any_step(), 0..60)) {
        let (set, cells) = after(&steps);
        prop_assert_eq!(cells_of(&set), cells.clone());
        let runs = cells.chunk_by(|one, other| one == other).filter(|run| run[0]).count();
        prop_assert_eq!(set.iter().count(), runs);
    }

    #[test]
    fn sets_combine_address_by_address(
        one in proptest::collection::vec(any_step(), 0..30),
        other in proptest::collection::vec(any_step(), 0..30),
    ) {
        let ((one, one_cells), (other, other_cells)) = (after(&one), after(&other));
        let both = |combine: fn(bool, bool) -> bool| -> Vec<bool> {
            one_cells.iter().zip(&other_cells).map(|(one, other)| combine(*one, *other)).collect()
        };
        prop_assert_eq!(cells_of(&one.union(&other)), both(|one, other| one || other));
        prop_assert_eq!(cells_of(&one.intersection(&other)), both(|one, other| one && other));
        prop_assert_eq!(cells_of(&one.minus(&other)), both(|one, other| one && !other));
        prop_assert_eq!(one.minus(&other), one.intersection(&other.complement()));
    }
}
