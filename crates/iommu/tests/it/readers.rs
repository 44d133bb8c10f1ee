//! Readers beside a writer: what they find is what was, what is, or nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringfence_addr::{Hpa, Iova, Rights};
use ringfence_iommu::pages::{Level, PageTables, VtdSecondStage};

use crate::model::span_of;
use crate::random::Random;
use crate::tables::{arena, settle};

/// Each stretch of 2 MiB is mapped by itself, and each page of it to the frame that has its number in
/// the upper bits: whoever gets from one stretch into the tables of another sees it.
const STRETCHES: u64 = 32;
const CHANGES: u32 = 4_000;

fn memory_of(stretch: u64, variant: u64) -> Hpa {
    Hpa::new(stretch << 32 | variant << 28)
}

/// Invariant `I12`, invariant `I13`: whenever they look.
#[test]
fn readers_find_what_was_or_what_is() {
    let format = VtdSecondStage::with_levels(Level::FOUR).unwrap();
    // Few tables, so that each is used again at once.
    let mut tables = PageTables::new(format, arena(12)).unwrap();
    let (is_over, found) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for seed in 1..3 {
            let mut reader = tables.reader();
            let (is_over, found) = (&is_over, &found);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                while !is_over.load(Ordering::Relaxed) {
                    let reading = reader.enter();
                    for _ in 0..64 {
                        let stretch = random.below(STRETCHES);
                        let iova = Iova::new(stretch << 30 | random.below(1 << 21));
                        let Some(leaf) = reading.lookup(iova) else { continue };
                        let address = leaf.address(iova).unwrap().get();
                        assert_eq!(address >> 32, stretch, "{iova} led to another's memory");
                        assert_eq!(address & 0x1f_ffff, iova.get() & 0x1f_ffff, "{iova}: {leaf:?}");
                        found.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        write(&mut tables);
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(found.load(Ordering::Relaxed) > 0, "the readers found something");
}

fn write(tables: &mut PageTables<VtdSecondStage, ringfence_iommu::pages::Arena>) {
    let mut random = Random::new(9);
    let mut variants = vec![0_u64; usize::try_from(STRETCHES).unwrap()];
    for _ in 0..CHANGES {
        let stretch = random.below(STRETCHES);
        let all = span_of(stretch << 18, (stretch << 18) + 511);
        let page = (stretch << 18) + random.below(512);
        let stale = if tables.leaves(all).next().is_none() {
            let variant = &mut variants[usize::try_from(stretch).unwrap()];
            *variant = (*variant + 1) % 8;
            // Refused when there are no tables until readers leave.
            tables.map(all, memory_of(stretch, *variant), Rights::READ_WRITE)
        } else if random.once_in(2) {
            tables.clear(all, |_| ())
        } else {
            tables.clear(span_of(page, page), |_| ())
        };
        if let Ok(stale) = stale {
            settle(tables, stale);
        } else {
            let all = tables.clear(span_of(0, (STRETCHES << 18) - 1), |_| ()).unwrap();
            settle(tables, all);
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_visit_keeps_tables_from_being_used_again() {
    let format = VtdSecondStage::with_levels(Level::THREE).unwrap();
    let mut tables = PageTables::new(format, arena(3)).unwrap();
    let (here, there) = (span_of(0, 0), span_of(1 << 18, 1 << 18));
    let stale = tables.map(here, Hpa::new(0x1000), Rights::READ).unwrap();
    settle(&mut tables, stale);
    let mut reader = tables.reader();
    let reading = reader.enter();
    assert!(reading.lookup(Iova::new(0)).is_some());
    let stale = tables.unmap(here, |_| ()).unwrap();
    settle(&mut tables, stale);
    assert_eq!(reading.lookup(Iova::new(0)), None, "what is unmapped is not found");
    let refusal = tables.map(there, Hpa::new(0x1000), Rights::READ).unwrap_err();
    assert!(refusal.detail().contains("2 of them only until readers leave"), "{refusal}");
    drop(reading);
    let stale = tables.map(there, Hpa::new(0x1000), Rights::READ).unwrap();
    settle(&mut tables, stale);
}
