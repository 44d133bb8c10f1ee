//! The gate: how a guest's memory goes back to the host, and comes from it again.
//!
//! A page that a device has mapped and somebody discards is two pages from then on: the device reaches the
//! old one, the guest a new one, and nothing says so. So nothing is discarded here that the account has not
//! called free, and what it calls free is mapped by nobody until it is taken again. [`AccountGate`] is the gate
//! over `ringfence_iommu::Account`, which takes mappings out of devices' tables; [`LedgerGate`] that over
//! a ledger whose holders map for themselves.
//!
//! Mappings are taken away whole or not at all (VFIO type 1 does not cut one in two), so memory that devices
//! have goes back in *blocks*: all that the mappings over one page reach.

mod books;
mod over_account;
mod over_ledger;

use ringfence_addr::{Gpa, Span};
use ringfence_refusal::Refusal;

pub use over_account::{AccountGate, Reachers};
pub use over_ledger::{Holders, LedgerGate};

/// What the gate says to somebody who wants memory back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is free: nothing reaches it, and nothing will before [`GiveBack::reuse`]. It may be discarded.
    Free,
    /// The first part of it that is not free is in this block. Nothing has changed.
    Busy(Block),
    /// Its holders were asked, and are let go of by a deadline: [`GiveBack::settled`] says when. No mapping
    /// of it begins any more.
    Later,
}

/// Memory that goes back as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// All that the mappings over its first busy page reach: without a gap, and nothing of it is free.
    pub memory: Span<Gpa>,
    /// Who has it mapped, by name.
    pub holders: Vec<String>,
}

/// The account as it looks to a device that gives memory back.
///
/// Memory is asked for in whole frames (4 KiB), and never twice before it is taken again.
pub trait GiveBack: Send {
    /// Takes memory back that nobody has mapped; answers [`Verdict::Free`] or [`Verdict::Busy`].
    ///
    /// # Errors
    ///
    /// It is not memory of this owner's.
    fn retire(&mut self, memory: Span<Gpa>) -> Result<Verdict, Refusal>;

    /// Takes memory back from those who have it mapped, if each of their mappings lies within it.
    /// Otherwise it is busy with a larger block, and nobody is asked.
    ///
    /// # Errors
    ///
    /// It is not memory of this owner's.
    fn ask_back(&mut self, block: Span<Gpa>) -> Result<Verdict, Refusal>;

    /// What was asked back, and has become free since this was called last: the spans of
    /// [`GiveBack::ask_back`].
    fn settled(&mut self) -> Vec<Span<Gpa>>;

    /// Makes memory the guest's again that was free. When this returns, every mapping of it that was taken
    /// by [`GiveBack::ask_back`] is made again as far as it lies in `memory`, unless its holder is gone.
    ///
    /// # Errors
    ///
    /// It stays free.
    fn reuse(&mut self, memory: Span<Gpa>) -> Result<(), Refusal>;
}
