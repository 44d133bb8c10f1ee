//! Everything that page tables refuse, and that a refusal changes nothing.

use ringfence_addr::{Hpa, Iova, Rights, Span};
use ringfence_iommu::pages::{AmdV1, Arena, Level, PageTables, VtdSecondStage};
use ringfence_iommu::refusals;
use ringfence_refusal::{Code, Refusal};

use crate::model::span_of;
use crate::tables::{arena, reachable, settle};

fn code<T>(outcome: Result<T, Refusal>) -> Option<&'static Code> {
    outcome.err().map(|refusal| refusal.code())
}

fn three_levels(tables: usize) -> PageTables<AmdV1, Arena> {
    PageTables::new(AmdV1::with_levels(Level::THREE), arena(tables)).unwrap()
}

#[test]
fn what_cannot_be_mapped_is_refused_with_its_numbers() {
    let mut tables = three_levels(8);
    let page = span_of(1, 1);
    let odd = Span::new(Iova::new(0x1000), Iova::new(0x1ffe)).unwrap();
    let high = span_of(1 << 27, 1 << 27);
    let rights = Rights::READ;
    assert_eq!(code(tables.map(odd, Hpa::new(0), rights)), Some(&refusals::NOT_PAGES));
    assert_eq!(code(tables.map(page, Hpa::new(1), rights)), Some(&refusals::NOT_PAGES));
    assert_eq!(code(tables.map(high, Hpa::new(0), rights)), Some(&refusals::OUTSIDE_APERTURE));
    assert_eq!(
        code(tables.map(Span::whole(), Hpa::new(0), rights)),
        Some(&refusals::OUTSIDE_APERTURE)
    );
    for frame in [1 << 52, !0xfff] {
        let refused = tables.map(page, Hpa::new(frame), rights);
        assert_eq!(code(refused), Some(&refusals::BEYOND_REACH));
    }
    // Its last page would be beyond, and its first not.
    let two = tables.map(span_of(1, 2), Hpa::new(0x000f_ffff_ffff_f000), rights);
    assert_eq!(code(two), Some(&refusals::BEYOND_REACH));
    assert_eq!(code(tables.map(page, Hpa::new(0), Rights::NONE)), Some(&refusals::NO_RIGHT_LEFT));
    assert_eq!((tables.pages(), reachable(&tables)), (0, 1));
}

#[test]
fn an_overlap_is_refused_before_anything_is_mapped() {
    let mut tables = three_levels(64);
    let taken = span_of(1000, 1000);
    let stale = tables.map(taken, Hpa::new(0), Rights::READ).unwrap();
    settle(&mut tables, stale);
    for span in [span_of(1000, 1000), span_of(0, 1000), span_of(1000, 5000), span_of(0, 1 << 20)] {
        let refusal = tables.map(span, Hpa::new(0x20_0000), Rights::READ).unwrap_err();
        assert_eq!(refusal.code(), &refusals::ALREADY_MAPPED);
        assert!(refusal.detail().ends_with(&format!("{taken} is mapped")), "{refusal}");
    }
    assert_eq!((tables.pages(), reachable(&tables)), (1, 3));
}

#[test]
fn gaps_are_refused_before_anything_is_unmapped() {
    let mut tables = three_levels(64);
    for span in [span_of(0, 9), span_of(11, 600)] {
        let stale = tables.map(span, Hpa::new(0), Rights::READ_WRITE).unwrap();
        settle(&mut tables, stale);
    }
    let all = span_of(0, 600);
    let refusal = tables.unmap(all, |_| unreachable!("nothing is unmapped")).unwrap_err();
    assert_eq!(refusal.code(), &refusals::NOT_ALL_MAPPED);
    assert!(refusal.detail().contains("0xa000-0xafff is not"), "{refusal}");
    let narrowed = tables.narrow(all, Rights::READ, |_| unreachable!("nothing is narrowed"));
    assert_eq!(code(narrowed), Some(&refusals::NOT_ALL_MAPPED));
    assert_eq!(code(tables.unmap(span_of(601, 601), |_| ())), Some(&refusals::NOT_ALL_MAPPED));
    assert_eq!(tables.pages(), 600);
}

