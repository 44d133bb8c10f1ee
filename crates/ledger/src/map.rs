//! Mapping: from what a holder wants to an order, and from what was done to a mapping that is live.

use std::marker::PhantomData;

use ringfence_addr::{Address as _, Alignment, Gpa, Iova, Rights, SpanSet};
use ringfence_refusal::Refusal;

use crate::book::MAPPINGS_MAX;
use crate::claim::Claim;
use crate::count::{Count, Counts};
use crate::entry::Lead;
use crate::frames::FRAME_BYTES;
use crate::holder::HolderRecord;
use crate::id::{Handle, Holder, Owner};
use crate::ledger::Ledger;
use crate::mapping::{Entry, MapOrder, Phase, RemoveOrder, Wish};
use crate::owner::{OwnerRecord, frames};
use crate::refusals::{
    BUS_ADDRESS, COUNT_FULL, FENCED, MISALIGNED, NOT_OWNED, QUOTA, RETIRED, RIGHTS, STALE,
};
use crate::retire::Released;
use crate::row::{MAPPING_FRAMES_MAX, Row};
use crate::space::Space;

/// Where a bus address leads, for as long as nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation<'ledger> {
    /// Whose memory it is.
    pub owner: Owner,
    /// Which address of the owner's.
    pub memory: Gpa,
    /// What the holder's device may do there.
    pub rights: Rights,
    ledger: PhantomData<&'ledger ()>,
}

/// What became of a mapping that could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failed {
    /// Nothing of it was: it is as if it had never been asked for.
    Clean,
    /// Something of it may be: it has to be taken out like one that was.
    Unknown,
}

/// What is to be done about a mapping that was not made.
#[derive(Debug, PartialEq, Eq)]
pub struct NotMapped {
    /// What may be left of it.
    pub remove: Option<RemoveOrder>,
    /// What was let go, if nothing is.
    pub released: Released,
}

impl Ledger {
    /// Gives a holder bus addresses of its own, of which it may use `allowed`: what its IOMMU
    /// translates without what the platform reserves.
    ///
    /// # Errors
    ///
    /// `RF0105` when the holder is gone, `RF0115` when it has mappings in another space.
    pub fn set_space(&mut self, holder: Holder, allowed: SpanSet<Iova>) -> Result<(), Refusal> {
        let record = self.holders.get_mut(holder.0, holder)?;
        if record.mappings > 0 {
            let detail = format!("{} has {} mappings", record.name, record.mappings);
            return Err(Refusal::new(&crate::refusals::BUSY, detail));
        }
        record.space = Some(Space::new(allowed));
        Ok(())
    }

    /// Begins a mapping: everything about it is checked, and from here on it counts.
    ///
    /// Invariant `I15`: counts, quota and bus address are taken before anything is done, and a refusal
    /// leaves all of them as they were.
    ///
    /// Invariant `I4`: memory is in use from here on, which is before any device can reach it.
    ///
    /// # Errors
    ///
    /// `RF0101`, `RF0102` for memory the holder may not reach so, `RF0105` for ids that are gone,
    /// `RF0107` to `RF0113` and `RF0116` as their pages say.
    pub fn map(&mut self, holder: Holder, wish: Wish) -> Result<MapOrder, Refusal> {
        let Wish { owner, memory, rights, appears, .. } = wish;
        let record = self.holders.get_mut(holder.0, holder)?;
        let of = self.owners.get_mut(owner.0, owner)?;
        let frames = check_wish(record, of, &wish)?;
        let number = self.mappings.next();
        if number >= MAPPINGS_MAX {
            return Err(Refusal::new(&COUNT_FULL, format!("there are {MAPPINGS_MAX} mappings")));
        }
        let bus = match (appears.device(), &mut record.space) {
            (false, _) => None,
            (true, Some(space)) => Some(space.place(memory, wish.place)?),
            (true, None) => {
                let detail = format!("{} has no bus addresses", record.name);
                return Err(Refusal::new(&BUS_ADDRESS, detail));
            }
        };
        let begun = of.begin(memory, Count::of(appears, rights), number)?;
        // Nothing is refused from here on.
        record.mappings += 1;
        let Some((target, told)) = record.targets.get_mut(owner) else {
            unreachable!("only what was granted is mapped");
        };
        told.mapped_frames += frames;
        let first = bus;
        let bus = first.and_then(|first| memory.rebase(first));
        if let (Some(space), Some(bus)) = (&mut record.space, bus) {
            space.take(bus, number, Lead::new(memory, target == 0, rights));
        }
        let whose = (holder.0.place(), owner.0.place());
        let row = Row::begun(whose, memory, first, rights, appears);
        let handle = self.mappings.add(number, row);
        self.mappings.link(number, begun);
        let phase = Phase::Begun;
        Ok(MapOrder(Entry { handle, holder, owner, memory, bus, rights, appears, phase }))
    }

