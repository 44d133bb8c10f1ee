//! What a keeper of claims tells.

use std::fmt;

use crate::breach::Breach;

/// Something that changed about a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The claim's name; `None` if it concerns all.
    pub claim: Option<String>,
    /// What changed.
    pub what: What,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is held from now on.
    Held,
    /// It is to be held and cannot be, for this reason: it is watched.
    NotHeld(String),
    /// Something is not as it was claimed.
    Breach(Breach),
    /// That is no more: it is as it was claimed again, or otherwise wrong.
    Mended(Breach),
    /// It was released.
    Released,
    /// What is so could not be read: nothing is known of it until it can be.
    NotSeen(String),
    /// The claims could not be listed: those known are kept, others not found.
    NotListed(String),
}

impl Event {
    pub(crate) fn new(claim: &str, what: What) -> Self {
        Self { claim: Some(claim.to_owned()), what }
    }

    pub(crate) fn of_all(what: What) -> Self {
        Self { claim: None, what }
    }
}

impl What {
    /// A word that programs can rely on.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::NotHeld(_) => "not-held",
            Self::Breach(_) => "breach",
            Self::Mended(_) => "mended",
            Self::Released => "released",
            Self::NotSeen(_) => "not-seen",
            Self::NotListed(_) => "not-listed",
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => formatter.write_str("held: the kernel turns down other drivers"),
            Self::NotHeld(why) => write!(formatter, "watched, and cannot be held: {why}"),
            Self::Breach(breach) => write!(formatter, "{breach}"),
            Self::Mended(breach) => write!(formatter, "no more: {breach}"),
            Self::Released => formatter.write_str("released"),
            Self::NotSeen(why) => write!(formatter, "not seen: {why}"),
            Self::NotListed(why) => write!(formatter, "cannot list the claims: {why}"),
        }
    }
}
