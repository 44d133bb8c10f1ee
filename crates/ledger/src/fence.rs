//! Fencing: what is done about a holder that died, did not let go in time, or whose mappings nobody can
//! vouch for.

use std::collections::BTreeSet;

use ringfence_refusal::Refusal;

use crate::id::{Holder, Owner};
use crate::ledger::Ledger;
use crate::mapping::{ClearOrder, Cleared, FenceOrder, Phase};
use crate::refusals::{BUSY, QUARANTINED};
use crate::retire::Released;

impl Ledger {
    /// Begins to cut a holder's device off; `None` if that was begun before and did not fail. From here
    /// on nothing is mapped for it.
    ///
    /// # Errors
    ///
    /// `RF0105` when the holder is gone.
    pub fn fence(&mut self, holder: Holder) -> Result<Option<FenceOrder>, Refusal> {
        let record = self.holders.get_mut(holder.0, holder)?;
        let was_fenced = std::mem::replace(&mut record.is_fenced, true);
        let has_failed = std::mem::replace(&mut record.is_out_of_reach, false);
        Ok((!was_fenced || has_failed).then_some(FenceOrder(holder)))
    }

    /// Takes down that the device reaches nothing. Now all of its bus addresses can be cleared at once.
    ///
    /// **Invariant:** nothing of a holder that died is cleared before its device is cut
    /// off.
    pub fn fenced(&mut self, order: FenceOrder) -> ClearOrder {
        let mut clearing = 0;
        if let Ok(record) = self.holders.get_mut(order.0.0, order.0) {
            record.clearing += 1;
            clearing = record.clearing;
            // What was reported before is undone by what is ordered now.
            record.late.clear();
        }
        ClearOrder { holder: order.0, clearing }
    }

    /// Takes down that the device could not be cut off: all that it had mapped is in quarantine for
    /// good, or until it can be.
    pub fn not_fenced(&mut self, order: FenceOrder) -> Refusal {
        self.quarantine(order.0, "could not be fenced")
    }

    /// Takes down that nothing is left of the holder's mappings in the tables, and that its devices
    /// remember none.
    pub fn cleared(&mut self, order: ClearOrder) -> Cleared {
        Cleared { holder: order.holder, clearing: order.clearing }
    }

    /// Takes down that nobody knows.
    pub fn not_cleared(&mut self, order: ClearOrder) -> Refusal {
        self.quarantine(order.holder, "was fenced and could not be cleared")
    }

    fn quarantine(&mut self, holder: Holder, why: &str) -> Refusal {
        let mut count = 0_usize;
        // The holder may be gone, and its place another's.
        if let Ok(record) = self.holders.get_mut(holder.0, holder) {
            record.is_out_of_reach = true;
        } else {
            return Refusal::new(&QUARANTINED, format!("{holder} {why}, and is gone"));
        }
        let of_it = self.mappings.iter_mut().filter(|row| row.holder == holder.0.place());
        // One that is being made is still to be reported, and removed then.
        for row in of_it.filter(|row| row.phase() != Phase::Begun) {
            row.set_phase(Phase::Quarantined);
            count += 1;
        }
        Refusal::new(&QUARANTINED, format!("{holder} {why}: {count} mappings"))
    }

    /// Lets go of all that a cleared holder had mapped, quarantine included, but for what may have arrived
    /// after the space was cleared: what is still being made, and what was reported to be made since
    /// the clearing was ordered. That counts until it is removed by itself.
    ///
    /// Invariant `I6`: only the last clearing that was ordered counts, and only as long as the holder has
    /// not begun anew.
    pub fn settle(&mut self, cleared: Cleared) -> Released {
        let record = self.holders.get(cleared.holder.0, cleared.holder);
        match record.is_ok_and(|it| it.is_fenced && it.clearing == cleared.clearing) {
            true => self.let_go_of_all(cleared.holder),
            false => Released::default(),
        }
    }

    /// Fences everybody who reaches memory of an owner: it died, and its memory goes back to the host
    /// when they are settled.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone.
    pub fn fence_all_of(&mut self, owner: Owner) -> Result<Vec<FenceOrder>, Refusal> {
        self.owners.get(owner.0, owner)?;
        let holders: BTreeSet<Holder> = self
            .mappings
            .iter()
            .filter(|(_, row)| row.owner == owner.0.place())
            .filter_map(|(_, row)| self.holders.at(row.holder).map(|(id, _)| Holder(id)))
            .collect();
        let orders = holders.into_iter().filter_map(|holder| self.fence(holder).ok().flatten());
        Ok(orders.collect())
    }

    /// Takes a holder off an owner's target list.
    ///
    /// # Errors
    ///
    /// `RF0115` while it has any of the owner's memory mapped, `RF0105` when either is gone.
    pub fn remove_target(&mut self, owner: Owner, holder: Holder) -> Result<(), Refusal> {
        self.owners.get(owner.0, owner)?;
        let record = self.holders.get_mut(holder.0, holder)?;
        let mapped = record.targets.get(owner).map_or(0, |target| target.mapped_frames);
        if mapped > 0 {
            let detail = format!("{} has {mapped} frames of {owner} mapped", record.name);
            return Err(Refusal::new(&BUSY, detail));
        }
        record.targets.remove(owner);
        Ok(())
    }

    /// Lets a fenced holder begin anew: its device was reset.
    ///
    /// # Errors
    ///
    /// `RF0105` when it is gone, `RF0115` while anything that it had mapped is counted.
    pub fn readmit(&mut self, holder: Holder) -> Result<(), Refusal> {
        let record = self.holders.get_mut(holder.0, holder)?;
        if record.mappings > 0 {
            let detail = format!("{} has {} mappings", record.name, record.mappings);
            return Err(Refusal::new(&BUSY, detail));
        }
        record.is_fenced = false;
        // What was cleared before says nothing of what it maps from here on.
        record.clearing += 1;
        Ok(())
    }
}
