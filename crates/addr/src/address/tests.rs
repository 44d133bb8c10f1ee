//! Every address of the 8-bit space with every distance, and the edges of the 64-bit spaces.

use std::format;
use std::string::ToString;

use super::*;
use crate::Tiny;

fn alignments() -> impl Iterator<Item = Alignment> {
    (0..64).map(|exponent| Alignment::new(1 << exponent).expect("a power of two"))
}

#[test]
fn a_number_is_an_address_if_the_space_reaches_it() {
    for raw in 0..1024 {
        assert_eq!(Tiny::try_new(raw).map(Address::get), (raw < 256).then_some(raw));
    }
    assert_eq!(Tiny::try_new(u64::MAX), None);
    assert_eq!(Gpa::try_new(u64::MAX), Some(Gpa::LAST));
}

#[test]
fn steps_up_and_down_end_where_the_space_does() {
    for raw in 0..=255_u8 {
        let address = Tiny::new(raw);
        for bytes in 0..=300_u64 {
            let up = u64::from(raw) + bytes;
            let expected = u8::try_from(up).ok().map(Tiny::new);
            assert_eq!(address.checked_add(bytes), expected, "{raw} + {bytes}");
            let expected = u64::from(raw).checked_sub(bytes);
            assert_eq!(address.checked_sub(bytes).map(Address::get), expected, "{raw} - {bytes}");
        }
        assert_eq!(address.checked_add(u64::MAX), None);
        assert_eq!(address.checked_sub(u64::MAX), None);
    }
    assert_eq!(Gpa::LAST.checked_add(0), Some(Gpa::LAST));
    assert_eq!(Gpa::LAST.checked_add(1), None);
    assert_eq!(Gpa::FIRST.checked_sub(1), None);
    assert_eq!(Gpa::FIRST.checked_add(u64::MAX), Some(Gpa::LAST));
    assert_eq!(Gpa::LAST.checked_sub(u64::MAX), Some(Gpa::FIRST));
}

#[test]
fn an_offset_is_what_takes_the_base_to_the_address() {
    for base in 0..=255_u8 {
        for raw in 0..=255_u8 {
            let (base, address) = (Tiny::new(base), Tiny::new(raw));
            let offset = address.offset_from(base);
            assert_eq!(offset.is_some(), base <= address);
            if let Some(offset) = offset {
                assert_eq!(base.checked_add(offset), Some(address));
            }
        }
    }
    assert_eq!(Iova::LAST.offset_from(Iova::FIRST), Some(u64::MAX));
}

#[test]
fn aligning_finds_the_nearest_multiple_of_the_space_or_none() {
    for alignment in alignments() {
        let multiples = || (0..=255_u8).filter(|raw| u64::from(*raw) % alignment.bytes() == 0);
        for raw in 0..=255_u8 {
            let address = Tiny::new(raw);
            let down = multiples().filter(|multiple| *multiple <= raw).max().map(Tiny::new);
            let up = multiples().find(|multiple| *multiple >= raw).map(Tiny::new);
            assert_eq!(Some(address.align_down(alignment)), down, "{raw} to {alignment}");
            assert_eq!(address.align_up(alignment), up, "{raw} to {alignment}");
            assert_eq!(address.is_aligned(alignment), multiples().any(|multiple| multiple == raw));
        }
    }
}

#[test]
fn aligning_the_last_address_up_is_none_and_not_zero() {
    for alignment in alignments() {
        let one_byte = alignment == Alignment::ONE;
        assert_eq!(Gpa::LAST.align_up(alignment).is_some(), one_byte, "{alignment}");
        assert_eq!(Gpa::LAST.align_down(alignment).get(), u64::MAX - alignment.mask());
    }
    let last_page = Gpa::new(!0xfff);
    assert_eq!(last_page.align_up(Alignment::PAGE_4K), Some(last_page));
}

#[test]
fn addresses_print_as_numbers_and_debug_as_what_they_are() {
    assert_eq!(Gpa::new(0x1000).to_string(), "0x1000");
    assert_eq!(Hva::new(0).to_string(), "0x0");
    assert_eq!(format!("{:?}", Gpa::new(0x1000)), "Gpa(0x1000)");
    assert_eq!(format!("{:?}", Iova::LAST), "Iova(0xffffffffffffffff)");
    assert_eq!(format!("{:?}", Tiny::new(7)), "Tiny(0x7)");
}

#[test]
fn each_space_has_its_own_words() {
    let words = [Gpa::SPACE, Iova::SPACE, Hpa::SPACE, Hva::SPACE, Gma::SPACE, Tiny::SPACE];
    let names = [Gpa::NAME, Iova::NAME, Hpa::NAME, Hva::NAME, Gma::NAME, Tiny::NAME];
    for list in [words, names] {
        let mut sorted = list;
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]), "{list:?}");
    }
}
