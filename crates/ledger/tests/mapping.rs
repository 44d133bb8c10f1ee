//! Mappings, one thing at a time; histories of them are in `model`.

use ringfence_addr::{Gpa, Iova, Rights, Span, SpanSet};
use ringfence_ledger::refusals::{
    BUS_ADDRESS, BUSY, COUNT_FULL, FENCED, MISALIGNED, NO_BUS_ADDRESS, NOT_MAPPED, NOT_OWNED,
    QUARANTINED, QUOTA, RETIRED, STALE,
};
use ringfence_ledger::{
    Answer, Appears, Entry, FRAME_BYTES, Handle, Holder, Ledger, Owner, Phase, Place, Retired,
    Retirement, Which, Wish,
};
use ringfence_refusal::{Code, Refusal};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

fn memory(first: u64, length: u64) -> Span<Gpa> {
    Span::from_parts(Gpa::new(first), length).expect("a span")
}

fn bus(first: u64, length: u64) -> Span<Iova> {
    Span::from_parts(Iova::new(first), length).expect("a span")
}

#[track_caller]
fn refused<T>(result: Result<T, Refusal>, code: &'static Code) {
    match result {
        Err(refusal) => assert_eq!(refusal.code(), code, "{refusal}"),
        Ok(_) => panic!("{code} was expected"),
    }
}

/// A VM of 4 GiB and a device that may reach all of it, at any bus address there is.
fn vm() -> (Ledger, Owner, Holder) {
    let mut ledger = Ledger::new();
    let owner = ledger.add_owner("a VM");
    ledger.add_memory(owner, memory(0, 4 * GIB)).expect("new memory");
    let device = ledger.add_holder(owner, "a device").expect("the owner is there");
    ledger.grant(device, memory(0, 4 * GIB), Rights::READ_WRITE).expect("the owner's memory");
    ledger.set_space(device, SpanSet::whole()).expect("no mappings yet");
    (ledger, owner, device)
}

fn wish(owner: Owner, memory: Span<Gpa>) -> Wish {
    let (rights, place, appears) = (Rights::READ_WRITE, Place::Chosen, Appears::Device);
    Wish { owner, memory, rights, place, appears }
}

fn map(ledger: &mut Ledger, holder: Holder, wish: Wish) -> Result<Entry, Refusal> {
    let order = ledger.map(holder, wish)?;
    let entry = *order.entry();
    ledger.mapped(order).expect("it is not fenced");
    Ok(entry)
}

/// Removes, flushes and lets go of it.
fn unmap(ledger: &mut Ledger, holder: Holder, handle: Handle) -> Vec<Retired> {
    let order = ledger.unmap(holder, Which::Handle(handle)).expect("it is live");
    let bytes = order.entry().memory.length_u64().expect("not all there is").get();
    let removed = ledger.removed(order, Answer::Bytes(bytes)).expect("all of it");
    let (order, others) = ledger.flush(holder, vec![removed]);
    assert!(others.is_empty());
    let flushed = ledger.flushed(order);
    ledger.release(flushed).retired
}

/// Invariant `I16`: what is charged is distinct frames.
#[test]
fn memory_is_charged_once_however_many_devices_have_it() {
    let (mut ledger, owner, first) = vm();
    let second = ledger.add_holder(owner, "another").expect("a holder");
    ledger.grant(second, memory(0, 4 * GIB), Rights::READ_WRITE).expect("the owner's memory");
    ledger.set_space(second, SpanSet::whole()).expect("a space");
    for holder in [first, second, first] {
        map(&mut ledger, holder, wish(owner, memory(0, GIB))).expect("room");
    }
    assert_eq!(ledger.charged_frames(owner), Ok(GIB / FRAME_BYTES));
    let counts = ledger.counts(owner, Gpa::new(17)).expect("an owner");
    assert_eq!((counts.device_read, counts.device_write, counts.host_read), (3, 3, 0));
}

