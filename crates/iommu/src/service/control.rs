//! What owners and holders ask for, and are told, in JSON: everything but batches.

use ringfence_addr::{Address, Rights, Span};
use ringfence_refusal::Failure;
use serde::{Deserialize, Serialize};

/// A span on the wire, checked when it is read: `{"first": "0x1000", "last": "0x1fff"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "Ends",
    into = "Ends",
    bound = "A: Address + std::str::FromStr + std::fmt::Display"
)]
pub struct WireSpan<A: Address + std::str::FromStr + std::fmt::Display>(Span<A>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ends {
    first: String,
    last: String,
}

impl<A: Address + std::str::FromStr + std::fmt::Display> TryFrom<Ends> for WireSpan<A> {
    type Error = String;

    fn try_from(ends: Ends) -> Result<Self, String> {
        let address = |text: &str| text.parse::<A>().map_err(|_| "no address".to_owned());
        let (first, last) = (address(&ends.first)?, address(&ends.last)?);
        Span::new(first, last).map(Self).ok_or_else(|| format!("{last} is before {first}"))
    }
}

impl<A: Address + std::str::FromStr + std::fmt::Display> From<WireSpan<A>> for Ends {
    fn from(span: WireSpan<A>) -> Self {
        Self { first: span.0.first().to_string(), last: span.0.last().to_string() }
    }
}

impl<A: Address + std::str::FromStr + std::fmt::Display> From<WireSpan<A>> for Span<A> {
    fn from(span: WireSpan<A>) -> Self {
        span.0
    }
}

impl<A: Address + std::str::FromStr + std::fmt::Display> From<Span<A>> for WireSpan<A> {
    fn from(span: Span<A>) -> Self {
        Self(span)
    }
}

/// Rights on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WireRights {
    /// To read.
    Read,
    /// To write.
    Write,
    /// To do both.
    ReadWrite,
}

impl From<WireRights> for Rights {
    fn from(rights: WireRights) -> Self {
        match rights {
            WireRights::Read => Self::READ,
            WireRights::Write => Self::WRITE,
            WireRights::ReadWrite => Self::READ_WRITE,
        }
    }
}

/// What somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Control {
    /// To be the owner of this name.
    Own {
        /// What it is called.
        name: String,
    },
    /// To be a holder of an owner's memory, and to have this device.
    Hold {
        /// What it is called on the owner's target list.
        name: String,
        /// The owner's name.
        owner: String,
        /// Which device; none for a process alone.
        device: Option<String>,
    },
    /// An owner: this is my memory; it is in the file that comes with this.
    Memory {
        /// Where the guest has it.
        memory: WireSpan<ringfence_addr::Gpa>,
        /// Where in the file it begins.
        offset: u64,
    },
    /// An owner: this is my memory no more.
    Forget {
        /// Which.
        memory: WireSpan<ringfence_addr::Gpa>,
    },
    /// An owner: this holder may map it.
    Allow {
        /// The holder's name.
        holder: String,
        /// Which of the owner's; all there is and will be, without.
        memory: Option<WireSpan<ringfence_addr::Gpa>>,
        /// How.
        rights: WireRights,
        /// How much at most.
        quota_bytes: Option<u64>,
    },
    /// An owner: this holder may not any more.
    Disallow {
        /// The holder's name.
        holder: String,
        /// Take out what it has mapped, instead of refusing while it has any.
        revoke: bool,
    },
    /// An owner wants memory back.
    Retire {
        /// Which.
        memory: WireSpan<ringfence_addr::Gpa>,
        /// How long its holders have; without, they are told of and nothing happens.
        within_milliseconds: Option<u64>,
        /// Take every mapping out that has any of it, first.
        revoke: bool,
    },
    /// An owner takes memory again that it gave back.
    Again {
        /// Which.
        memory: WireSpan<ringfence_addr::Gpa>,
    },
    /// An owner asks what happened since it asked last.
    Events,
}

/// What somebody is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Reply {
    /// It is done.
    Done,
    /// The memory is free, and the system has it.
    Free,
    /// These holders reach it, and nothing was changed.
    Busy {
        /// Their names.
        holders: Vec<String>,
    },
    /// These holders have until the deadline.
    Revoking {
        /// Their names.
        holders: Vec<String>,
    },
    /// Whoever asked is a holder now; the device's descriptors come with this.
    Holding {
        /// The owner's id, for wishes.
        owner: u64,
        /// The bus addresses that can be mapped; none for a process alone.
        usable: Vec<WireSpan<ringfence_addr::Iova>>,
    },
    /// What happened.
    Events {
        /// In order.
        events: Vec<Happened>,
    },
    /// It was refused.
    Refused {
        /// The number of the code.
        code: u16,
        /// The thing and the numbers.
        detail: String,
    },
    /// The environment failed.
    Failed {
        /// What.
        what: String,
    },
}

/// What happened that an owner may want to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Happened {
    /// Memory that it waited for is free, and the system has it.
    Retired {
        /// Which.
        memory: WireSpan<ringfence_addr::Gpa>,
    },
    /// Memory is free, and the system did not take it.
    NotDiscarded {
        /// Which.
        memory: WireSpan<ringfence_addr::Gpa>,
        /// What the system said.
        why: String,
    },
    /// A holder's device was cut off.
    Fenced {
        /// Its name.
        holder: String,
        /// How many mappings it had.
        mappings: usize,
    },
    /// Something may be reached that should not.
    Quarantined {
        /// What.
        what: String,
    },
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => {
                Self::Refused { code: refusal.code().number, detail: refusal.detail().to_owned() }
            }
            Failure::Faulted(fault) => {
                Self::Failed { what: format!("{fault}: {}", fault.io_error()) }
            }
        }
    }
}
