//! Mapping: from what a holder wants to an order, and from what was done to a mapping that is live.

use ringfence_addr::{Alignment, Gpa, Iova, Span, SpanSet};
use ringfence_refusal::Refusal;

use crate::book::MAPPINGS_MAX;
use crate::claim::Claim;
use crate::count::{Count, Counts};
use crate::frames::{NOBODY, SHORT_FRAMES_MAX};
use crate::id::{Handle, Holder, Owner};
use crate::ledger::Ledger;
use crate::mapping::{Entry, MapOrder, Mapping, Phase, RemoveOrder, Wish};
use crate::owner::frames;
use crate::refusals::{
    BUS_ADDRESS, COUNT_FULL, FENCED, MISALIGNED, NOT_OWNED, QUOTA, RETIRED, RIGHTS,
};
use crate::retire::Released;
use crate::space::Space;

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
    /// **Invariant:** counts, quota and bus address are taken before anything is done,
    /// and a refusal leaves all of them as they were.
    ///
    /// # Errors
    ///
    /// `RF0101`, `RF0102` for memory the holder may not reach so, `RF0105` for ids that are gone,
    /// `RF0107` to `RF0113` and `RF0116` as their pages say.
    pub fn map(&mut self, holder: Holder, wish: Wish) -> Result<MapOrder, Refusal> {
        let one = self.check_wish(holder, &wish)?;
        let place = self.mappings.next_place().filter(|place| *place < MAPPINGS_MAX);
        let Some(number) = place else {
            return Err(Refusal::new(&COUNT_FULL, format!("there are {MAPPINGS_MAX} mappings")));
        };
        let record = self.holders.get_mut(holder.0, holder)?;
        let bus = match wish.appears.device() {
            true => {
                let Some(space) = &mut record.space else {
                    let detail = format!("{} has no bus addresses", record.name);
                    return Err(Refusal::new(&BUS_ADDRESS, detail));
                };
                Some(space.place(wish.memory, wish.place)?)
            }
            false => None,
        };
        let owner = self.owners.get_mut(wish.owner.0, wish.owner)?;
        owner.count(wish.memory, one)?;
        // Nothing is refused from here on.
        if let (Some(space), Some(bus)) = (&mut record.space, bus) {
            space.take(bus, number);
        }
        record.mappings += 1;
        let target = record.targets.entry(wish.owner).or_default();
        target.mapped_frames += frames(wish.memory);
        let handle = Handle(self.mappings.add(Mapping::begun(holder, wish, bus)));
        debug_assert_eq!(handle.0.place(), number);
        self.link(handle);
        Ok(MapOrder(self.entry(handle).expect("it was just made")))
    }

    /// What one mapping adds to each frame of it, if there may be one.
    fn check_wish(&self, holder: Holder, wish: &Wish) -> Result<Count, Refusal> {
        let Wish { owner, memory, rights, .. } = *wish;
        let record = self.holders.get(holder.0, holder)?;
        let of = self.owners.get(owner.0, owner)?;
        if record.is_fenced {
            return Err(Refusal::new(&FENCED, record.name.clone()));
        }
        if !memory.is_aligned(Alignment::PAGE_4K) {
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
        if let Some(retiring) = of.retiring.iter().find(|it| it.span.overlaps(&memory)) {
            let detail = format!("{memory} of {}, which wants {} back", of.name, retiring.span);
            return Err(Refusal::new(&RETIRED, detail));
        }
        let target = record.targets.get(&owner);
        record.check_target(target, Claim::new(memory, rights))?;
        let (quota, mapped) =
            target.map_or((None, 0), |target| (target.quota_frames, target.mapped_frames));
        let wanted = mapped.saturating_add(frames(memory));
        if let Some(quota) = quota.filter(|quota| wanted > *quota) {
            let detail = format!(
                "{} would have {wanted} frames of {} mapped, and may have {quota}",
                record.name, of.name
            );
            return Err(Refusal::new(&QUOTA, detail));
        }
        Ok(Count::of(wish.appears, rights))
    }

    /// Takes down that a mapping was made.
    ///
    /// # Errors
    ///
    /// The holder was fenced while it was being made: it has to be removed again. Until that is
    /// reported it counts, even if all else the holder had is settled.
    pub fn mapped(&mut self, order: MapOrder) -> Result<Handle, RemoveOrder> {
        let handle = order.0.handle;
        let is_fenced =
            self.holders.get(order.0.holder.0, order.0.holder).is_ok_and(|it| it.is_fenced);
        if let Ok(mapping) = self.mappings.get_mut(handle.0, handle) {
            if is_fenced {
                mapping.phase = Phase::Removing;
                return Err(RemoveOrder(mapping.entry(handle)));
            }
            mapping.phase = Phase::Live;
        }
        Ok(handle)
    }

    /// Takes down that a mapping was not made. What may be left of it has to be removed.
    pub fn not_mapped(&mut self, order: MapOrder, failed: Failed) -> NotMapped {
        let handle = order.0.handle;
        let mut told = NotMapped { remove: None, released: Released::default() };
        match (failed, self.mappings.get_mut(handle.0, handle)) {
            (Failed::Unknown, Ok(mapping)) => {
                mapping.phase = Phase::Removing;
                told.remove = Some(RemoveOrder(mapping.entry(handle)));
            }
            (Failed::Clean, Ok(_)) => {
                self.forget(handle);
                told.released = Released { gone: vec![handle], retired: self.settle_retirements() };
            }
            (_, Err(_)) => {}
        }
        told
    }

    /// A mapping as it stands.
    ///
    /// # Errors
    ///
    /// `RF0105` when it is gone.
    pub fn entry(&self, handle: Handle) -> Result<Entry, Refusal> {
        self.mappings.get(handle.0, handle).map(|mapping| mapping.entry(handle))
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
        self.mappings.iter().map(|(id, mapping)| mapping.entry(Handle(id)))
    }

    /// The live mapping that a holder's bus address belongs to.
    pub fn find(&self, holder: Holder, address: Iova) -> Option<Entry> {
        let space = self.holders.get(holder.0, holder).ok()?.space.as_ref()?;
        let (id, mapping) = self.mappings.at(space.get(address)?)?;
        (mapping.phase == Phase::Live).then(|| mapping.entry(Handle(id)))
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

    /// Puts a mapping where those of its memory are found.
    fn link(&mut self, handle: Handle) {
        let number = handle.0.place();
        let Some((_, mapping)) = self.mappings.at(number) else { return };
        let (owner, memory) = (mapping.owner, mapping.memory);
        let Ok(record) = self.owners.get_mut(owner.0, owner) else { return };
        let is_short = frames(memory) <= SHORT_FRAMES_MAX;
        let Some(of) = record.frames_of(memory).filter(|_| is_short) else {
            record.long.insert(number);
            return;
        };
        let first = std::mem::replace(of.head_mut(memory.first()), number);
        if let Some(mapping) = self.mappings.at_mut(number) {
            mapping.next = first;
        }
        if let Some(next) = self.mappings.at_mut(first) {
            next.previous = number;
        }
    }

    /// Takes a mapping out of the books altogether, and with it what it counted.
    pub(crate) fn forget(&mut self, handle: Handle) {
        let Ok(mapping) = self.mappings.remove(handle.0, handle) else { return };
        let number = handle.0.place();
        if let Some(next) = self.mappings.at_mut(mapping.next) {
            next.previous = mapping.previous;
        }
        if let Some(previous) = self.mappings.at_mut(mapping.previous) {
            previous.next = mapping.next;
        }
        if let Ok(owner) = self.owners.get_mut(mapping.owner.0, mapping.owner) {
            owner.uncount(mapping.memory, Count::of(mapping.appears, mapping.rights));
            let is_short = frames(mapping.memory) <= SHORT_FRAMES_MAX;
            match owner.frames_of(mapping.memory).filter(|_| is_short) {
                Some(of) if mapping.previous == NOBODY => {
                    *of.head_mut(mapping.memory.first()) = mapping.next;
                }
                Some(_) => {}
                None => drop(owner.long.remove(&number)),
            }
        }
        if let Ok(holder) = self.holders.get_mut(mapping.holder.0, mapping.holder) {
            holder.mappings -= 1;
            if let Some(target) = holder.targets.get_mut(&mapping.owner) {
                target.mapped_frames -= frames(mapping.memory);
            }
            if let (Some(space), Some(bus)) = (&mut holder.space, mapping.bus()) {
                space.give_back(bus);
            }
        }
    }

    /// The mappings that have any frame of `span`.
    pub(crate) fn mappings_of(&self, owner: Owner, span: Span<Gpa>) -> Vec<Handle> {
        let Ok(record) = self.owners.get(owner.0, owner) else { return Vec::new() };
        let mut found = Vec::new();
        let mut consider = |number: u32| {
            let (id, mapping) = self.mappings.at(number)?;
            if mapping.memory.overlaps(&span) {
                found.push(Handle(id));
            }
            Some(mapping.next)
        };
        for number in &record.long {
            consider(*number);
        }
        for (region, frames) in &record.regions {
            let Some(part) = region.intersection(&span) else { continue };
            for shard in frames.shards_before(part) {
                let mut number = frames.head(shard);
                while let Some(next) = consider(number) {
                    number = next;
                }
            }
        }
        found
    }
}
