//! What is printed reads back, and what does not read says why.

use core::str::FromStr;
use std::string::{String, ToString};

use proptest::prelude::*;

use crate::{Gpa, Iova, Span, Tiny};

fn span_error(text: &str) -> String {
    Span::<Gpa>::from_str(text).expect_err("not a span").to_string()
}

#[test]
fn every_span_of_the_8_bit_space_reads_back() {
    for first in 0..=255_u8 {
        assert_eq!(crate::text::address(&Tiny::new(first).to_string()), Ok(Tiny::new(first)));
        for last in first..=255_u8 {
            let span = Span::new(Tiny::new(first), Tiny::new(last)).expect("first <= last");
            assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}

#[test]
fn the_whole_of_a_space_reads_back() {
    let text = "0x0-0xffffffffffffffff";
    assert_eq!(text.parse::<Span<Gpa>>(), Ok(Span::whole()));
    assert_eq!(Span::<Gpa>::whole().to_string(), text);
}

#[test]
fn leading_zeros_and_capitals_are_read() {
    assert_eq!("0x00001000".parse(), Ok(Gpa::new(0x1000)));
    assert_eq!("0xFEE00000".parse(), Ok(Iova::new(0xfee0_0000)));
}

#[test]
fn an_address_that_is_not_one_says_what_to_write() {
    let error = |text: &str| text.parse::<Gpa>().expect_err("not an address").to_string();
    let remedy = "write it in hexadecimal with 0x in front, such as 0x1000";
    for text in ["", "0x", "1000", "0X1000", "0x+1", "0x-1", " 0x1", "0x1 ", "0xfg", "0x1_000"] {
        assert_eq!(
            error(text),
            std::format!("{text:?} is not an address (guest-physical): {remedy}")
        );
    }
}

#[test]
fn an_address_above_its_space_says_where_that_ends() {
    assert_eq!(
        "0x10000000000000000".parse::<Iova>().expect_err("65 bits").to_string(),
        "\"0x10000000000000000\" is not an address (device-visible): the last one is 0xffffffffffffffff",
    );
    assert_eq!(
        crate::text::address::<Tiny>("0x100").expect_err("9 bits").to_string(),
        "\"0x100\" is not an address (8-bit test): the last one is 0xff",
    );
}

#[test]
fn a_span_that_is_not_one_says_why() {
    assert_eq!(
        span_error("0x1000"),
        "\"0x1000\" is not a span: write its first and its last address, such as 0x1000-0x1fff",
    );
    assert_eq!(
        span_error("0x2000-0x1fff"),
        "0x2000-0x1fff is not a span: its first address is above its last",
    );
    assert_eq!(
        span_error("0x1000-1fff"),
        "\"1fff\" is not an address (guest-physical): write it in hexadecimal with 0x in front, such as 0x1000",
    );
    assert!(span_error("0x1000-0x1fff-0x2fff").starts_with("\"0x1fff-0x2fff\" is not"));
}

#[test]
fn an_error_repeats_only_the_start_of_a_long_text() {
    for long in ["x".repeat(1 << 20), "é".repeat(1 << 20), "0x1".to_string() + &"0".repeat(1 << 20)]
    {
        assert!(span_error(&long).len() < 300);
        assert!(long.parse::<Gpa>().expect_err("too long").to_string().len() < 300);
    }
}

proptest! {
    #[test]
    fn spans_of_64_bits_read_back(one: u64, other: u64) {
        let (first, last) = (Iova::new(one.min(other)), Iova::new(one.max(other)));
        let span = Span::new(first, last).expect("first <= last");
        prop_assert_eq!(span.to_string().parse(), Ok(span));
    }

    #[test]
    fn any_text_reads_or_has_an_error(text in "[0-9a-fx+\\- ]{0,12}|.*") {
        match text.parse::<Span<Gpa>>() {
            Ok(span) => prop_assert!(span.first() <= span.last()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
