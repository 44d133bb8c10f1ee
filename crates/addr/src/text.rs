//! Addresses and spans read back from text, with errors that name the text and what it should be.

use alloc::string::String;
use core::fmt;

use crate::{Address, Span};

/// How much of an unreadable text its error repeats.
const EXCERPT_CHARS: usize = 48;

/// A text that is not an address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseAddressError {
    text: String,
    space: &'static str,
    last: u64,
    problem: NumberProblem,
}

/// A text that is not a span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParseSpanError(SpanProblem);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum NumberProblem {
    NotHexadecimal,
    AboveTheSpace,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum SpanProblem {
    NoDash { text: String },
    End(ParseAddressError),
    Reversed { first: u64, last: u64 },
}

/// The start of `text`, so that an error cannot be made long by its input.
pub(crate) fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(EXCERPT_CHARS).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    excerpt
}

/// Reads `0x1000`.
pub(crate) fn address<A: Address>(text: &str) -> Result<A, ParseAddressError> {
    let error = |problem| ParseAddressError {
        text: excerpt(text),
        space: A::SPACE,
        last: A::LAST.get(),
        problem,
    };
    let digits = text.strip_prefix("0x").filter(|digits| is_hexadecimal(digits));
    let digits = digits.ok_or_else(|| error(NumberProblem::NotHexadecimal))?;
    // All that is left to go wrong with the number is that it does not fit.
    let raw = u64::from_str_radix(digits, 16).ok();
    raw.and_then(A::try_new).ok_or_else(|| error(NumberProblem::AboveTheSpace))
}

/// Reads `0x1000-0x1fff`.
pub(crate) fn span<A: Address>(text: &str) -> Result<Span<A>, ParseSpanError> {
    let no_dash = || ParseSpanError(SpanProblem::NoDash { text: excerpt(text) });
    let (first, last) = text.split_once('-').ok_or_else(no_dash)?;
    let end = |text| address::<A>(text).map_err(|error| ParseSpanError(SpanProblem::End(error)));
    let (first, last) = (end(first)?, end(last)?);
    Span::new(first, last)
        .ok_or(ParseSpanError(SpanProblem::Reversed { first: first.get(), last: last.get() }))
}

/// Whether `text` is hexadecimal digits and nothing else (`from_str_radix` takes a sign, too).
pub(crate) fn is_hexadecimal(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl fmt::Display for ParseAddressError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, space, last, problem } = self;
        write!(formatter, "{text:?} is not an address ({space}): ")?;
        match problem {
            NumberProblem::NotHexadecimal => {
                write!(formatter, "write it in hexadecimal with 0x in front, such as 0x1000")
            }
            NumberProblem::AboveTheSpace => write!(formatter, "the last one is {last:#x}"),
        }
    }
}

impl fmt::Display for ParseSpanError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            SpanProblem::NoDash { text } => write!(
                formatter,
                "{text:?} is not a span: write its first and its last address, such as 0x1000-0x1fff"
            ),
            SpanProblem::End(error) => error.fmt(formatter),
            SpanProblem::Reversed { first, last } => write!(
                formatter,
                "{first:#x}-{last:#x} is not a span: its first address is above its last"
            ),
        }
    }
}

impl core::error::Error for ParseAddressError {}
impl core::error::Error for ParseSpanError {}

#[cfg(test)]
mod tests;