    /// Takes down that a mapping was made.
    ///
    /// # Errors
    ///
    /// The holder was fenced while it was being made: it has to be removed again. Until that is
    /// reported it counts, even if all else the holder had is settled.
    pub fn mapped(&mut self, order: MapOrder) -> Result<Handle, RemoveOrder> {
        let entry = order.0;
        let holder = self.holders.get_mut(entry.holder.0, entry.holder);
        if let (Ok(row), Ok(record)) = (self.mappings.get_mut(entry.handle), holder) {
            if record.is_fenced {
                row.set_phase(Phase::Removing);
                record.late.insert(entry.handle.0.place());
                return Err(RemoveOrder(Entry { phase: Phase::Removing, ..entry }));
            }
            row.set_phase(Phase::Live);
            if let (Some(space), Some(bus)) = (&mut record.space, entry.bus) {
                space.set_live(bus, true);
            }
        }
        Ok(entry.handle)
    }

    /// Takes down that a mapping was not made. What may be left of it has to be removed.
    pub fn not_mapped(&mut self, order: MapOrder, failed: Failed) -> NotMapped {
        let entry = order.0;
        let handle = entry.handle;
        let mut told = NotMapped { remove: None, released: Released::default() };
        match (failed, self.mappings.get_mut(handle)) {
            (Failed::Unknown, Ok(row)) => {
                row.set_phase(Phase::Removing);
                let record = self.holders.get_mut(entry.holder.0, entry.holder);
                if let Some(record) = record.ok().filter(|it| it.is_fenced) {
                    record.late.insert(handle.0.place());
                }
                told.remove = Some(RemoveOrder(Entry { phase: Phase::Removing, ..entry }));
            }
            (Failed::Clean, Ok(_)) => told.released = self.let_go([handle]),
            (_, Err(_)) => {}
        }
        told
    }

    /// What a row says, in full.
    #[inline]
    pub(crate) fn entry_of(&self, handle: Handle, row: &Row) -> Option<Entry> {
        Some(Entry {
            handle,
            holder: Holder(self.holders.at(row.holder)?.0),
            owner: Owner(self.owners.at(row.owner)?.0),
            memory: row.memory(),
            bus: row.bus(),
            rights: row.rights(),
            appears: row.appears(),
            phase: row.phase(),
        })
    }

    /// A mapping as it stands.
    ///
    /// # Errors
    ///
    /// `RF0105` when it is gone.
    pub fn entry(&self, handle: Handle) -> Result<Entry, Refusal> {
        let entry = self.entry_of(handle, self.mappings.get(handle)?);
        entry.ok_or_else(|| Refusal::new(&STALE, handle.to_string()))
    }

    /// How many mappings a holder has, in whatever phase.
    ///
    /// # Errors
    ///
    /// `RF0105` when it is gone.
    pub fn mapping_count(&self, holder: Holder) -> Result<u64, Refusal> {
        Ok(self.holders.get(holder.0, holder)?.mappings)
    }

