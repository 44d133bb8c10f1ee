//! One mapping, and the orders by which it comes to be and goes away.
//!
//! ```text
//!  map ─► MapOrder ─► mapped ─► live ─► unmap ─► RemoveOrder ─► Removed ─► FlushOrder ─► Flushed ─► released
//!           │ not mapped                          │ fails, or less than asked   │ fails
//!           └► released                           └────► quarantined ◄──────────┘
//!                                                            │ fence, clear the whole space
//!                                                            └► released
//! ```
//!
//! **Invariant:** counts are dropped by [`Flushed`] and [`Cleared`] alone, and those are
//! made by what was reported done. Orders are values that cannot be copied: each is carried out, and
//! reported, once. One that is lost leaves its mapping counted for ever, never freed too early.

use std::fmt;

use ringfence_addr::{Gpa, Iova, Rights, Span};

use crate::count::Appears;
use crate::id::{Handle, Holder, Owner};

/// What a holder wants to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Whose memory.
    pub owner: Owner,
    /// Which of it, in whole frames.
    pub memory: Span<Gpa>,
    /// With what rights.
    pub rights: Rights,
    /// At which bus address.
    pub place: Place,
    /// Where it is to appear.
    pub appears: Appears,
}

/// Who chooses a bus address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The ledger: one that nobody uses.
    Chosen,
    /// The holder: this one, which must be unused.
    At(Iova),
}

/// A mapping as it stands in the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub handle: Handle,
    /// Who reaches it.
    pub holder: Holder,
    /// Whose memory it is.
    pub owner: Owner,
    /// Which of the owner's memory.
    pub memory: Span<Gpa>,
    /// Where the holder's device finds it, if it does.
    pub bus: Option<Span<Iova>>,
    /// With what rights.
    pub rights: Rights,
    /// Where it appears.
    pub appears: Appears,
    /// How far it is.
    pub phase: Phase,
}

/// How far a mapping is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// It is being made.
    Begun,
    /// It is made.
    Live,
    /// It is being taken out of the tables.
    Removing,
    /// It is out of the tables, and devices may remember it.
    Removed,
    /// Nobody knows: what was to be undone failed, or more or less was done than asked.
    Quarantined,
}

impl fmt::Display for Phase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Begun => "begun",
            Self::Live => "live",
            Self::Removing => "removing",
            Self::Removed => "removed",
            Self::Quarantined => "quarantined",
        })
    }
}

/// Make this mapping, then say [`crate::Ledger::mapped`] or [`crate::Ledger::not_mapped`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a mapping that is begun counts until it is reported"]
pub struct MapOrder(pub(crate) Entry);

/// Take this mapping out of the tables, then say [`crate::Ledger::removed`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a mapping that is being removed counts until it is reported"]
pub struct RemoveOrder(pub(crate) Entry);

/// Proof that a mapping is out of the tables. Devices may still remember it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "its memory counts until it is flushed"]
pub struct Removed {
    pub(crate) handle: Handle,
    pub(crate) holder: Holder,
    pub(crate) bus: Option<Span<Iova>>,
}

/// Make the holder's devices forget what they remember of these bus addresses, then say
/// [`crate::Ledger::flushed`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "memory counts until its flush is reported"]
pub struct FlushOrder {
    pub(crate) holder: Holder,
    pub(crate) removed: Vec<Removed>,
}

/// Proof that devices have forgotten some mappings: only this lets memory go.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "memory counts until it is released"]
pub struct Flushed(pub(crate) Vec<Handle>);

/// Keep the holder's device from memory altogether (bus master off, or a domain that blocks), then
/// say [`crate::Ledger::fenced`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the device reaches memory until it is fenced"]
pub struct FenceOrder(pub(crate) Holder);

/// Empty the bus addresses of a fenced holder, all of them, and make its devices forget them; then say
/// [`crate::Ledger::cleared`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "memory counts until it is cleared"]
pub struct ClearOrder {
    pub(crate) holder: Holder,
    /// Which of its clearings, counted.
    pub(crate) clearing: u64,
}

/// Proof that nothing is left of a holder's mappings.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "memory counts until it is released"]
pub struct Cleared {
    pub(crate) holder: Holder,
    pub(crate) clearing: u64,
}

impl MapOrder {
    /// The mapping to be made.
    pub fn entry(&self) -> &Entry {
        &self.0
    }
}

impl RemoveOrder {
    /// The mapping to be taken out.
    pub fn entry(&self) -> &Entry {
        &self.0
    }
}

impl FlushOrder {
    /// Whose devices.
    pub fn holder(&self) -> Holder {
        self.holder
    }

    /// Which mappings.
    pub fn handles(&self) -> impl Iterator<Item = Handle> + '_ {
        self.removed.iter().map(|removed| removed.handle)
    }

    /// Which addresses, as they were removed: never less.
    pub fn spans(&self) -> impl Iterator<Item = Span<Iova>> + '_ {
        self.removed.iter().filter_map(|removed| removed.bus)
    }
}

impl Flushed {
    /// Which mappings.
    pub fn handles(&self) -> impl Iterator<Item = Handle> + '_ {
        self.0.iter().copied()
    }
}

impl FenceOrder {
    /// Whose device.
    pub fn holder(&self) -> Holder {
        self.0
    }
}

impl ClearOrder {
    /// Whose bus addresses.
    pub fn holder(&self) -> Holder {
        self.holder
    }
}

impl Cleared {
    /// Whose bus addresses.
    pub fn holder(&self) -> Holder {
        self.holder
    }
}
