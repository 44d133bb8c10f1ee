//! The gate over an account: what is asked back is taken out of the devices' tables at once, by whatever
//! back end they have.
//!
//! Nobody has to agree: a guest that has every page of a block in its balloon has promised to use none, so
//! a device that does is in error, and meets a fault.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_addr::{Gpa, Span, SpanSet};
use ringfence_iommu::{Account, Backing};
use ringfence_ledger::{Holder, Milliseconds, Owner, Retirement};
use ringfence_refusal::Refusal;

use crate::give_back::books::{first_block, larger, over};
use crate::give_back::{GiveBack, Verdict};

/// Those who had an owner's memory mapped through the account.
pub trait Reachers: Send {
    /// What a holder is called.
    fn name(&self, holder: Holder) -> String;

    /// Memory is the guest's again: whoever is to reach all of its memory maps what it is missing of this.
    /// One that was cut off, or is gone, is passed over. The account is not locked meanwhile.
    ///
    /// # Errors
    ///
    /// Somebody cannot; what others mapped of it stays.
    fn take_up(&mut self, memory: Span<Gpa>) -> Result<(), Refusal>;

    /// By when what cannot be taken out now has to be, of the clock that [`Account::pass`] is told. After
    /// that its holder's device is cut off.
    fn deadline(&self) -> Milliseconds;
}

/// The gate of one owner.
///
/// What is free the account has discarded already, and devices of ours discard it again, which does nothing.
pub struct AccountGate<M, R> {
    account: Arc<Mutex<Account<M>>>,
    owner: Owner,
    reachers: R,
    /// What is waited for.
    later: SpanSet<Gpa>,
    settled: Vec<Span<Gpa>>,
}

impl<M: Backing, R: Reachers> AccountGate<M, R> {
    /// A gate to an owner's memory.
    pub fn new(account: Arc<Mutex<Account<M>>>, owner: Owner, reachers: R) -> Self {
        Self { account, owner, reachers, later: SpanSet::new(), settled: Vec::new() }
    }

    /// Hears of [`ringfence_iommu::Event::Retired`], whosever it is.
    pub fn retired(&mut self, owner: Owner, memory: Span<Gpa>) {
        if owner == self.owner && self.later.encloses(&memory) {
            self.later.remove(memory);
            self.settled.push(memory);
        }
    }

    fn of(account: &Mutex<Account<M>>) -> MutexGuard<'_, Account<M>> {
        account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Backing + Send, R: Reachers> GiveBack for AccountGate<M, R>
where
    Account<M>: Send,
{
    fn retire(&mut self, memory: Span<Gpa>) -> Result<Verdict, Refusal> {
        let mut account = Self::of(&self.account);
        if account.retire(self.owner, memory, None)? == Retirement::Free {
            return Ok(Verdict::Free);
        }
        let over = over(account.ledger(), self.owner, memory);
        Ok(Verdict::Busy(first_block(&over, memory, |holder| self.reachers.name(holder))))
    }

    fn ask_back(&mut self, block: Span<Gpa>) -> Result<Verdict, Refusal> {
        let mut account = Self::of(&self.account);
        let over = over(account.ledger(), self.owner, block);
        if let Some(larger) = larger(&over, block, |holder| self.reachers.name(holder)) {
            return Ok(Verdict::Busy(larger));
        }
        let deadline = self.reachers.deadline();
        if account.retire(self.owner, block, Some(deadline))? == Retirement::Free {
            return Ok(Verdict::Free);
        }
        // From here on no mapping of it begins; what cannot be taken out is waited for.
        let is_clean = account.withdraw_mappings(self.owner, block)?;
        if is_clean && account.ledger().is_idle(self.owner, block) {
            return Ok(Verdict::Free);
        }
        self.later.insert(block);
        Ok(Verdict::Later)
    }

    fn settled(&mut self) -> Vec<Span<Gpa>> {
        std::mem::take(&mut self.settled)
    }

    fn reuse(&mut self, memory: Span<Gpa>) -> Result<(), Refusal> {
        Self::of(&self.account).take_again(self.owner, memory)?;
        let Err(refusal) = self.reachers.take_up(memory) else { return Ok(()) };
        // The guest must not use what a device of its believes to reach.
        let mut account = Self::of(&self.account);
        account.withdraw_mappings(self.owner, memory)?;
        account.retire(self.owner, memory, None)?;
        Err(refusal)
    }
}