/// Invariant `I15`.
#[test]
fn what_cannot_be_mapped_is_refused_and_changes_nothing() {
    let (mut ledger, owner, device) = vm();
    ledger.set_quota(owner, device, Some(512)).expect("both are there");
    refused(ledger.map(device, wish(owner, memory(0x800, 0x1000))), &MISALIGNED);
    refused(ledger.map(device, wish(owner, memory(0, 3 * MIB))), &QUOTA);
    // The last page there is belongs to nobody.
    for first in [u64::MAX - 0xfff, u64::MAX - 0x1fff, 0x800] {
        let place = Place::At(Iova::new(first));
        let two = Wish { place, ..wish(owner, memory(0, 0x2000)) };
        refused(ledger.map(device, two), &BUS_ADDRESS);
    }
    let order = ledger.map(device, wish(owner, memory(0, 0x2000))).expect("room");
    let taken = order.entry().bus.expect("a device's");
    let again = Wish { place: Place::At(taken.first()), ..wish(owner, memory(0x4000, 0x1000)) };
    refused(ledger.map(device, again), &BUS_ADDRESS);
    refused(ledger.set_space(device, SpanSet::whole()), &BUSY);
    refused(ledger.remove_holder(device), &BUSY);
    refused(ledger.remove_owner(owner), &BUSY);
    refused(ledger.remove_memory(owner, memory(0x1000, 0x1000)), &BUSY);
    refused(ledger.remove_target(owner, device), &BUSY);
    let left = ledger.not_mapped(order, ringfence_ledger::Failed::Clean);
    assert!(left.remove.is_none() && ledger.entries().next().is_none());
    assert_eq!(ledger.charged_frames(owner), Ok(0));
    ledger.remove_target(owner, device).expect("nothing is mapped");
    ledger.remove_owner(owner).expect("nothing is mapped");
}

#[test]
fn bus_addresses_run_out_and_frames_get_full() {
    let (mut ledger, owner, device) = vm();
    ledger.set_space(device, SpanSet::from(bus(0x1000, 0x2000))).expect("no mappings yet");
    refused(ledger.map(device, wish(owner, memory(0, 0x3000))), &NO_BUS_ADDRESS);
    map(&mut ledger, device, wish(owner, memory(0, 0x2000))).expect("room");
    refused(ledger.map(device, wish(owner, memory(0, 0x1000))), &NO_BUS_ADDRESS);
    let host = Wish { appears: Appears::Host, ..wish(owner, memory(0, 3 * MIB)) };
    for _ in 0..0x7fff {
        map(&mut ledger, device, host).expect("room");
    }
    let counts = |ledger: &Ledger| ledger.counts(owner, Gpa::new(2 * MIB)).expect("an owner");
    let before = counts(&ledger);
    // The first frames of it have room, and are as they were after the refusal.
    let one = Wish { memory: memory(3 * MIB - 0x1000, 0x2000), ..host };
    refused(ledger.map(device, one), &COUNT_FULL);
    refused(ledger.map(device, host), &COUNT_FULL);
    assert_eq!(counts(&ledger), before);
    assert!(ledger.counts(owner, Gpa::new(3 * MIB)).expect("an owner").is_zero());
}

#[test]
fn a_chosen_bus_address_lets_large_pages_stay_large() {
    let (mut ledger, owner, device) = vm();
    for (first, length, large) in [
        (0x20_3000, 0x1000, 0x1000),
        (0x40_5000, 4 * MIB, 2 * MIB),
        (GIB + 6 * MIB + 0x3000, 2 * GIB, GIB),
        (0x1000, 8 * MIB, 2 * MIB),
    ] {
        let entry = map(&mut ledger, device, wish(owner, memory(first, length))).expect("room");
        let bus = entry.bus.expect("a device's");
        assert_eq!(bus.first().get() % large, first % large, "{bus} for {}", entry.memory);
    }
}

#[test]
fn a_mapping_is_consumed_once_and_its_handle_names_no_other() {
    let (mut ledger, owner, device) = vm();
    let entry = map(&mut ledger, device, wish(owner, memory(0, 0x4000))).expect("room");
    let whole = entry.bus.expect("a device's");
    for part in [bus(whole.first().get(), 0x2000), bus(whole.first().get() + 0x1000, 0x3000)] {
        refused(ledger.unmap(device, Which::At(part)), &NOT_MAPPED);
    }
    let order = ledger.unmap(device, Which::At(whole)).expect("it is live");
    refused(ledger.unmap(device, Which::Handle(entry.handle)), &NOT_MAPPED);
    let removed = ledger.removed(order, Answer::Bytes(0x4000)).expect("all of it");
    assert_eq!(ledger.charged_frames(owner), Ok(4), "not before it is flushed");
    let (order, _) = ledger.flush(device, vec![removed]);
    let flushed = ledger.flushed(order);
    ledger.release(flushed);
    assert_eq!(ledger.charged_frames(owner), Ok(0));
    let other = map(&mut ledger, device, wish(owner, memory(0, 0x4000))).expect("room");
    assert_ne!(other.handle, entry.handle);
    refused(ledger.unmap(device, Which::Handle(entry.handle)), &STALE);
}

