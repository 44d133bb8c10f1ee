//! A book against a map of spans.

use std::collections::BTreeMap;

use proptest::prelude::*;
use ringfence_addr::{Address as _, Gpa, Rights};

use super::*;

fn span(first: u64, pages: u64) -> Option<Span<Iova>> {
    Span::from_parts(Iova::new(first.checked_mul(FRAME_BYTES)?), pages * FRAME_BYTES)
}

/// Pages near the bounds of tables, and the last ones there are.
fn page(bits: u32) -> impl Strategy<Value = u64> {
    let last = (1_u64 << (bits - 12)) - 1;
    prop_oneof![
        0..2000_u64,
        (0..6_u32, 0..5_u64)
            .prop_map(move |(level, off)| ((1_u64 << (9 * level)) + off).saturating_sub(2) & last),
        (0..2000_u64).prop_map(move |below| last - below),
    ]
}

fn memory(number: u32) -> u64 {
    u64::from(number) << 35
}

fn history() -> impl Strategy<Value = (u32, Vec<(u64, u64)>)> {
    prop_oneof![Just(39_u32), Just(48), Just(57), Just(64)].prop_flat_map(|bits| {
        let pages = prop_oneof![1..4_u64, 510..515_u64, 1..3000_u64, Just(512 * 512)];
        (Just(bits), prop::collection::vec((page(bits), pages), 1..40))
    })
}

proptest! {
    /// Against a map of spans: free, taken, looked up at both ends and beside, and given back.
    #[test]
    fn it_is_as_a_plain_list((bits, wishes) in history()) {
        let mut book = Book::new(bits);
        let mut plain: BTreeMap<u32, Span<Iova>> = BTreeMap::new();
        for (number, (first, pages)) in (0..).zip(wishes) {
            let Some(wish) = span(first, pages) else { continue };
            if bits < 64 && wish.last().get() >> bits != 0 {
                continue;
            }
            let taken: Vec<u32> =
                plain.iter().filter(|(_, it)| it.overlaps(&wish)).map(|(number, _)| *number).collect();
            prop_assert_eq!(book.is_free(Pages::of(wish)), taken.is_empty());
            match taken.first() {
                None => {
                    let memory = wish.rebase(Gpa::new(memory(number))).expect("a span");
                    book.set(Pages::of(wish), number, Lead::new(memory, number % 5 != 0, Rights::WRITE));
                    prop_assert_eq!(book.translate(wish.first()), None, "it is not live yet");
                    book.set_live(Pages::of(wish), number % 3 != 0);
                    plain.insert(number, wish);
                }
                Some(one) => {
                    let span = plain.remove(one).expect("it is there");
                    book.clear(Pages::of(span));
                }
            }
            for at in plain.values().chain([&wish]) {
                let beside = [at.first().checked_sub(1), at.last().checked_add(1)];
                for address in [Some(at.first()), Some(at.last())].into_iter().chain(beside).flatten() {
                    let found = plain.iter().find(|(_, it)| it.contains(address));
                    prop_assert_eq!(book.get(address), found.map(|(number, _)| *number));
                    let live = found.filter(|(number, _)| *number % 3 != 0);
                    let to = live.map(|(number, span)| {
                        let within = address.get() - span.first().get();
                        // Of the others the entry does not say where they lead.
                        let page = (*number % 5 != 0).then(|| memory(*number) + within / FRAME_BYTES * FRAME_BYTES);
                        (*number, page, Rights::WRITE)
                    });
                    let told = book.translate(address);
                    prop_assert_eq!(told.map(|(number, lead)| (number, lead.memory(), lead.rights)), to);
                }
            }
        }
        for span in plain.values() {
            book.clear(Pages::of(*span));
        }
        prop_assert_eq!(book.tables[0].used, 0);
        prop_assert_eq!(book.tables.len(), book.free.len() + 1, "a table was lost");
    }
}
