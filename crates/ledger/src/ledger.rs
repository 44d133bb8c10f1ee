//! The account itself: owners, holders, grants, and the check.

use ringfence_addr::{Gpa, Rights, Span, SpanMap, SpanSet};
use ringfence_refusal::Refusal;

use crate::claim::{Claim, Permit};
use crate::id::{Holder, Owner, Slots};
use crate::refusals::{NOT_GRANTED, NOT_OWNED, OVERLAPS, RIGHTS};

/// Who owns which guest-physical memory, and who else may touch it.
pub struct Ledger {
    owners: Slots<OwnerRecord>,
    holders: Slots<HolderRecord>,
}

struct OwnerRecord {
    name: String,
    memory: SpanSet<Gpa>,
}

struct HolderRecord {
    name: String,
    owner: Owner,
    granted: SpanMap<Gpa, Rights>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// An account with nobody in it.
    pub const fn new() -> Self {
        Self { owners: Slots::new(), holders: Slots::new() }
    }

    /// Enters an owner, with no memory yet.
    pub fn add_owner(&mut self, name: impl Into<String>) -> Owner {
        Owner(self.owners.add(OwnerRecord { name: name.into(), memory: SpanSet::new() }))
    }

    /// Enters a holder of `owner`'s memory, with nothing granted yet.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone.
    pub fn add_holder(&mut self, owner: Owner, name: impl Into<String>) -> Result<Holder, Refusal> {
        self.owners.get(owner.0, owner)?;
        let record = HolderRecord { name: name.into(), owner, granted: SpanMap::new() };
        Ok(Holder(self.holders.add(record)))
    }

    /// Removes a holder and all that it was granted.
    ///
    /// # Errors
    ///
    /// `RF0105` when the holder is gone already.
    pub fn remove_holder(&mut self, holder: Holder) -> Result<(), Refusal> {
        self.holders.remove(holder.0, holder).map(drop)
    }

    /// Says that `span` is the owner's memory.
    ///
    /// # Errors
    ///
    /// `RF0106` when part of it is the owner's already, `RF0105` when the owner is gone.
    pub fn add_memory(&mut self, owner: Owner, span: Span<Gpa>) -> Result<(), Refusal> {
        let record = self.owners.get_mut(owner.0, owner)?;
        if record.memory.overlaps(&span) {
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
    /// `RF0107` when part of it was never the owner's, `RF0105` when the owner is gone. Nothing is
    /// changed then.
    pub fn remove_memory(&mut self, owner: Owner, span: Span<Gpa>) -> Result<(), Refusal> {
        let record = self.owners.get_mut(owner.0, owner)?;
        if !record.memory.encloses(&span) {
            let detail = format!("{span} is not all memory of {}", record.name);
            return Err(Refusal::new(&NOT_OWNED, detail));
        }
        record.memory.remove(span);
        for holder in self.holders.iter_mut().filter(|holder| holder.owner == owner) {
            holder.granted.remove(span);
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
        let record = self.holders.get_mut(holder.0, holder)?;
        let owner = self.owners.get(record.owner.0, record.owner)?;
        if !owner.memory.encloses(&span) {
            let detail = format!("{span} is not all memory of {}", owner.name);
            return Err(Refusal::new(&NOT_OWNED, detail));
        }
        record.granted.insert(span, rights);
        Ok(())
    }

    /// Takes back whatever `holder` was granted within `span`.
    ///
    /// # Errors
    ///
    /// `RF0105` when the holder is gone.
    pub fn revoke(&mut self, holder: Holder, span: Span<Gpa>) -> Result<(), Refusal> {
        self.holders.get_mut(holder.0, holder)?.granted.remove(span);
        Ok(())
    }

    /// Bytes of memory the owner has.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone.
    pub fn memory_bytes(&self, owner: Owner) -> Result<u128, Refusal> {
        Ok(self.owners.get(owner.0, owner)?.memory.length())
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
        // Nearly every claim lies within one grant; only one that does not pays for the walk.
        if let Some((span, rights)) = record.granted.get(claim.span().first())
            && span.encloses(&claim.span())
            && rights.allows(claim.rights())
        {
            return Ok(Permit::of(claim));
        }
        record.check_across_grants(claim)
    }
}

impl HolderRecord {
    fn check_across_grants(&self, claim: Claim<Gpa>) -> Result<Permit<'_, Gpa>, Refusal> {
        if let Some(gap) = self.granted.gaps(claim.span()).next() {
            let detail = format!(
                "{} claims {}, of which {gap} was never granted to it",
                self.name,
                claim.span()
            );
            return Err(Refusal::new(&NOT_GRANTED, detail));
        }
        for (span, rights) in self.granted.overlapping(claim.span()) {
            if !rights.allows(claim.rights()) {
                let detail = format!(
                    "{} claims {} {}, but was granted {span} {rights}",
                    self.name,
                    claim.span(),
                    claim.rights()
                );
                return Err(Refusal::new(&RIGHTS, detail));
            }
        }
        Ok(Permit::of(claim))
    }
}