/// Invariant `I25`.
#[test]
fn memory_cannot_be_ballooned_away_from_under_a_device() {
    let (mut ledger, owner, device) = vm();
    let page = memory(0x3000, 0x1000);
    let entry = map(&mut ledger, device, wish(owner, memory(0, 2 * MIB))).expect("room");
    assert_eq!(ledger.retire(owner, page, None), Ok(Retirement::Busy(vec![device])));
    assert_eq!(ledger.retire(owner, page, Some(100)), Ok(Retirement::Revoking(vec![device])));
    refused(ledger.map(device, wish(owner, page)), &RETIRED);
    assert!(ledger.overdue(99).is_empty());
    let back = unmap(&mut ledger, device, entry.handle);
    assert_eq!(back, [Retired { owner, memory: page }]);
    refused(ledger.map(device, wish(owner, page)), &RETIRED);
    refused(ledger.retire(owner, page, None), &RETIRED);
    ledger.take_again(owner, page).expect("it was given back");
    map(&mut ledger, device, wish(owner, page)).expect("room");
}

#[test]
fn who_does_not_let_go_in_time_is_fenced_and_cleared_before_memory_is_free() {
    let (mut ledger, owner, device) = vm();
    map(&mut ledger, device, wish(owner, memory(0, 2 * MIB))).expect("room");
    ledger.retire(owner, memory(0, 0x1000), Some(100)).expect("the owner's memory");
    let [order] = <[_; 1]>::try_from(ledger.overdue(100)).expect("one holder");
    refused(ledger.map(device, wish(owner, memory(4 * MIB, 0x1000))), &FENCED);
    let order = ledger.fenced(order);
    assert_eq!(ledger.charged_frames(owner), Ok(512));
    let cleared = ledger.cleared(order);
    let back = ledger.settle(cleared).retired;
    assert_eq!(back, [Retired { owner, memory: memory(0, 0x1000) }]);
    ledger.readmit(device).expect("it has nothing");
}

/// Invariant `I18`: an answer that is not exactly what was asked is no success.
#[test]
fn what_was_not_undone_as_asked_stays_in_quarantine_until_its_space_is_gone() {
    for answer in [Answer::Failed, Answer::Bytes(0), Answer::Bytes(0x1000), Answer::Bytes(0x3000)] {
        let (mut ledger, owner, device) = vm();
        let entry = map(&mut ledger, device, wish(owner, memory(0, 0x2000))).expect("room");
        let order = ledger.unmap(device, Which::Handle(entry.handle)).expect("it is live");
        refused(ledger.removed(order, answer), &QUARANTINED);
        assert_eq!(ledger.entry(entry.handle).map(|it| it.phase), Ok(Phase::Quarantined));
        refused(ledger.unmap(device, Which::Handle(entry.handle)), &NOT_MAPPED);
        let busy = ledger.retire(owner, memory(0, 0x1000), None);
        assert_eq!(busy, Ok(Retirement::Busy(vec![device])));
        let order = ledger.fence(device).expect("a holder").expect("not fenced yet");
        let order = ledger.fenced(order);
        let cleared = ledger.cleared(order);
        ledger.settle(cleared);
        assert_eq!(ledger.retire(owner, memory(0, 0x1000), None), Ok(Retirement::Free));
    }
}

#[test]
fn when_an_owner_dies_all_who_reach_its_memory_are_fenced() {
    let (mut ledger, red, device) = vm();
    let blue = ledger.add_owner("another VM");
    ledger.add_memory(blue, memory(0, GIB)).expect("new memory");
    ledger.grant_of(blue, device, memory(0, GIB), Rights::READ).expect("the owner's memory");
    let other = ledger.add_holder(blue, "its own device").expect("a holder");
    let wish = Wish { rights: Rights::READ, ..wish(blue, memory(0, GIB)) };
    map(&mut ledger, device, wish).expect("room");
    let orders = ledger.fence_all_of(blue).expect("an owner");
    assert_eq!(orders.iter().map(|order| order.holder()).collect::<Vec<_>>(), [device]);
    assert!(ledger.fence_all_of(red).expect("an owner").is_empty() && device != other);
}