    /// All mappings, in whatever phase.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        self.mappings.iter().filter_map(|(handle, row)| self.entry_of(handle, row))
    }

    /// The live mapping that a holder's bus address belongs to.
    pub fn find(&self, holder: Holder, address: Iova) -> Option<Entry> {
        let space = self.holders.get(holder.0, holder).ok()?.space.as_ref()?;
        let (handle, row) = self.mappings.at(space.get(address)?)?;
        if row.phase() == Phase::Live { self.entry_of(handle, row) } else { None }
    }

    /// Where a holder's bus address leads: what its device reaches there, if it may reach anything.
    ///
    /// Invariant `I23`: the answer borrows the ledger, so it cannot be used once anything was changed.
    ///
    /// ```compile_fail
    /// # use ringfence_addr::Iova;
    /// # fn stale(ledger: &mut ringfence_ledger::Ledger, device: ringfence_ledger::Holder) {
    /// let found = ledger.translate(device, Iova::new(0));
    /// let _ = ledger.fence(device);
    /// drop(found);
    /// # }
    /// ```
    #[inline]
    pub fn translate(&self, holder: Holder, address: Iova) -> Option<Translation<'_>> {
        let record = self.holders.get(holder.0, holder).ok()?;
        let (number, lead) = record.space.as_ref()?.translate(address)?;
        if record.is_fenced {
            return None;
        }
        let (owner, memory) = match lead.memory() {
            Some(page) => {
                let within = address.get() & (FRAME_BYTES - 1);
                (record.targets.owner(0)?, Gpa::new(page | within))
            }
            None => {
                let (_, row) = self.mappings.at(number)?;
                let within = row.bus()?.offset_of(address)?;
                (Owner(self.owners.at(row.owner)?.0), row.memory().first().checked_add(within)?)
            }
        };
        Some(Translation { owner, memory, rights: lead.rights, ledger: PhantomData })
    }

    /// What counts the frame of an owner that `address` is in.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone.
    pub fn counts(&self, owner: Owner, address: Gpa) -> Result<Counts, Refusal> {
        let record = self.owners.get(owner.0, owner)?;
        Ok(record.count_of(address).lanes())
    }

    /// How many frames of the owner's memory mappings count, each once however often it is mapped.
    ///
    /// # Errors
    ///
    /// `RF0105` when the owner is gone.
    pub fn charged_frames(&self, owner: Owner) -> Result<u64, Refusal> {
        Ok(self.owners.get(owner.0, owner)?.charged_frames())
    }
}

/// How many frames it would be, if there may be such a mapping.
#[inline]
fn check_wish(record: &HolderRecord, of: &mut OwnerRecord, wish: &Wish) -> Result<u64, Refusal> {
    let Wish { owner, memory, rights, .. } = *wish;
    if record.is_fenced {
        return Err(Refusal::new(&FENCED, record.name.clone()));
    }
    let frames = frames(memory);
    if !memory.is_aligned(Alignment::PAGE_4K) || frames > MAPPING_FRAMES_MAX {
        return Err(Refusal::new(&MISALIGNED, memory.to_string()));
    }
    if rights.is_empty() {
        let detail = format!("{} asks for {memory} without any right", record.name);
        return Err(Refusal::new(&RIGHTS, detail));
    }
    if !of.memory.encloses(&memory) {
        if of.given_back.overlaps(&memory) {
            return Err(Refusal::new(&RETIRED, format!("{memory} of {}", of.name)));
        }
        let detail = format!("{memory} is not all memory of {}", of.name);
        return Err(Refusal::new(&NOT_OWNED, detail));
    }
    if !of.retiring.is_empty()
        && let Some((back, _)) = of.retiring.overlapping(memory).next()
    {
        let detail = format!("{memory} of {}, which wants {back} back", of.name);
        return Err(Refusal::new(&RETIRED, detail));
    }
    let target = record.targets.get(owner);
    record.check_target(target, Claim::new(memory, rights))?;
    let (quota, mapped) =
        target.map_or((None, 0), |target| (target.quota_frames, target.mapped_frames));
    let wanted = mapped.saturating_add(frames);
    if let Some(quota) = quota.filter(|quota| wanted > *quota) {
        let detail = format!(
            "{} would have {wanted} frames of {} mapped, and may have {quota}",
            record.name, of.name
        );
        return Err(Refusal::new(&QUOTA, detail));
    }
    Ok(frames)
}
