//! The first and the last of everything: address 0, frame 0, the last page there is.

use ringfence_addr::{Hpa, Iova, Rights, Span};
use ringfence_iommu::pages::{AmdV1, Format, Level, PageTables, VtdSecondStage};

use crate::model::span_of;
use crate::tables::{arena, reachable, settle, whole};

fn page_at(first: u64) -> Span<Iova> {
    span_of(first >> 12, first >> 12)
}

/// Invariant `I20`, in tables.
///
/// I20: no number stands for nothing. The topmost table itself is in frame 0 here.
#[test]
fn address_0_and_frame_0_are_as_good_as_any() {
    let mut tables = PageTables::new(AmdV1::with_levels(Level::FOUR), arena(8)).unwrap();
    assert_eq!(tables.root(), Hpa::new(0));
    assert_eq!(tables.lookup(Iova::new(0)), None);
    let stale = tables.map(page_at(0), Hpa::new(0), Rights::READ).unwrap();
    settle(&mut tables, stale);
    let leaf = tables.lookup(Iova::new(0xfff)).unwrap();
    assert_eq!((leaf.frame, leaf.address(Iova::new(0xfff))), (Hpa::new(0), Some(Hpa::new(0xfff))));
    assert!(tables.map(page_at(0), Hpa::new(0x1000), Rights::READ).is_err());
    let stale = tables.unmap(page_at(0), |_| ()).unwrap();
    assert_eq!((stale.span(), stale.pages()), (Some(page_at(0)), 1));
    settle(&mut tables, stale);
    assert_eq!(tables.lookup(Iova::new(0)), None);
}

/// Invariant `I18`: in each format, at the end of what it translates.
///
/// I18: the last page of what is translated can be mapped, found, and unmapped; nothing is above it.
#[test]
fn the_last_page_goes_as_it_came() {
    fn last<F: Format>(format: F, last: u64) {
        let mut tables = PageTables::new(format, arena(16)).unwrap();
        let page = page_at(last & !0xfff);
        assert_eq!(whole(&tables).last(), Iova::new(last));
        let to = Hpa::new(0x000f_ffff_ffff_f000);
        let stale = tables.map(page, to, Rights::READ_WRITE).unwrap();
        settle(&mut tables, stale);
        assert_eq!(tables.leaves(Span::whole()).count(), 1);
        let found = tables.lookup(Iova::new(last)).unwrap();
        assert_eq!(found.address(Iova::new(last)), Some(Hpa::new(0x000f_ffff_ffff_ffff)));
        assert!(tables.map(page, to, Rights::READ).is_err(), "not a second time");
        let stale = tables.unmap(page, |gone| assert_eq!(gone.pages, page)).unwrap();
        assert_eq!(stale.span(), Some(page));
        settle(&mut tables, stale);
        assert_eq!((tables.lookup(Iova::new(last)), reachable(&tables)), (None, 1));
        if last != u64::MAX {
            let above = page_at(last + 1);
            assert!(tables.map(above, Hpa::new(0), Rights::READ).is_err());
            assert_eq!(tables.lookup(Iova::new(last + 1)), None, "it does not wrap to address 0");
            assert_eq!(tables.lookup(Iova::new(u64::MAX)), None);
        }
    }
    for levels in [Level::THREE, Level::FOUR, Level::FIVE] {
        let bits = levels.bits();
        last(VtdSecondStage::with_levels(levels).unwrap(), (1 << bits) - 1);
    }
    for levels in (1..=6).filter_map(Level::new) {
        last(AmdV1::with_levels(levels), u64::MAX >> (64 - levels.bits()));
    }
}

#[test]
fn large_pages_are_used_where_both_sides_are_aligned() {
    let format = VtdSecondStage::with_levels(Level::FOUR).unwrap();
    let mut tables = PageTables::new(format, arena(64)).unwrap();
    // One page before 1 GiB, to one page after 1 GiB + 4 MiB, to memory aligned alike.
    let span = span_of((1 << 18) - 1, (2 << 18) + 1024);
    let to = Hpa::new(0x8000_0000 - 0x1000);
    let stale = tables.map(span, to, Rights::READ_WRITE).unwrap();
    settle(&mut tables, stale);
    let sizes: Vec<u128> = tables.leaves(span).map(|leaf| leaf.pages.length()).collect();
    assert_eq!(sizes, [1 << 12, 1 << 30, 1 << 21, 1 << 21, 1 << 12]);
    // The same, one page off: nothing but small pages.
    let mut tables =
        PageTables::new(VtdSecondStage::with_levels(Level::FOUR).unwrap(), arena(64)).unwrap();
    let span = span_of(512, 1535);
    let stale = tables.map(span, Hpa::new(0x1000), Rights::READ).unwrap();
    settle(&mut tables, stale);
    assert_eq!(tables.leaves(span).count(), 1024);
}

/// Invariant `I8`: what is to be invalidated is all of the page that was cut.
///
/// What is taken out of a page of 1 GiB is the page asked for; 1022 entries stand for the rest.
#[test]
fn a_large_page_is_cut_exactly() {
    let format = VtdSecondStage::with_levels(Level::FOUR).unwrap();
    let mut tables = PageTables::new(format, arena(5)).unwrap();
    let gib = span_of(1 << 18, (2 << 18) - 1);
    let stale = tables.map(gib, Hpa::new(0), Rights::READ_WRITE).unwrap();
    settle(&mut tables, stale);
    assert_eq!(reachable(&tables), 2);
    let page = span_of((1 << 18) + 700, (1 << 18) + 700);
    let stale = tables.unmap(page, |gone| assert_eq!(gone.frame, Hpa::new(700 << 12))).unwrap();
    assert_eq!((stale.pages(), stale.span()), (1, Some(gib)), "I8: the large page is forgotten");
    assert!(stale.concerns_tables());
    settle(&mut tables, stale);
    assert_eq!((reachable(&tables), tables.leaves(gib).count()), (4, 511 + 511));
    assert_eq!(tables.lookup(page.first()), None);
    let below = Iova::new(page.first().get() - 1);
    assert_eq!(tables.lookup(below).unwrap().address(below), Some(Hpa::new((700 << 12) - 1)));
}
