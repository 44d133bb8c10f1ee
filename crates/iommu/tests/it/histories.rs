//! Random histories: after every step the tables say what the model says.

use ringfence_addr::{Address, Iova};
use ringfence_iommu::pages::{AmdV1, Arena, Format, Level, PageTables, VtdSecondStage};

use crate::model::{Model, Operation, Places};
use crate::random::Random;
use crate::tables::{arena, ask, pieces, reachable, settle, whole};

/// Steps of each history; there are as many histories as formats below.
const STEPS: u32 = 20_000;

fn history(format: impl Format, seed: u64) {
    let mut tables = PageTables::new(format, arena(4096)).unwrap();
    let places = Places::of(tables.format().shape());
    let (mut model, mut random, mut done) = (Model::default(), Random::new(seed), 0);
    for step in 0..STEPS {
        let operation = places.operation(&mut random);
        let said = || format!("seed {seed}, step {step}: {operation:x?}");
        let before = tables.memory().in_use();
        match (ask(&mut tables, operation), model.refuses(operation)) {
            (Ok((stale, changed)), None) => {
                assert_eq!(changed, model.apply(operation), "{}", said());
                // I8: what is forgotten encloses what was changed, and there is nothing else.
                let is_covered = changed.iter().all(|(number, _, _)| {
                    stale.span().is_some_and(|span| span.contains(Iova::new(number << 12)))
                });
                assert!(is_covered && stale.span().is_some() != changed.is_empty(), "{}", said());
                let gone =
                    if matches!(operation, Operation::Narrow(..)) { 0 } else { changed.len() };
                assert_eq!(stale.pages(), gone as u64, "{}", said());
                settle(&mut tables, stale);
                done += 1;
            }
            (Err(refusal), Some(code)) => {
                assert_eq!(refusal.code(), code, "{}", said());
                assert_eq!(tables.memory().in_use(), before, "a refusal takes nothing");
            }
            (ours, models) => panic!("{}: {ours:?}, the model {models:?}", said()),
        }
        assert_eq!(tables.pages(), model.pages.len() as u64, "{}", said());
        probe(&tables, &model, operation, &mut random);
        if step % 500 == 0 {
            compare(&mut tables, &model, &said());
        }
    }
    compare(&mut tables, &model, "at the end");
    assert!((STEPS / 4..STEPS).contains(&done), "{done} of {STEPS} were not refused");
    // All of it goes, and all tables but the topmost are there again.
    let all = whole(&tables);
    let stale = tables.clear(all, |_| ()).unwrap();
    settle(&mut tables, stale);
    assert_eq!((tables.pages(), reachable(&tables)), (0, 1));
    compare(&mut tables, &Model::default(), "after all went");
}

fn probe<F: Format>(
    tables: &PageTables<F, Arena>,
    model: &Model,
    operation: Operation,
    random: &mut Random,
) {
    let (Operation::Map(span, ..)
    | Operation::Unmap(span)
    | Operation::Clear(span)
    | Operation::Narrow(span, _)) = operation;
    let inside = span.first().checked_add(random.below(span.length_u64().unwrap().get()));
    let beside = [span.first().checked_sub(1), span.last().checked_add(1)];
    let ends = [Some(span.first()), Some(span.last()), inside];
    for iova in beside.into_iter().chain(ends).flatten() {
        let found = tables.lookup(iova).map(|leaf| (leaf.address(iova).unwrap(), leaf.rights));
        assert_eq!(found, model.at(iova), "{iova} after {operation:x?}");
    }
}

fn compare<F: Format>(tables: &mut PageTables<F, Arena>, model: &Model, said: &str) {
    tables.memory_mut().reclaim();
    let all = whole(tables);
    let found = tables.leaves(all).flat_map(|leaf| pieces(&leaf));
    let modelled = model.pages.iter().map(|(number, (frame, rights))| (*number, *frame, *rights));
    assert!(found.eq(modelled), "{said}");
    assert_eq!(reachable(tables), tables.memory().in_use(), "{said}");
}

#[test]
fn vtd_of_three_levels_agrees_with_the_model() {
    history(VtdSecondStage::with_levels(Level::THREE).unwrap(), 1);
}

#[test]
fn vtd_of_four_levels_agrees_with_the_model() {
    history(VtdSecondStage::with_levels(Level::FOUR).unwrap(), 2);
}

#[test]
fn vtd_of_five_levels_agrees_with_the_model() {
    history(VtdSecondStage::with_levels(Level::FIVE).unwrap(), 3);
}

#[test]
fn amd_of_three_levels_agrees_with_the_model() {
    history(AmdV1::with_levels(Level::THREE), 4);
}

#[test]
fn amd_of_six_levels_agrees_with_the_model_up_to_the_last_address() {
    history(AmdV1::with_levels(Level::SIX), 5);
}

#[test]
fn without_large_pages_all_is_the_same() {
    let cap = 0b100 << 8 | 47 << 16;
    history(VtdSecondStage::from_registers(cap, 0, Level::FOUR, 46).unwrap(), 6);
}
