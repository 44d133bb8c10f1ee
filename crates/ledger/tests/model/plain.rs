//! The ledger again, slow and obvious: sets of pages, lists of mappings, nothing kept that can be
//! counted anew.

use std::collections::{BTreeMap, BTreeSet};

use ringfence_addr::{Address as _, Alignment, Gpa, Iova, Span};
use ringfence_ledger::{
    Counts, Entry, FRAME_BYTES, Handle, Holder, Owner, Phase, Place, Rights, Wish, refusals,
};

use crate::hardware::pages;

#[derive(Default)]
pub(crate) struct PlainOwner {
    pub(crate) memory: BTreeSet<u64>,
    pub(crate) given_back: BTreeSet<u64>,
    pub(crate) retiring: Vec<(Span<Gpa>, u64, bool)>,
}

#[derive(Default)]
pub(crate) struct PlainHolder {
    pub(crate) granted: BTreeMap<(Owner, u64), Rights>,
    pub(crate) quota: BTreeMap<Owner, u64>,
    pub(crate) is_fenced: bool,
    pub(crate) has_failed: bool,
    /// What was reported to be made since its clearing was ordered.
    pub(crate) late: BTreeSet<Handle>,
    pub(crate) clearing: u64,
}

#[derive(Default)]
pub(crate) struct Plain {
    pub(crate) owners: BTreeMap<Owner, PlainOwner>,
    pub(crate) holders: BTreeMap<Holder, PlainHolder>,
    pub(crate) mappings: BTreeMap<Handle, Entry>,
    /// The bus addresses every holder may use, in pages.
    pub(crate) bus: BTreeSet<u64>,
}

fn bus_pages(first: Iova, count: u64) -> Option<Vec<u64>> {
    let span = Span::from_parts(first, count * FRAME_BYTES)?;
    let aligned = span.is_aligned(Alignment::PAGE_4K);
    aligned.then(|| (span.first().get() / FRAME_BYTES..=span.last().get() / FRAME_BYTES).collect())
}

impl Plain {
    /// The code a wish is refused with; none if there may be such a mapping.
    pub(crate) fn refuse_wish(&self, holder: Holder, wish: &Wish) -> Option<u16> {
        let code = |code: &ringfence_refusal::Code| Some(code.number);
        let (Some(of), Some(owner)) = (self.holders.get(&holder), self.owners.get(&wish.owner))
        else {
            return code(&refusals::STALE);
        };
        if of.is_fenced {
            return code(&refusals::FENCED);
        }
        if !wish.memory.is_aligned(Alignment::PAGE_4K) {
            return code(&refusals::MISALIGNED);
        }
        if wish.rights.is_empty() {
            return code(&refusals::RIGHTS);
        }
        let wanted: Vec<u64> = pages(wish.memory).collect();
        if !wanted.iter().all(|page| owner.memory.contains(page)) {
            let is_given_back = wanted.iter().any(|page| owner.given_back.contains(page));
            return code(if is_given_back { &refusals::RETIRED } else { &refusals::NOT_OWNED });
        }
        if owner.retiring.iter().any(|(span, ..)| span.overlaps(&wish.memory)) {
            return code(&refusals::RETIRED);
        }
        let granted = |page: &u64| of.granted.get(&(wish.owner, *page));
        if !wanted.iter().all(|page| granted(page).is_some()) {
            return code(&refusals::NOT_GRANTED);
        }
        if !wanted.iter().filter_map(granted).all(|rights| rights.allows(wish.rights)) {
            return code(&refusals::RIGHTS);
        }
        let mapped: usize = self
            .mappings
            .values()
            .filter(|it| it.holder == holder && it.owner == wish.owner)
            .map(|it| pages(it.memory).count())
            .sum();
        let quota = of.quota.get(&wish.owner);
        if quota.is_some_and(|quota| (mapped + wanted.len()) as u64 > *quota) {
            return code(&refusals::QUOTA);
        }
        if !wish.appears.device() {
            return None;
        }
        let count = wanted.len() as u64;
        let used: BTreeSet<u64> = self
            .mappings
            .values()
            .filter(|it| it.holder == holder)
            .filter_map(|it| it.bus)
            .flat_map(|bus| bus.first().get() / FRAME_BYTES..=bus.last().get() / FRAME_BYTES)
            .collect();
        let is_free = |pages: &[u64]| {
            pages.iter().all(|page| self.bus.contains(page) && !used.contains(page))
        };
        match wish.place {
            Place::At(first) => match bus_pages(first, count) {
                Some(pages) if is_free(&pages) => None,
                _ => code(&refusals::BUS_ADDRESS),
            },
            Place::Chosen => {
                let mut runs = self.bus.iter().filter_map(|page| {
                    bus_pages(Iova::FIRST.checked_add(page * FRAME_BYTES)?, count)
                });
                match runs.any(|run| is_free(&run)) {
                    true => None,
                    false => code(&refusals::NO_BUS_ADDRESS),
                }
            }
        }
    }

