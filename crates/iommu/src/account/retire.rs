//! Giving back: what an owner gets is out of every device, and given to the system, before it hears so.

use ringfence_addr::{Gpa, Span};
use ringfence_ledger::{Entry, Owner, Retirement};
use ringfence_refusal::Refusal;

use super::Account;
use crate::memory::Backing;

impl<M: Backing> Account<M> {
    /// An owner wants memory back ([`Ledger::retire`](ringfence_ledger::Ledger::retire)); `deadline` is
    /// of the clock that [`Account::pass`] is told. What is free is given to the system before this
    /// returns, and reads as zero from then on.
    ///
    /// # Errors
    ///
    /// As of [`Ledger::retire`](ringfence_ledger::Ledger::retire).
    pub fn retire(
        &mut self,
        owner: Owner,
        memory: Span<Gpa>,
        deadline: Option<u64>,
    ) -> Result<Retirement, Refusal> {
        let answer = self.ledger.retire(owner, memory, deadline)?;
        if answer == Retirement::Free {
            self.discard(owner, memory);
        }
        Ok(answer)
    }

    /// Takes every mapping out that has any of `memory`, whole; whether none is left. Devices that use it
    /// meet a fault: it is for memory that its owner promised not to use.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone.
    pub fn withdraw_mappings(&mut self, owner: Owner, memory: Span<Gpa>) -> Result<bool, Refusal> {
        if self.ledger.holders_of(owner, memory).is_empty() {
            return self.ledger.memory_bytes(owner).map(|_| true);
        }
        let of_it = |entry: &Entry| entry.owner == owner && entry.memory.overlaps(&memory);
        Ok(self.revoke(of_it))
    }

    /// The owner takes memory again that it gave back.
    ///
    /// # Errors
    ///
    /// `RF0107` for what was not given back.
    pub fn take_again(&mut self, owner: Owner, memory: Span<Gpa>) -> Result<(), Refusal> {
        self.ledger.take_again(owner, memory)
    }

    /// Time has passed: whoever still reaches memory whose deadline is over is cut off.
    pub fn pass(&mut self, now: u64) {
        for order in self.ledger.overdue(now) {
            self.carry_fence_out(order);
        }
    }
}
