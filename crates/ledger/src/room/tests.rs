//! Choosing against plain pages: what is chosen is free and lies as it should, and where nothing is
//! chosen there is no room.

use std::collections::BTreeSet;

use proptest::prelude::*;
use ringfence_addr::{Gpa, Rights, Span};

use super::*;
use crate::book::Pages;
use crate::entry::Lead;

#[derive(Clone, Debug)]
enum Step {
    Choose(Need),
    Set(u64, u64),
    GiveBack(usize),
    Reset,
}

fn steps(pages: u64) -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![Just(1_u64), 1..9_u64, 1..600_u64, 500..1600_u64];
    let need = (length.clone(), 0..512_u64).prop_map(|(pages, offset)| match pages {
        0..512 => Need { pages, level: 0, offset: 0 },
        _ => Need { pages, level: 1, offset },
    });
    let step = prop_oneof![
        6 => need.prop_map(Step::Choose),
        2 => (0..pages, length).prop_map(|(first, pages)| Step::Set(first, pages)),
        3 => (0..1000_usize).prop_map(Step::GiveBack),
        1 => (0..12_u32).prop_map(|it| if it == 0 { Step::Reset } else { Step::GiveBack(0) }),
    ];
    prop::collection::vec(step, 1..120)
}

fn lead() -> Lead {
    Lead::new(Span::of(Gpa::new(0)), true, Rights::READ)
}

/// Whether there is such a run of free pages.
fn has_room(free: &BTreeSet<u64>, need: Need) -> bool {
    let step = 1_u64 << (9 * need.level);
    let mut from = 0;
    while let Some(first) = free.range(from..).next() {
        let base = first / step * step + need.offset;
        let first = if base >= *first { base } else { base + step };
        match (first..first + need.pages).rev().find(|page| !free.contains(page)) {
            None => return true,
            Some(taken) => from = taken.max(from) + 1,
        }
    }
    false
}

proptest! {
    #[test]
    fn what_is_chosen_is_free_and_what_is_not_is_nowhere(
        (bits, steps) in (21..24_u32).prop_flat_map(|bits| (Just(bits), steps(1 << (bits - 12)))),
        hole in 0..1500_u64,
    ) {
        let mut book = Book::new(bits);
        let all = 1_u64 << (bits - 12);
        let hole = hole.min(all - 4);
        let reserve = |book: &mut Book| {
            book.reserve(Pages { first: hole, last: hole + 2 });
            if book.last() >= all {
                book.reserve(Pages { first: all, last: book.last() });
            }
        };
        reserve(&mut book);
        let unused: BTreeSet<u64> = (0..all).filter(|page| !(hole..hole + 3).contains(page)).collect();
        let mut free = unused.clone();
        let mut taken: Vec<Pages> = Vec::new();
        for step in steps {
            let got = match step {
                Step::Choose(need) => {
                    let Some(first) = book.choose(need) else {
                        prop_assert!(!has_room(&free, need), "there is room for {:?}", need);
                        continue;
                    };
                    prop_assert_eq!(first % (1 << (9 * need.level)), need.offset);
                    Pages { first, last: first + need.pages - 1 }
                }
                Step::Set(first, pages) => {
                    let wanted = Pages { first, last: first + pages - 1 };
                    let is_free = (wanted.first..=wanted.last).all(|page| free.contains(&page));
                    prop_assert_eq!(book.is_free(wanted), is_free);
                    if !is_free {
                        continue;
                    }
                    wanted
                }
                Step::GiveBack(which) => {
                    if !taken.is_empty() {
                        let pages = taken.swap_remove(which % taken.len());
                        book.clear(pages);
                        free.extend(pages.first..=pages.last);
                    }
                    continue;
                }
                Step::Reset => {
                    book.reset();
                    reserve(&mut book);
                    free = unused.clone();
                    taken.clear();
                    continue;
                }
            };
            for page in got.first..=got.last {
                prop_assert!(free.remove(&page), "page {} was taken", page);
            }
            book.set(got, 7, lead());
            taken.push(got);
        }
    }
}

/// However much is in use, a page costs a look at a few bins, and whole tables are left whole.
#[test]
fn pages_are_taken_from_tables_that_are_begun() {
    let mut book = Book::new(48);
    for page in 0..3 * ENTRIES {
        let first = book.choose(Need { pages: 1, level: 0, offset: 0 }).expect("room");
        book.set(Pages { first, last: first }, 7, lead());
        assert_eq!(book.tables.len() as u64, 4 + page / ENTRIES);
    }
    let first = book.choose(Need { pages: ENTRIES, level: 1, offset: 3 }).expect("room");
    assert_eq!(first % ENTRIES, 3);
}
