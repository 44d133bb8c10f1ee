//! What can happen: each step is taken in the ledger, in the model and in hardware.

use ringfence_addr::{Address as _, Alignment, Gpa, Iova, Span};
use ringfence_ledger::journal::Slot;
use ringfence_ledger::{
    Answer, Appears, FRAME_BYTES, Failed, Phase, Place, Released, Retirement, Rights, Which, Wish,
    refusals,
};
use ringfence_refusal::Refusal;

use crate::hardware::pages;
use crate::world::{BUS_FIRST, BUS_PAGES, FIRST_PAGE, PAGES, World, page_span};

type Outcome = Result<(), String>;
type Step = fn(&mut World, &mut Vec<String>) -> Outcome;

/// Every step there is, as often as its weight.
const STEPS: &[(u64, Step)] = &[
    (12, World::map),
    (14, World::make),
    (8, World::unmap),
    (9, World::take_out),
    (6, World::flush),
    (6, World::finish_flush),
    (7, World::release),
    (4, World::retire),
    (2, World::pass_time),
    (3, World::take_again),
    (1, World::fence),
    (3, World::finish_fence),
    (3, World::finish_clear),
    (3, World::settle),
    (2, World::readmit),
    (4, World::grant),
    (1, World::set_quota),
];

fn is_whole(memory: Span<Gpa>) -> bool {
    memory.is_aligned(Alignment::PAGE_4K)
}

fn expect(found: Result<(), &Refusal>, expected: Option<u16>) -> Outcome {
    let found = found.err().map(|refusal| (refusal.code().number, refusal.to_string()));
    match (&found, expected) {
        (None, None) => Ok(()),
        (Some((number, _)), Some(expected)) if *number == expected => Ok(()),
        _ => Err(format!("{found:?} where {expected:?} was expected")),
    }
}

impl World {
    pub(crate) fn step(&mut self, told: &mut Vec<String>) -> Outcome {
        let total = STEPS.iter().map(|(weight, _)| weight).sum();
        let mut at = self.pick(total);
        for (number, (weight, step)) in (0..).zip(STEPS) {
            if at < *weight {
                let is_late = number == self.late && !self.chance(10);
                return if is_late { Ok(()) } else { step(self, told) };
            }
            at -= weight;
        }
        unreachable!("the weights are the total");
    }

    fn some_memory(&mut self) -> Span<Gpa> {
        if self.chance(40) {
            // Not whole frames, or far away.
            let first = self.pick(2) * 0x800 + FIRST_PAGE * FRAME_BYTES;
            return Span::from_parts(Gpa::new(first), 0x1800).expect("a span");
        }
        let first = FIRST_PAGE + self.pick(PAGES);
        let most = if self.chance(8) { PAGES + 1 } else { 4 };
        page_span(first, 1 + self.pick(most))
    }

    fn some_rights(&mut self) -> Rights {
        let all = [Rights::READ, Rights::WRITE, Rights::READ_WRITE, Rights::READ_WRITE];
        if self.chance(50) { Rights::NONE } else { all[self.place(4)] }
    }

    pub(crate) fn map(&mut self, told: &mut Vec<String>) -> Outcome {
        let holder = self.some_holder();
        let owner = self.some_owner();
        let (memory, rights) = (self.some_memory(), self.some_rights());
        let place = match self.pick(3) {
            0 => Place::Chosen,
            _ => Place::At(match self.pick(60) {
                0 => Iova::LAST,
                1 => Iova::new(u64::MAX - 0xfff),
                2 => Iova::new(BUS_FIRST * FRAME_BYTES + 1),
                _ => Iova::new((BUS_FIRST - 1 + self.pick(BUS_PAGES + 2)) * FRAME_BYTES),
            }),
        };
        let appears = Appears::ALL[self.place(3)];
        let wish = Wish { owner, memory, rights, place, appears };
        told.push(format!("map {holder} {wish:?}"));
        let expected = self.plain.refuse_wish(holder, &wish);
        let outcome = self.ledger.map(holder, wish);
        expect(outcome.as_ref().map(drop), expected)?;
        if let Ok(order) = outcome {
            let entry = *order.entry();
            if entry.bus.map(|bus| bus.length()) != appears.device().then(|| memory.length()) {
                return Err(format!("{entry:?} for {wish:?}"));
            }
            if let (Some(bus), Place::Chosen) = (entry.bus, place) {
                let first = bus.first().get() / FRAME_BYTES;
                let again = Wish { place: Place::At(bus.first()), ..wish };
                if self.plain.refuse_wish(holder, &again).is_some() {
                    return Err(format!("page {first:#x} was chosen, which is not to be had"));
                }
            }
            self.plain.mappings.insert(entry.handle, entry);
            self.write_down(entry.handle, Slot::of(&entry));
            self.maps.push(order);
        }
        Ok(())
    }

