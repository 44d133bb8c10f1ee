//! Base address registers written by hand.

use proptest::prelude::*;

use super::*;
use crate::read::registers::{ConfigBytes, Gap};

fn of_registers(words: [u32; 6]) -> Vec<Bar> {
    let mut bytes = vec![0; 0x10];
    bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    let bars = by_registers(&mut ConfigBytes::new(&bytes, Gap::End));
    bars.known().expect("the registers are there").clone()
}

/// Place, size, width, and whether reads change nothing.
fn short(bar: &Bar) -> (u8, u64, u64, bool, bool) {
    let length = bar.length.known().map_or(0, |length| length.get());
    (bar.index, bar.first.map_or(0, Hpa::get), length, bar.wide, bar.prefetchable)
}

#[test]
fn registers_say_where_and_how_wide() {
    let bars = of_registers([0xa000_0004, 0x60, 0x9000_000c, 0, 0x3001, 0xfe00_0000]);
    let expected = [
        (0, 0x60_a000_0000, 0, true, false),
        (2, 0x9000_0000, 0, true, true),
        (5, 0xfe00_0000, 0, false, false),
    ];
    assert_eq!(bars.iter().map(short).collect::<Vec<_>>(), expected);
    // A wide one in the last place has no upper half; one without an address has no place.
    let bars = of_registers([0x0000_000c, 0, 0, 0, 0, 0xfe00_0004]);
    assert_eq!(bars[0].first, None);
    assert_eq!(bars[1].first, Some(Hpa::new(0xfe00_0000)));
}

#[test]
fn the_kernel_says_the_size_too() {
    let text = "0x0000000090000000 0x0000000090ffffff 0x0000000000140204\n\
                0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                0x0000000000000000 0x000000000fffffff 0x000000002014220c\n\
                0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                0x0000000000003000 0x000000000000303f 0x0000000000040101\n\
                0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                0x00000000000c0000 0x00000000000dffff 0x0000000000000212";
    let bars = by_resources(text).expect("it makes sense");
    let expected = [(0, 0x9000_0000, 0x100_0000, true, false), (2, 0, 0x1000_0000, true, true)];
    assert_eq!(bars.iter().map(short).collect::<Vec<_>>(), expected);
    assert_eq!(bars[0].span().expect("placed").to_string(), "0x90000000-0x90ffffff");
    assert_eq!(bars[1].span(), None);
    let kept = keep(text);
    assert_eq!(kept.lines().count(), 5);
    assert_eq!(keep(&kept), kept);
    assert_eq!(by_resources(&kept), Some(bars));
    for odd in ["0x1", "0x2 0x1 0x200", "0x0 0xffffffffffffffff 0x200", "1 2 0x200"] {
        assert_eq!(by_resources(odd), None, "{odd}");
    }
}

#[test]
fn words_say_the_same() {
    let bar = by_words(2, "Memory at 90000000 (64-bit, prefetchable) [size=256M]");
    assert_eq!(short(&bar.expect("a region")), (2, 0x9000_0000, 256 << 20, true, true));
    let bar = by_words(0, "Memory at <unassigned> (32-bit, non-prefetchable) [disabled]");
    assert_eq!(short(&bar.expect("a region")), (0, 0, 0, false, false));
    assert_eq!(by_words(6, "Memory at 90000000 (32-bit, non-prefetchable)"), None);
    assert_eq!(by_words(0, "I/O ports at 3000 [size=64]"), None);
    assert_eq!(bytes("99999999999999999T"), None);
}

proptest! {
    #[test]
    fn any_text_is_read_or_not(text in any::<String>(), lines in "(0x[0-9a-f]{1,17}[ \n]){0,30}") {
        for text in [text, lines] {
            _ = by_words(0, &text);
            _ = bytes(&text);
            let kept = keep(&text);
            prop_assert_eq!(&keep(&kept), &kept);
            if let Some(bars) = by_resources(&text) {
                prop_assert!(bars.len() <= 6);
                prop_assert_eq!(by_resources(&kept), Some(bars));
            }
        }
    }
}
