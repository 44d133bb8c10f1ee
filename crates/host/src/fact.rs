//! Something read from a host, or why it was not.

use std::fmt;

/// A fact about a host: a value that was read, or why there is none. Nothing is ever guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// It was read, and this is it.
    Known(T),
    /// It was not read.
    Unknown(Unknown),
}

/// Why a fact is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unknown {
    /// The kernel shows it to root alone: without, config space ends after 64 bytes.
    NeedsRoot,
    /// The source ends before the place it would be at, or does not have it.
    NotInSource,
    /// The function is asleep, and reading would have woken it.
    Asleep,
    /// What was there makes no sense.
    Garbled,
    /// The function did not answer: its config space reads as ones.
    NoAnswer,
}

impl<T> Fact<T> {
    /// The value, if it is known.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Whether it is known.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    /// The same fact by reference.
    pub fn as_ref(&self) -> Fact<&T> {
        match self {
            Self::Known(value) => Fact::Known(value),
            Self::Unknown(why) => Fact::Unknown(*why),
        }
    }

    /// What `of` makes of the value; what is unknown stays so.
    pub fn map<U>(self, of: impl FnOnce(T) -> U) -> Fact<U> {
        match self {
            Self::Known(value) => Fact::Known(of(value)),
            Self::Unknown(why) => Fact::Unknown(why),
        }
    }
}

impl<T> Default for Fact<T> {
    /// Not in the source.
    fn default() -> Self {
        Self::Unknown(Unknown::NotInSource)
    }
}

impl fmt::Display for Unknown {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NeedsRoot => "not readable without root",
            Self::NotInSource => "not in what was read",
            Self::Asleep => "the function is asleep",
            Self::Garbled => "what was read makes no sense",
            Self::NoAnswer => "the function does not answer",
        })
    }
}