    pub(crate) fn make(&mut self, told: &mut Vec<String>) -> Outcome {
        let Some(order) = self.take(|world| &mut world.maps) else { return Ok(()) };
        let entry = *order.entry();
        let count = pages(entry.memory).count();
        let fault = self.pick(12);
        told.push(format!("make {} (fault {fault})", entry.handle));
        if fault < 2 {
            self.faults += 1;
            let failed = if fault == 0 { Failed::Clean } else { Failed::Unknown };
            if failed == Failed::Unknown {
                let some = self.place(count + 1);
                self.hardware.map(&entry, some);
            }
            let outcome = self.ledger.not_mapped(order, failed);
            match failed {
                Failed::Clean => {
                    self.plain.mappings.remove(&entry.handle);
                    return self.expect_released(outcome.released);
                }
                Failed::Unknown => {
                    self.plain.set_phase(entry.handle, Phase::Removing);
                    self.removes.push(outcome.remove.ok_or("nothing is to be removed")?);
                    return Ok(());
                }
            }
        }
        self.hardware.map(&entry, count);
        let is_fenced = self.plain.holders[&entry.holder].is_fenced;
        match self.ledger.mapped(order) {
            Ok(_) if !is_fenced => self.plain.set_phase(entry.handle, Phase::Live),
            Err(remove) if is_fenced => {
                self.plain.set_phase(entry.handle, Phase::Removing);
                self.removes.push(remove);
            }
            other => return Err(format!("{other:?} of a holder that is fenced: {is_fenced}")),
        }
        Ok(())
    }

    pub(crate) fn unmap(&mut self, told: &mut Vec<String>) -> Outcome {
        let holder = self.some_holder();
        let all: Vec<_> = self.plain.mappings.values().copied().collect();
        if all.is_empty() {
            return Ok(());
        }
        let entry = all[self.place(all.len())];
        let which = match (self.pick(3), entry.bus) {
            (0, Some(bus)) => Which::At(bus),
            (1, Some(bus)) if self.chance(3) => {
                // One page more, or one less.
                let length = bus.length_u64().map_or(0, |it| it.get());
                let other = if self.chance(2) { length + FRAME_BYTES } else { FRAME_BYTES };
                Which::At(Span::from_parts(bus.first(), other).unwrap_or(bus))
            }
            _ => Which::Handle(entry.handle),
        };
        told.push(format!("unmap {holder} {which:?}"));
        let found = match which {
            Which::Handle(handle) => {
                self.plain.mappings.get(&handle).filter(|it| it.holder == holder)
            }
            Which::At(span) => {
                let mut own = self.plain.mappings.values().filter(|it| it.holder == holder);
                own.find(|it| it.bus == Some(span))
            }
        };
        let found = found.filter(|it| it.phase == Phase::Live).map(|it| it.handle);
        let expected = if found.is_some() { None } else { Some(refusals::NOT_MAPPED.number) };
        let outcome = self.ledger.unmap(holder, which);
        expect(outcome.as_ref().map(drop), expected)?;
        if let (Ok(order), Some(handle)) = (outcome, found) {
            self.plain.set_phase(handle, Phase::Removing);
            self.removes.push(order);
        }
        Ok(())
    }

