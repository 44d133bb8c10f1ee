//! Every map that any history can make of five addresses and two values, at either end of the
//! 8-bit space: from each, every step there is; of each, every question.

use std::collections::HashSet;
use std::vec::Vec;

use super::super::*;
use super::model::{Model, Step};
use crate::Tiny;

const CELLS: u8 = 5;

#[test]
fn every_step_from_every_map_is_as_the_model_steps() {
    for base in [0, 0xff - (CELLS - 1)] {
        let address = |cell| Tiny::new(base + cell);
        let ends = (0..CELLS).flat_map(|first| (first..CELLS).map(move |last| (first, last)));
        let spans: Vec<_> = ends
            .map(|(first, last)| Span::new(address(first), address(last)).expect("first <= last"))
            .collect();
        let steps: Vec<_> = spans.iter().flat_map(|span| steps_with(*span)).collect();

        let mut reached = HashSet::from([SpanMap::new()]);
        let mut open = Vec::from([(SpanMap::new(), Model::new())]);
        while let Some((mut map, model)) = open.pop() {
            model.compare_entries(&map);
            (0..CELLS).for_each(|cell| model.compare_at(&mut map, address(cell)));
            spans.iter().for_each(|span| model.compare_within(&map, *span));
            for step in steps.iter().chain([&Step::Coalesce]) {
                let (mut map, mut model) = (map.clone(), model.clone());
                model.step(&mut map, *step);
                if reached.insert(map.clone()) {
                    open.push((map, model));
                } else {
                    // This map was reached before, and compared in full with a model like this.
                    model.compare_entries(&map);
                }
            }
        }
        assert_eq!(reached.len(), maps_of(CELLS));
    }
}

fn steps_with(span: Span<Tiny>) -> [Step; 6] {
    [
        Step::Insert(span, 'a'),
        Step::Insert(span, 'b'),
        Step::TryInsert(span, 'a'),
        Step::TryInsert(span, 'b'),
        Step::Remove(span),
        Step::RemoveExact(span),
    ]
}

/// How many maps there are: each address is free, starts a span of either value, or, if the one
/// below is not free, goes on with it.
fn maps_of(cells: u8) -> usize {
    let (mut free, mut taken) = (1, 0);
    for _ in 0..cells {
        (free, taken) = (free + taken, 2 * free + 3 * taken);
    }
    free + taken
}
