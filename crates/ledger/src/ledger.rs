//! The account itself: owners, holders, grants, and the check.

use ringfence_addr::{Gpa, Rights, Span};
use ringfence_refusal::Refusal;

use crate::claim::{Claim, Permit};
use crate::holder::HolderRecord;
use crate::id::{Holder, Owner, Slots};
use crate::owner::OwnerRecord;
use crate::refusals::{BUSY, NOT_OWNED, OVERLAPS};
use crate::rows::Rows;

/// Who owns which guest-physical memory, who else may touch it, and which mappings count it.
pub struct Ledger {
    pub(crate) owners: Slots<OwnerRecord>,
    pub(crate) holders: Slots<HolderRecord>,
    pub(crate) mappings: Rows,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// An account with nobody in it.
    pub const fn new() -> Self {
        Self { owners: Slots::new(), holders: Slots::new(), mappings: Rows::new() }
    }

    /// Enters an owner, with no memory yet.
    pub fn add_owner(&mut self, name: impl Into<String>) -> Owner {
        Owner(self.owners.add(OwnerRecord::new(name.into())))
    }

    /// Removes an owner of whose memory nothing is mapped.
    ///
    /// # Errors
    ///
    /// `RF0115` while anything is, `RF0105` when the owner is gone already. Nothing is changed then.
    pub fn remove_owner(&mut self, owner: Owner) -> Result<(), Refusal> {
        let record = self.owners.get(owner.0, owner)?;
        let charged = record.charged_frames();
        if charged > 0 {
            let detail = format!("{charged} frames of {} are mapped", record.name);
            return Err(Refusal::new(&BUSY, detail));
        }
        self.owners.remove(owner.0, owner)?;
        for holder in self.holders.iter_mut() {
            holder.targets.remove(owner);
        }
        Ok(())
    }

    /// Enters a holder of `owner`'s memory, with nothing granted yet.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone.
    pub fn add_holder(&mut self, owner: Owner, name: impl Into<String>) -> Result<Holder, Refusal> {
        self.owners.get(owner.0, owner)?;
        Ok(Holder(self.holders.add(HolderRecord::new(name.into(), owner))))
    }

    /// Removes a holder and all that it was granted.
    ///
    /// # Errors
    ///
    /// `RF0115` while it has mappings, `RF0105` when it is gone already.
    pub fn remove_holder(&mut self, holder: Holder) -> Result<(), Refusal> {
        let record = self.holders.get(holder.0, holder)?;
        if record.mappings > 0 {
            let detail = format!("{} has {} mappings", record.name, record.mappings);
            return Err(Refusal::new(&BUSY, detail));
        }
        self.holders.remove(holder.0, holder).map(drop)
    }

    /// Says that `span` is the owner's memory.
    ///
    /// # Errors
    ///
    /// `RF0106` when part of it is the owner's already, `RF0105` when the owner is gone.
    pub fn add_memory(&mut self, owner: Owner, span: Span<Gpa>) -> Result<(), Refusal> {
        let record = self.owners.get_mut(owner.0, owner)?;
        if record.memory.all().overlaps(&span) || record.given_back.overlaps(&span) {
            let detail = format!("{span} is, in part, memory of {} already", record.name);
            return Err(Refusal::new(&OVERLAPS, detail));
        }
        record.memory.insert(span);
        Ok(())
    }

    /// Says that `span` is no longer the owner's memory, and revokes every grant within it.
    ///
    /// # Errors
    ///
    /// `RF0107` when part of it was never the owner's, `RF0115` while any of it is mapped, `RF0105`
    /// when the owner is gone. Nothing is changed then.
    pub fn remove_memory(&mut self, owner: Owner, span: Span<Gpa>) -> Result<(), Refusal> {
        let record = self.owners.get_mut(owner.0, owner)?;
        if !record.memory.encloses(&span) {
            let detail = format!("{span} is not all memory of {}", record.name);
            return Err(Refusal::new(&NOT_OWNED, detail));
        }
        if record.is_busy(span) {
            let detail = format!("{span} of {} is mapped, at least in part", record.name);
            return Err(Refusal::new(&BUSY, detail));
        }
        record.memory.remove(span);
        for holder in self.holders.iter_mut() {
            if let Some((_, target)) = holder.targets.get_mut(owner) {
                target.granted.remove(span);
            }
        }
        Ok(())
    }

    /// Lets `holder` touch `span` of its owner's memory with `rights`, in place of what it could
    /// do there before.
    ///
    /// # Errors
    ///
    /// `RF0107` when part of the span is not the owner's, `RF0105` when the holder or its owner is
    /// gone.
    pub fn grant(
        &mut self,
        holder: Holder,
        span: Span<Gpa>,
        rights: Rights,
    ) -> Result<(), Refusal> {
        let owner = self.holders.get(holder.0, holder)?.owner;
        self.grant_of(owner, holder, span, rights)
    }

    /// The same for memory of any owner: it puts `holder` on the owner's target list.
    ///
    /// # Errors
    ///
    /// As for [`Ledger::grant`].
    pub fn grant_of(
        &mut self,
        owner: Owner,
        holder: Holder,
        span: Span<Gpa>,
        rights: Rights,
    ) -> Result<(), Refusal> {
        let record = self.holders.get_mut(holder.0, holder)?;
        let of = self.owners.get(owner.0, owner)?;
        if !of.memory.all().encloses(&span) {
            let detail = format!("{span} is not all memory of {}", of.name);
            return Err(Refusal::new(&NOT_OWNED, detail));
        }
        record.targets.of(owner).granted.insert(span, rights);
        Ok(())
    }

    /// How many frames of `owner`'s memory `holder` may have mapped in all; as many as it likes with
    /// `None`. What is mapped already stays.
    ///
    /// # Errors
    ///
    /// `RF0105` when either is gone.
    pub fn set_quota(
        &mut self,
        owner: Owner,
        holder: Holder,
        frames: Option<u64>,
    ) -> Result<(), Refusal> {
        self.owners.get(owner.0, owner)?;
        let record = self.holders.get_mut(holder.0, holder)?;
        record.targets.of(owner).quota_frames = frames;
        Ok(())
    }

    /// Takes back whatever `holder` was granted within `span`. What it has mapped there stays mapped,
    /// and counted, until it is unmapped or the memory is retired.
    ///
    /// # Errors
    ///
    /// `RF0105` when the holder is gone.
    pub fn revoke(&mut self, holder: Holder, span: Span<Gpa>) -> Result<(), Refusal> {
        let record = self.holders.get_mut(holder.0, holder)?;
        let owner = record.owner;
        record.targets.of(owner).granted.remove(span);
        Ok(())
    }

    /// Bytes of memory the owner has.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone.
    pub fn memory_bytes(&self, owner: Owner) -> Result<u128, Refusal> {
        Ok(self.owners.get(owner.0, owner)?.memory.all().length())
    }

    /// Turns what a peer alleges on behalf of `holder` into a permit: every byte of the claim is
    /// granted to the holder with at least the claimed rights.
    ///
    /// # Errors
    ///
    /// `RF0101` when part of it is not granted, `RF0102` when it is, but not with these rights,
    /// `RF0105` when the holder is gone.
    pub fn check(&self, holder: Holder, claim: Claim<Gpa>) -> Result<Permit<'_, Gpa>, Refusal> {
        let record = self.holders.get(holder.0, holder)?;
        record.check_target(record.targets.get(record.owner), claim)?;
        Ok(Permit::of(claim))
    }
}