    pub(crate) fn take_out(&mut self, told: &mut Vec<String>) -> Outcome {
        let Some(order) = self.take(|world| &mut world.removes) else { return Ok(()) };
        let entry = *order.entry();
        let length = entry.memory.length_u64().map_or(0, |it| it.get());
        let count = pages(entry.memory).count();
        let fault = self.pick(10);
        told.push(format!("take out {} (fault {fault})", entry.handle));
        // Less than was asked, with success; nothing, with failure; all of it, and more than that said.
        let (left, answer) = match fault {
            0 => (1, Answer::Bytes(length - FRAME_BYTES)),
            1 => (count, Answer::Failed),
            2 => (0, Answer::Bytes(length + FRAME_BYTES)),
            _ => (0, Answer::Bytes(length)),
        };
        self.faults += u64::from(fault < 3);
        self.hardware.unmap(&entry, left);
        let before = self.plain.mappings.get(&entry.handle).map(|it| it.phase);
        let outcome = self.ledger.removed(order, answer);
        let expected = match before {
            // A fence has settled it meanwhile.
            None => Some(refusals::STALE.number),
            Some(Phase::Removing) if fault < 3 => Some(refusals::QUARANTINED.number),
            Some(Phase::Removing) => None,
            Some(_) => Some(refusals::NOT_MAPPED.number),
        };
        expect(outcome.as_ref().map(drop), expected)?;
        match outcome {
            Ok(removed) => {
                self.plain.set_phase(entry.handle, Phase::Removed);
                self.removed.push(removed);
            }
            Err(_) if before == Some(Phase::Removing) => {
                self.plain.set_phase(entry.handle, Phase::Quarantined);
            }
            Err(_) => {}
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self, told: &mut Vec<String>) -> Outcome {
        let holder = self.some_holder();
        let removed = std::mem::take(&mut self.removed);
        let (order, others) = self.ledger.flush(holder, removed);
        self.removed = others;
        told.push(format!("flush {holder}: {} spans", order.spans().count()));
        self.flushes.push(order);
        Ok(())
    }

    pub(crate) fn finish_flush(&mut self, told: &mut Vec<String>) -> Outcome {
        let Some(order) = self.take(|world| &mut world.flushes) else { return Ok(()) };
        let holder = order.holder();
        let is_fault = self.chance(12);
        told.push(format!("flushed {holder} (fault {is_fault})"));
        if is_fault {
            self.faults += 1;
            let handles: Vec<_> = order.handles().collect();
            let refusal = self.ledger.not_flushed(order);
            if refusal.code() != &refusals::QUARANTINED {
                return Err(refusal.to_string());
            }
            for handle in handles {
                self.plain.set_phase(handle, Phase::Quarantined);
            }
            return Ok(());
        }
        let spans: Vec<_> = order.spans().collect();
        self.hardware.flush(holder, spans.into_iter());
        let flushed = self.ledger.flushed(order);
        self.flushed.push(flushed);
        Ok(())
    }

    pub(crate) fn release(&mut self, told: &mut Vec<String>) -> Outcome {
        let Some(flushed) = self.take(|world| &mut world.flushed) else { return Ok(()) };
        told.push(format!("release {flushed:?}"));
        let handles: Vec<_> = flushed.handles().collect();
        let released = self.ledger.release(flushed);
        for handle in handles {
            // A fence may have put it into quarantine, or settled it, meanwhile.
            if self.plain.mappings.get(&handle).is_some_and(|it| it.phase == Phase::Removed) {
                self.plain.mappings.remove(&handle);
            }
        }
        self.expect_released(released)
    }

    fn expect_released(&mut self, released: Released) -> Outcome {
        for handle in &released.gone {
            self.write_down(*handle, Slot::EMPTY);
        }
        let found = released.retired.iter().map(|it| (it.owner, it.memory)).collect();
        let expected = self.plain.settle();
        if expected == found { Ok(()) } else { Err(format!("{found:?} is back, not {expected:?}")) }
    }

    pub(crate) fn retire(&mut self, told: &mut Vec<String>) -> Outcome {
        let owner = self.some_owner();
        let memory = self.some_memory();
        let deadline = if self.chance(2) { Some(self.now + self.pick(6)) } else { None };
        told.push(format!("retire {memory} of {owner} by {deadline:?}, now {}", self.now));
        let of = &self.plain.owners[&owner];
        let is_whole = is_whole(memory);
        let expected = if !is_whole {
            Some(refusals::MISALIGNED.number)
        } else if pages(memory).any(|page| of.given_back.contains(&page))
            || of.retiring.iter().any(|(span, ..)| span.overlaps(&memory))
        {
            Some(refusals::RETIRED.number)
        } else if !pages(memory).all(|page| of.memory.contains(&page)) {
            Some(refusals::NOT_OWNED.number)
        } else {
            None
        };
        let outcome = self.ledger.retire(owner, memory, deadline);
        expect(outcome.as_ref().map(drop), expected)?;
        let Ok(outcome) = outcome else { return Ok(()) };
        let holders = self.plain.holders_of(owner, memory);
        let predicted = match (holders.is_empty(), deadline) {
            (true, _) => Retirement::Free,
            (false, None) => Retirement::Busy(holders),
            (false, Some(_)) => Retirement::Revoking(holders),
        };
        if outcome != predicted {
            return Err(format!("{outcome:?}, not {predicted:?}"));
        }
        let of = self.plain.owners.get_mut(&owner).expect("it is there");
        match (outcome, deadline) {
            (Retirement::Free, _) => of.give_back(memory),
            (Retirement::Revoking(_), Some(deadline)) => {
                of.retiring.push((memory, deadline, false));
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn pass_time(&mut self, told: &mut Vec<String>) -> Outcome {
        self.now += 1 + self.pick(4);
        told.push(format!("it is {}", self.now));
        let orders = self.ledger.overdue(self.now);
        let mut late = Vec::new();
        for (owner, of) in &mut self.plain.owners {
            for (span, deadline, is_overdue) in &mut of.retiring {
                if !*is_overdue && *deadline <= self.now {
                    *is_overdue = true;
                    late.push((*owner, *span));
                }
            }
        }
        let mut expected: Vec<_> = late
            .into_iter()
            .flat_map(|(owner, span)| self.plain.holders_of(owner, span))
            .filter(|holder| self.plain.holders[holder].can_be_fenced())
            .collect();
        expected.sort_unstable();
        expected.dedup();
        let mut found: Vec<_> = orders.iter().map(|order| order.holder()).collect();
        found.sort_unstable();
        if found != expected {
            return Err(format!("{found:?} are to be fenced, not {expected:?}"));
        }
        for holder in expected {
            self.plain.fence(holder);
        }
        self.fences.extend(orders);
        Ok(())
    }

    pub(crate) fn take_again(&mut self, told: &mut Vec<String>) -> Outcome {
        let owner = self.some_owner();
        let memory = self.some_memory();
        told.push(format!("{owner} takes {memory} again"));
        let of = self.plain.owners.get_mut(&owner).expect("it is there");
        let whole = is_whole(memory);
        let is_given_back = pages(memory).all(|page| of.given_back.contains(&page));
        if !whole {
            return Ok(());
        }
        let expected = if is_given_back { None } else { Some(refusals::NOT_OWNED.number) };
        if is_given_back {
            for page in pages(memory) {
                of.given_back.remove(&page);
                of.memory.insert(page);
            }
        }
        expect(self.ledger.take_again(owner, memory).as_ref().copied(), expected)
    }

    pub(crate) fn fence(&mut self, told: &mut Vec<String>) -> Outcome {
        let holder = self.some_holder();
        told.push(format!("fence {holder}"));
        let order = self.ledger.fence(holder).map_err(|it| it.to_string())?;
        if order.is_some() != self.plain.holders[&holder].can_be_fenced() {
            return Err(format!("{order:?}"));
        }
        if order.is_some() {
            self.plain.fence(holder);
        }
        self.fences.extend(order);
        Ok(())
    }

    pub(crate) fn finish_fence(&mut self, told: &mut Vec<String>) -> Outcome {
        let Some(order) = self.take(|world| &mut world.fences) else { return Ok(()) };
        let (holder, is_fault) = (order.holder(), self.chance(6));
        told.push(format!("fenced {holder} (fault {is_fault})"));
        if is_fault {
            self.faults += 1;
            let _ = self.ledger.not_fenced(order);
            self.plain.out_of_reach(holder);
            return Ok(());
        }
        self.hardware.block(holder);
        let of = self.plain.holders.get_mut(&holder).expect("it is there");
        of.clearing += 1;
        of.late.clear();
        let clearing = of.clearing;
        self.clears.push((self.ledger.fenced(order), clearing));
        Ok(())
    }

    pub(crate) fn finish_clear(&mut self, told: &mut Vec<String>) -> Outcome {
        let Some((order, clearing)) = self.take(|world| &mut world.clears) else { return Ok(()) };
        let (holder, is_fault) = (order.holder(), self.chance(6));
        told.push(format!("cleared {holder} (fault {is_fault})"));
        if is_fault {
            self.faults += 1;
            let _ = self.ledger.not_cleared(order);
            self.plain.out_of_reach(holder);
            return Ok(());
        }
        self.hardware.clear(holder);
        self.cleared.push((self.ledger.cleared(order), clearing));
        Ok(())
    }

    pub(crate) fn settle(&mut self, told: &mut Vec<String>) -> Outcome {
        let Some((cleared, clearing)) = self.take(|world| &mut world.cleared) else {
            return Ok(());
        };
        told.push(format!("settle {cleared:?}"));
        let holder = cleared.holder();
        let released = self.ledger.settle(cleared);
        self.plain.settle_holder(holder, clearing);
        self.expect_released(released)
    }

    pub(crate) fn readmit(&mut self, told: &mut Vec<String>) -> Outcome {
        let holder = self.some_holder();
        let has_any = self.plain.mappings.values().any(|it| it.holder == holder);
        let on_its_way = self.fences.iter().any(|it| it.holder() == holder)
            || self.clears.iter().any(|(it, _)| it.holder() == holder);
        // A service lets nobody in while it fences them.
        if on_its_way {
            return Ok(());
        }
        told.push(format!("readmit {holder}"));
        let expected = if has_any { Some(refusals::BUSY.number) } else { None };
        expect(self.ledger.readmit(holder).as_ref().copied(), expected)?;
        if !has_any {
            let plain = self.plain.holders.get_mut(&holder).expect("it is there");
            (plain.is_fenced, plain.has_failed) = (false, false);
            plain.clearing += 1;
            self.hardware.clear(holder);
            self.hardware.unblock(holder);
        }
        Ok(())
    }

    pub(crate) fn grant(&mut self, told: &mut Vec<String>) -> Outcome {
        let holder = self.some_holder();
        let owner = self.some_owner();
        let (memory, rights) = (self.some_memory(), self.some_rights());
        told.push(format!("grant {holder} {memory} of {owner} {rights}"));
        let of = &self.plain.owners[&owner];
        let is_own = pages(memory).all(|page| of.memory.contains(&page));
        let whole = is_whole(memory);
        if !whole {
            return Ok(());
        }
        let expected = if is_own { None } else { Some(refusals::NOT_OWNED.number) };
        let outcome = self.ledger.grant_of(owner, holder, memory, rights);
        expect(outcome.as_ref().copied(), expected)?;
        if is_own {
            let plain = self.plain.holders.get_mut(&holder).expect("it is there");
            for page in pages(memory) {
                plain.granted.insert((owner, page), rights);
            }
        }
        Ok(())
    }

    pub(crate) fn set_quota(&mut self, told: &mut Vec<String>) -> Outcome {
        let holder = self.some_holder();
        let owner = self.some_owner();
        let quota = if self.chance(2) { None } else { Some(self.pick(20)) };
        told.push(format!("quota of {holder} for {owner}: {quota:?}"));
        self.ledger.set_quota(owner, holder, quota).map_err(|it| it.to_string())?;
        let plain = self.plain.holders.get_mut(&holder).expect("it is there");
        match quota {
            Some(quota) => drop(plain.quota.insert(owner, quota)),
            None => drop(plain.quota.remove(&owner)),
        }
        Ok(())
    }
}

impl crate::plain::PlainHolder {
    pub(crate) fn can_be_fenced(&self) -> bool {
        !self.is_fenced || self.has_failed
    }
}

impl crate::plain::Plain {
    pub(crate) fn fence(&mut self, holder: ringfence_ledger::Holder) {
        if let Some(plain) = self.holders.get_mut(&holder) {
            (plain.is_fenced, plain.has_failed) = (true, false);
        }
    }

    pub(crate) fn out_of_reach(&mut self, holder: ringfence_ledger::Holder) {
        if let Some(plain) = self.holders.get_mut(&holder) {
            plain.has_failed = true;
        }
        for entry in self.mappings.values_mut().filter(|it| it.holder == holder) {
            if entry.phase != Phase::Begun {
                entry.phase = Phase::Quarantined;
            }
        }
    }
}
