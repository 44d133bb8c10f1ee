//! What is done about a holder or an owner that died, or that nobody can vouch for: the device first.

use ringfence_ledger::{FenceOrder, Holder, Owner};
use ringfence_refusal::{Failure, Refusal};

use super::{Account, Event};
use crate::memory::Backing;

impl<M: Backing> Account<M> {
    /// Cuts a holder's device off and takes everything out that it had; whether nothing of it is left.
    pub fn cut_off(&mut self, holder: Holder) -> bool {
        match self.ledger.fence(holder) {
            Ok(Some(order)) => self.carry_fence_out(order),
            // It was before.
            Ok(None) => self.ledger.mapping_count(holder).is_ok_and(|count| count == 0),
            Err(_) => true,
        }
    }

    /// Invariant `I11`: nothing is cleared before the device is cut off, nothing let go before it is
    /// cleared, and a domain of which something may be left is kept.
    pub(super) fn carry_fence_out(&mut self, order: FenceOrder) -> bool {
        let holder = order.holder();
        let mut domain = self.domains.get_mut(&holder);
        if let Err(failure) = domain.as_mut().map_or(Ok(()), |domain| domain.fence()) {
            let refusal = self.ledger.not_fenced(order).within(failure);
            self.events.push(Event::Quarantined(holder, refusal));
            return false;
        }
        let order = self.ledger.fenced(order);
        if let Err(failure) = domain.map_or(Ok(()), |domain| domain.clear()) {
            let refusal = self.ledger.not_cleared(order).within(failure);
            self.events.push(Event::Quarantined(holder, refusal));
            return false;
        }
        let cleared = self.ledger.cleared(order);
        let released = self.ledger.settle(cleared);
        // Whatever was still to be answered is answered by this.
        self.waiting.retain(|(of, _), _| *of != holder);
        self.events.push(Event::Fenced(holder, released.gone.len()));
        self.finish(released);
        true
    }

    /// A holder died, or leaves: its device is cut off, what it had is taken out, and it is forgotten.
    ///
    /// # Errors
    ///
    /// `RF0115` when something of it is left: it stays in the books, and its device with them, until
    /// this is asked again. `RF0105` when it is gone already.
    pub fn holder_died(&mut self, holder: Holder) -> Result<(), Refusal> {
        self.ledger.mapping_count(holder)?;
        self.cut_off(holder);
        self.ledger.remove_holder(holder)?;
        self.domains.remove(&holder);
        Ok(())
    }

    /// An owner died: every device that reaches its memory is cut off, and it is forgotten.
    ///
    /// # Errors
    ///
    /// `RF0115` when some of its memory is still counted: it stays in the books until this is asked
    /// again. `RF0105` when it is gone already.
    pub fn owner_died(&mut self, owner: Owner) -> Result<(), Refusal> {
        for order in self.ledger.fence_all_of(owner)? {
            self.carry_fence_out(order);
        }
        self.ledger.remove_owner(owner)?;
        self.memory.remove(&owner);
        Ok(())
    }

    /// Lets a holder begin anew whose device was cut off, and reset since.
    ///
    /// # Errors
    ///
    /// `RF0115` while anything of it is counted; what the back end says.
    pub fn readmit(&mut self, holder: Holder) -> Result<(), Failure> {
        let count = self.ledger.mapping_count(holder)?;
        if count == 0
            && let Some(domain) = self.domains.get_mut(&holder)
        {
            domain.unfence()?;
        }
        Ok(self.ledger.readmit(holder)?)
    }
}