    /// Counts a frame anew.
    pub(crate) fn counts(&self, owner: Owner, page: u64) -> Counts {
        let mut counts = Counts::default();
        let of = |it: &&Entry| it.owner == owner && pages(it.memory).any(|it| it == page);
        for entry in self.mappings.values().filter(of) {
            let (read, write) =
                (entry.rights.allows(Rights::READ), entry.rights.allows(Rights::WRITE));
            let (device, host) = (entry.appears.device(), entry.appears.host());
            counts.device_read += u16::from(device && read);
            counts.device_write += u16::from(device && write);
            counts.host_read += u16::from(host && read);
            counts.host_write += u16::from(host && write);
        }
        counts
    }

    pub(crate) fn is_busy(&self, owner: Owner, memory: Span<Gpa>) -> bool {
        self.mappings.values().any(|it| it.owner == owner && it.memory.overlaps(&memory))
    }

    pub(crate) fn holders_of(&self, owner: Owner, memory: Span<Gpa>) -> Vec<Holder> {
        let of = self.mappings.values();
        let of = of.filter(|it| it.owner == owner && it.memory.overlaps(&memory));
        of.map(|it| it.holder).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What owners get now.
    pub(crate) fn settle(&mut self) -> BTreeSet<(Owner, Span<Gpa>)> {
        let mut got = BTreeSet::new();
        for owner in self.owners.keys().copied().collect::<Vec<_>>() {
            let spans: Vec<_> = self.owners[&owner].retiring.iter().map(|it| it.0).collect();
            for span in spans {
                if !self.is_busy(owner, span) {
                    let of = self.owners.get_mut(&owner).expect("it is there");
                    of.retiring.retain(|it| it.0 != span);
                    of.give_back(span);
                    got.insert((owner, span));
                }
            }
        }
        got
    }

    pub(crate) fn set_phase(&mut self, handle: Handle, phase: Phase) {
        let Some(entry) = self.mappings.get_mut(&handle) else { return };
        let was_begun = entry.phase == Phase::Begun;
        entry.phase = phase;
        let of = self.holders.get_mut(&entry.holder).expect("it is there");
        if was_begun && of.is_fenced {
            of.late.insert(handle);
        }
        of.has_failed |= phase == Phase::Quarantined && of.late.contains(&handle);
    }

    /// What a holder had is gone, but what may have come after it was cleared.
    pub(crate) fn settle_holder(&mut self, holder: Holder, clearing: u64) {
        let of = &self.holders[&holder];
        if of.is_fenced && of.clearing == clearing {
            let is_late = |it: &Entry| it.phase == Phase::Begun || of.late.contains(&it.handle);
            self.mappings.retain(|_, it| it.holder != holder || is_late(it));
        }
    }
}

impl PlainOwner {
    pub(crate) fn give_back(&mut self, span: Span<Gpa>) {
        for page in pages(span) {
            self.memory.remove(&page);
            self.given_back.insert(page);
        }
    }
}
