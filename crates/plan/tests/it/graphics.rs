//! Graphics memory parted among vGPUs.

use ringfence_addr::{Alignment, Gma, Span, SpanSet};
use ringfence_plan::graphics::{GraphicsSpace, GraphicsWant, part_graphics};
use ringfence_plan::refusals;

const MIB: u64 = 1 << 20;

fn gma(first: u64, last: u64) -> Span<Gma> {
    Span::new(Gma::new(first), Gma::new(last)).unwrap()
}

/// Broadwell's: 4 GiB, of which 256 MiB are the aperture.
fn space() -> GraphicsSpace {
    GraphicsSpace {
        aperture: gma(0, 256 * MIB - 1),
        hidden: gma(256 * MIB, 4096 * MIB - 1),
        fences: 32,
    }
}

fn want(name: &str, aperture: u64, hidden: u64, fences: u16) -> GraphicsWant {
    GraphicsWant { name: name.to_owned(), aperture: aperture * MIB, hidden: hidden * MIB, fences }
}

#[test]
fn host_and_guests_get_parts_that_cover_nothing_twice() {
    let wants = [want("host", 64, 384, 4), want("one", 64, 448, 4), want("two", 128, 512, 8)];
    let parts = part_graphics(&space(), &wants, Alignment::PAGE_1G).unwrap_err();
    assert_eq!(parts.code(), &refusals::NO_ROOM, "three pieces of 1 GiB alignment do not fit");
    let parts = part_graphics(&space(), &wants, Alignment::PAGE_2M).unwrap();
    let mut seen = SpanSet::new();
    for (part, want) in parts.iter().zip(&wants) {
        let (aperture, hidden) = (part.aperture.unwrap(), part.hidden.unwrap());
        assert_eq!(aperture.length(), u128::from(want.aperture));
        assert_eq!(hidden.length(), u128::from(want.hidden));
        assert_eq!(part.fences.len(), usize::from(want.fences));
        for span in [aperture, hidden] {
            assert!(!seen.overlaps(&span), "{span} twice");
            seen.insert(span);
            assert!(!part.balloon.overlaps(&span), "its own is not ballooned out");
        }
        let own = aperture.length() + hidden.length();
        assert_eq!(part.balloon.length() + own, u128::from(4096 * MIB));
    }
    assert_eq!(parts[1].fences, 4..8);
    // i915 takes four spans out of use: below and above its aperture, below and above what is hidden.
    let balloon: Vec<_> = parts[1].balloon.iter().collect();
    assert_eq!(balloon.len(), 3, "what lies between is one piece: {balloon:?}");
}

#[test]
fn fences_run_out_by_name() {
    let refusal = part_graphics(
        &space(),
        &[want("one", 64, 64, 20), want("two", 64, 64, 20)],
        Alignment::PAGE_2M,
    );
    let refusal = refusal.unwrap_err();
    assert_eq!(refusal.code(), &refusals::NO_FENCES);
    assert_eq!(refusal.detail(), "two: 20 of 32, 20 are given out");
}

#[test]
fn the_aperture_runs_out_by_name() {
    let wants = [want("one", 200, 64, 4), want("two", 64, 64, 4)];
    let refusal = part_graphics(&space(), &wants, Alignment::PAGE_2M).unwrap_err();
    assert_eq!(refusal.code(), &refusals::NO_ROOM);
    assert!(refusal.detail().starts_with("aperture of two:"), "{refusal}");
}