/// Invariant `I7`: a right that is lost is something to be invalidated.
#[test]
fn rights_only_narrow_and_one_stays() {
    let mut tables = three_levels(64);
    let span = span_of(0, 3);
    let stale = tables.map(span, Hpa::new(0), Rights::WRITE).unwrap();
    settle(&mut tables, stale);
    for most in [Rights::READ, Rights::NONE] {
        assert_eq!(code(tables.narrow(span, most, |_| ())), Some(&refusals::NO_RIGHT_LEFT));
    }
    // More than there is adds nothing, and nothing has to be forgotten.
    let stale = tables.narrow(span, Rights::READ_WRITE, |_| unreachable!("none is lost")).unwrap();
    assert_eq!(stale.span(), None);
    settle(&mut tables, stale);
    assert_eq!(tables.lookup(Iova::new(0)).unwrap().rights, Rights::WRITE);
}

/// I15: as many tables as there are, and a refusal takes none.
#[test]
fn tables_are_counted_before_anything_is_changed() {
    let mut tables = three_levels(4);
    // Two pages far apart take two tables beside the topmost, and a third page one more.
    let stale = tables.map(span_of(0, 0), Hpa::new(0), Rights::READ).unwrap();
    settle(&mut tables, stale);
    let refusal = tables.map(span_of(511, 1024), Hpa::new(0), Rights::READ).unwrap_err();
    assert_eq!(refusal.code(), &refusals::NO_TABLES);
    assert_eq!((tables.pages(), reachable(&tables)), (1, 3));
    let stale = tables.map(span_of(512, 512), Hpa::new(0), Rights::READ).unwrap();
    settle(&mut tables, stale);
    // A large page needs no table to be mapped or unmapped, and one to be cut.
    let large = span_of(1024, 1535);
    let stale = tables.map(large, Hpa::new(0), Rights::READ_WRITE).unwrap();
    settle(&mut tables, stale);
    assert_eq!(code(tables.unmap(span_of(1024, 1024), |_| ())), Some(&refusals::NO_TABLES));
    assert_eq!(tables.pages(), 514);
    let stale = tables.unmap(large, |_| ()).unwrap();
    settle(&mut tables, stale);
}

/// I6, I11: what was unlinked is not used again before it was flushed and released.
#[test]
fn tables_come_back_only_after_the_flush() {
    let mut tables = three_levels(3);
    let (here, there) = (span_of(0, 0), span_of(1 << 20, 1 << 20));
    let stale = tables.map(here, Hpa::new(0), Rights::READ).unwrap();
    settle(&mut tables, stale);
    let stale = tables.unmap(here, |_| ()).unwrap();
    assert_eq!(reachable(&tables), 1);
    assert_eq!(code(tables.map(there, Hpa::new(0), Rights::READ)), Some(&refusals::NO_TABLES));
    // I9: an IOMMU that does not answer has not forgotten.
    let (stale, why) = stale.flush(|_| Err("no answer")).unwrap_err();
    assert_eq!(why, "no answer");
    assert_eq!(code(tables.map(there, Hpa::new(0), Rights::READ)), Some(&refusals::NO_TABLES));
    settle(&mut tables, stale);
    let stale = tables.map(there, Hpa::new(0), Rights::READ).unwrap();
    settle(&mut tables, stale);
}

/// Invariant `I14`: levels are chosen when tables are made, and once.
#[test]
fn levels_that_an_iommu_has_not_are_refused() {
    let refused = VtdSecondStage::with_levels(Level::SIX);
    assert_eq!(code(refused), Some(&refusals::UNSUPPORTED));
}

/// I7: where an IOMMU remembers that nothing was mapped, a mapping is told to it, too.
#[test]
fn in_caching_mode_a_new_mapping_is_stale() {
    let cap = 0b100 << 8 | 47 << 16 | 1 << 7;
    let format = VtdSecondStage::from_registers(cap, 0, Level::FOUR, 46).unwrap();
    let mut tables = PageTables::new(format, arena(8)).unwrap();
    let span = span_of(5, 6);
    let stale = tables.map(span, Hpa::new(0), Rights::READ).unwrap();
    assert_eq!((stale.span(), stale.pages()), (Some(span), 0));
    settle(&mut tables, stale);
}