#[test]
fn an_address_leads_where_it_was_mapped_and_nowhere_before_or_after() {
    let (mut ledger, owner, device) = vm();
    let other = ledger.add_owner("another VM");
    // Beyond what fits beside the number of a mapping.
    let far = memory(1 << 50, GIB);
    for (of, span) in [(owner, far), (other, memory(0, 4 * MIB))] {
        ledger.add_memory(of, span).expect("new memory");
        ledger.grant_of(of, device, span, Rights::READ).expect("the owner's memory");
    }
    let all = [
        (owner, memory(0, 0x1000), Rights::WRITE),
        (owner, memory(0x5000, 4 * MIB), Rights::READ_WRITE),
        (owner, memory(GIB, 2 * GIB), Rights::READ_WRITE),
        (owner, memory(far.first().get() + 0x3000, 3 * MIB), Rights::READ),
        (other, memory(0x1000, 3 * MIB), Rights::READ),
    ];
    for (of, span, rights) in all {
        let order = ledger.map(device, Wish { rights, ..wish(of, span) }).expect("room");
        let bus = order.entry().bus.expect("a device's");
        assert_eq!(ledger.translate(device, bus.first()), None, "it is not made yet");
        let handle = ledger.mapped(order).expect("it is not fenced");
        for within in [0, 0x17, span.length_u64().expect("not all").get() - 1] {
            let at = Iova::new(bus.first().get() + within);
            let told = ledger.translate(device, at).map(|it| (it.owner, it.memory, it.rights));
            assert_eq!(told, Some((of, Gpa::new(span.first().get() + within), rights)));
        }
        let order = ledger.unmap(device, Which::Handle(handle)).expect("it is live");
        assert_eq!(ledger.translate(device, bus.first()), None, "it is being removed");
        drop(order);
    }
    let entry = map(&mut ledger, device, wish(owner, memory(0, 0x1000))).expect("room");
    let at = entry.bus.expect("a device's").first();
    assert!(ledger.translate(device, at).is_some());
    let _ = ledger.fence(device).expect("a holder");
    assert_eq!(ledger.translate(device, at), None, "a fenced holder reaches nothing");
}

#[test]
fn of_many_each_is_refused_by_itself_or_none_is_made() {
    let (mut ledger, owner, device) = vm();
    let count: u64 = 200_000;
    let at = |page: u64| Place::At(Iova::new(page * FRAME_BYTES));
    let page = |page: u64| memory(page * FRAME_BYTES, FRAME_BYTES);
    let mut wishes: Vec<Wish> =
        (0..count).map(|it| Wish { place: at(it), ..wish(owner, page(it)) }).collect();
    // Every thousandth is where the one before it is, and one is nobody's memory.
    for it in (1000..wishes.len()).step_by(1000) {
        wishes[it].place = wishes[it - 1].place;
    }
    let bad = 150_001;
    wishes[bad].memory = memory(8 * GIB, FRAME_BYTES);
    let before = ledger.entries().count();
    let Err((place, refusal)) = ledger.map_all(device, &wishes) else { panic!("one is wrong") };
    assert_eq!((place, refusal.code()), (1000, &BUS_ADDRESS));
    let Err((place, refusal)) = ledger.map_all(device, &wishes[bad - 1..=bad]) else {
        panic!("one is wrong")
    };
    assert_eq!((place, refusal.code()), (1, &NOT_OWNED));
    assert_eq!((ledger.entries().count(), ledger.charged_frames(owner)), (before, Ok(0)));
    let mut made = Vec::new();
    for (it, answer) in ledger.map_each(device, &wishes).into_iter().enumerate() {
        let is_wrong = it > 0 && it % 1000 == 0 || it == bad;
        assert_eq!(answer.is_err(), is_wrong, "{it}");
        made.extend(answer.ok());
    }
    assert_eq!(ledger.charged_frames(owner), Ok(made.len() as u64));
    let handles: Vec<Which> = made
        .into_iter()
        .map(|order| Which::Handle(ledger.mapped(order).expect("it is not fenced")))
        .collect();
    // Twice the same: the second of them is consumed already.
    let twice = [handles.clone(), handles].concat();
    let answers = ledger.unmap_each(device, &twice);
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(done.len(), refused.len());
    let answer = Answer::Bytes(FRAME_BYTES);
    let removed =
        done.into_iter().map(|order| ledger.removed(order.expect("it is"), answer).expect("all"));
    let removed = removed.collect();
    let (order, _) = ledger.flush(device, removed);
    let flushed = ledger.flushed(order);
    assert_eq!(ledger.release(flushed).gone.len(), refused.len());
    assert_eq!((ledger.entries().count(), ledger.charged_frames(owner)), (0, Ok(0)));
}
