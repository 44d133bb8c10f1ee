//! Random histories of a map over the whole 8-bit space, against the model.

use proptest::prelude::*;

use super::super::*;
use super::model::{Model, Step};
use crate::Tiny;

fn any_span() -> impl Strategy<Value = Span<Tiny>> {
    let short = (any::<u8>(), 0..12_u8)
        .prop_map(|(first, reach)| (Tiny::new(first), Tiny::new(first.saturating_add(reach))));
    let any = (any::<u8>(), any::<u8>())
        .prop_map(|(one, other)| (Tiny::new(one.min(other)), Tiny::new(one.max(other))));
    prop_oneof![4 => short, 1 => any]
        .prop_map(|(first, last)| Span::new(first, last).expect("first <= last"))
}

fn any_step() -> impl Strategy<Value = Step> {
    let value = || proptest::char::range('a', 'd');
    prop_oneof![
        6 => (any_span(), value()).prop_map(|(span, value)| Step::Insert(span, value)),
        3 => (any_span(), value()).prop_map(|(span, value)| Step::TryInsert(span, value)),
        3 => any_span().prop_map(Step::Remove),
        1 => any_span().prop_map(Step::RemoveExact),
        1 => Just(Step::Coalesce),
    ]
}

proptest! {
    #[test]
    fn a_map_holds_what_its_history_left(
        steps in proptest::collection::vec(any_step(), 0..50),
        questions in proptest::collection::vec(any_span(), 8),
    ) {
        let (mut map, mut model) = (SpanMap::new(), Model::new());
        for step in steps {
            model.step(&mut map, step);
            model.compare_entries(&map);
        }
        for question in questions.into_iter().chain([Span::whole(), Span::of(Tiny::LAST)]) {
            model.compare_within(&map, question);
            model.compare_at(&mut map, question.first());
            model.compare_at(&mut map, question.last());
        }
        // Exactly the spans there are can be taken away, one by one.
        for (span, value) in model.entries() {
            prop_assert_eq!(map.remove_exact(span), Some(value));
        }
        prop_assert!(map.is_empty());
    }
}
