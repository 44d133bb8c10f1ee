//! Invariants of `docs/invariants.md`, each by the shortest history that breaks it without its guard.
//! Longer ones are in `model`.

use ringfence_addr::{Gpa, Iova, Rights, Span, SpanSet};
use ringfence_ledger::refusals::{
    BUS_ADDRESS, NO_BUS_ADDRESS, NOT_GRANTED, NOT_MAPPED, RIGHTS, STALE,
};
use ringfence_ledger::{
    Answer, Appears, Cleared, FRAME_BYTES, Failed, Handle, Holder, Ledger, MapOrder, Owner, Phase,
    Place, Retirement, Which, Wish,
};

fn memory(page: u64, pages: u64) -> Span<Gpa> {
    Span::from_parts(Gpa::new(page * FRAME_BYTES), pages * FRAME_BYTES).expect("a span")
}

fn bus(page: u64, pages: u64) -> Span<Iova> {
    Span::from_parts(Iova::new(page * FRAME_BYTES), pages * FRAME_BYTES).expect("a span")
}

/// A VM of 64 pages and a device that may reach all of it.
fn vm(allowed: SpanSet<Iova>) -> (Ledger, Owner, Holder) {
    let mut ledger = Ledger::new();
    let owner = ledger.add_owner("a VM");
    ledger.add_memory(owner, memory(0, 64)).expect("new memory");
    let device = ledger.add_holder(owner, "a device").expect("the owner is there");
    ledger.grant(device, memory(0, 64), Rights::READ_WRITE).expect("the owner's memory");
    ledger.set_space(device, allowed).expect("no mappings yet");
    (ledger, owner, device)
}

fn wish(owner: Owner, memory: Span<Gpa>) -> Wish {
    let (rights, place, appears) = (Rights::READ_WRITE, Place::Chosen, Appears::Device);
    Wish { owner, memory, rights, place, appears }
}

fn begin(ledger: &mut Ledger, holder: Holder, owner: Owner, page: u64) -> MapOrder {
    ledger.map(holder, wish(owner, memory(page, 1))).expect("room")
}

fn live(ledger: &mut Ledger, holder: Holder, owner: Owner, page: u64) -> Handle {
    let order = begin(ledger, holder, owner, page);
    ledger.mapped(order).expect("it is not fenced")
}

fn clear(ledger: &mut Ledger, holder: Holder) -> Cleared {
    let order = ledger.fence(holder).expect("a holder").expect("not fenced, or in vain");
    let order = ledger.fenced(order);
    ledger.cleared(order)
}

/// Invariant `I1`: every place and right by itself, up and down again, over the bound of what
/// half a word counts.
#[test]
fn counts_are_the_sum_over_mappings() {
    let (mut ledger, owner, device) = vm(SpanSet::whole());
    let mut handles = Vec::new();
    let mut expected = [0_u16; 4];
    let counts = |ledger: &Ledger, page: u64| {
        let it = ledger.counts(owner, Gpa::new(page * FRAME_BYTES)).expect("an owner");
        [it.device_read, it.device_write, it.host_read, it.host_write]
    };
    for step in 0..600_u16 {
        let appears = Appears::ALL[usize::from(step % 3)];
        let rights = [Rights::READ, Rights::WRITE, Rights::READ_WRITE][usize::from(step / 3 % 3)];
        let order = ledger.map(device, Wish { rights, appears, ..wish(owner, memory(5, 2)) });
        handles.push(ledger.mapped(order.expect("room")).expect("it is not fenced"));
        let (read, write) = (rights.allows(Rights::READ), rights.allows(Rights::WRITE));
        expected[0] += u16::from(appears.device() && read);
        expected[1] += u16::from(appears.device() && write);
        expected[2] += u16::from(appears.host() && read);
        expected[3] += u16::from(appears.host() && write);
        assert_eq!([counts(&ledger, 5), counts(&ledger, 6)], [expected; 2]);
        assert_eq!([counts(&ledger, 4), counts(&ledger, 7)], [[0; 4]; 2]);
    }
    assert_eq!(ledger.charged_frames(owner), Ok(2));
    // Every second one, so that lists of what begins at a frame are taken apart in the middle.
    let (even, odd): (Vec<_>, Vec<_>) = (0..).zip(handles).partition(|(step, _)| step % 2 == 0);
    for (_, handle) in even.into_iter().chain(odd) {
        let order = ledger.unmap(device, Which::Handle(handle)).expect("it is live");
        let removed = ledger.removed(order, Answer::Bytes(2 * FRAME_BYTES)).expect("all");
        assert_eq!(ledger.holders_of(owner, memory(6, 1)), [device]);
        let (order, _) = ledger.flush(device, vec![removed]);
        let flushed = ledger.flushed(order);
        ledger.release(flushed);
    }
    assert_eq!((counts(&ledger, 5), ledger.charged_frames(owner)), ([0; 4], Ok(0)));
    assert!(ledger.holders_of(owner, memory(0, 64)).is_empty());
}

/// Invariant `I1`: in whatever order those that begin at one frame go, the others are named.
#[test]
fn those_that_have_a_frame_are_named_whoever_of_them_goes() {
    for gone in 0..4_usize {
        let (mut ledger, owner, first) = vm(SpanSet::whole());
        let mut devices = vec![first];
        for name in ["another", "a third", "a fourth"] {
            let device = ledger.add_holder(owner, name).expect("the owner is there");
            ledger.grant(device, memory(0, 64), Rights::READ_WRITE).expect("the owner's memory");
            ledger.set_space(device, SpanSet::whole()).expect("no mappings yet");
            devices.push(device);
        }
        let orders: Vec<_> =
            devices.iter().map(|device| begin(&mut ledger, *device, owner, 9)).collect();
        for (place, order) in orders.into_iter().enumerate() {
            if place == gone {
                ledger.not_mapped(order, Failed::Clean);
            } else {
                ledger.mapped(order).expect("it is not fenced");
            }
        }
        devices.remove(gone);
        assert_eq!(ledger.holders_of(owner, memory(9, 1)), devices);
    }
}

/// Invariant `I2`: consumed once; and invariant `I4`: in use from before it is made until it is let
/// go, whatever is asked meanwhile.
#[test]
fn a_mapping_is_in_use_from_before_it_is_made_until_it_is_let_go() {
    let (mut ledger, owner, device) = vm(SpanSet::whole());
    let is_idle = |ledger: &Ledger| ledger.is_idle(owner, memory(3, 1));
    assert!(is_idle(&ledger));
    let order = begin(&mut ledger, device, owner, 3);
    assert!(!is_idle(&ledger), "it is being made");
    let handle = ledger.mapped(order).expect("it is not fenced");
    assert!(!is_idle(&ledger));
    let order = ledger.unmap(device, Which::Handle(handle)).expect("it is live");
    let again = ledger.unmap(device, Which::Handle(handle)).expect_err("it is consumed");
    assert_eq!(again.code(), &NOT_MAPPED);
    assert!(!is_idle(&ledger), "it is being removed");
    let removed = ledger.removed(order, Answer::Bytes(FRAME_BYTES)).expect("all");
    assert!(!is_idle(&ledger), "devices may remember it");
    let (order, _) = ledger.flush(device, vec![removed]);
    let flushed = ledger.flushed(order);
    assert!(!is_idle(&ledger), "it is not let go");
    assert_eq!(ledger.release(flushed).gone, [handle]);
    assert!(is_idle(&ledger));
}

/// Invariant `I3`: its number is used again at once, its handle never.
#[test]
fn a_handle_that_is_gone_names_nothing() {
    let (mut ledger, owner, device) = vm(SpanSet::whole());
    let mut gone = Vec::new();
    for page in 0..50 {
        let order = begin(&mut ledger, device, owner, page);
        let handle = order.entry().handle;
        for old in &gone {
            assert_ne!(*old, handle);
            assert_eq!(ledger.entry(*old).map_err(|it| it.code()), Err(&STALE));
            let refused = ledger.unmap(device, Which::Handle(*old));
            assert_eq!(refused.map_err(|it| it.code()).expect_err("it is gone"), &STALE);
        }
        ledger.not_mapped(order, Failed::Clean);
        gone.push(handle);
    }
}

/// Invariant `I5`: what had begun before the owner asked is waited for, however long its report takes.
#[test]
fn who_gives_memory_back_waits_for_mappings_that_had_begun() {
    let (mut ledger, owner, device) = vm(SpanSet::whole());
    let order = begin(&mut ledger, device, owner, 3);
    let asked = ledger.retire(owner, memory(3, 1), Some(0));
    assert_eq!(asked, Ok(Retirement::Revoking(vec![device])));
    // Its device is fenced and cleared while the mapping is still on its way.
    let [fence] = <[_; 1]>::try_from(ledger.overdue(0)).expect("one holder");
    let clear = ledger.fenced(fence);
    let cleared = ledger.cleared(clear);
    let remove = ledger.mapped(order).expect_err("its holder was fenced");
    // It may have come after everything was cleared.
    let settled = ledger.settle(cleared);
    assert!(settled.gone.is_empty() && settled.retired.is_empty(), "{settled:?}");
    let removed = ledger.removed(remove, Answer::Bytes(FRAME_BYTES)).expect("all");
    let (order, _) = ledger.flush(device, vec![removed]);
    let flushed = ledger.flushed(order);
    assert_eq!(ledger.release(flushed).retired.len(), 1);
}

/// Invariant `I6`: a clearing that was ordered before a mapping was made lets nothing of it go.
#[test]
fn an_old_clearing_lets_nothing_new_go() {
    let (mut ledger, owner, device) = vm(SpanSet::whole());
    live(&mut ledger, device, owner, 3);
    let first = clear(&mut ledger, device);
    assert_eq!(ledger.settle(first).gone.len(), 1);
    // One is kept too long.
    ledger.readmit(device).expect("nothing is left");
    let old = clear(&mut ledger, device);
    ledger.readmit(device).expect("nothing is left");
    let handle = live(&mut ledger, device, owner, 3);
    assert!(ledger.settle(old).gone.is_empty());
    assert_eq!(ledger.entry(handle).map(|it| it.phase), Ok(Phase::Live));
    // Nor does one that was begun in the life before.
    let (mut other, owner_of, kept) = vm(SpanSet::whole());
    let order = other.fence(kept).expect("a holder").expect("not fenced");
    other.readmit(kept).expect("it has nothing");
    live(&mut other, kept, owner_of, 3);
    let order = other.fenced(order);
    let cleared = other.cleared(order);
    assert!(other.settle(cleared).gone.is_empty());
    // What came late and cannot be removed is undone by another clearing, and by that alone.
    let order = begin(&mut ledger, device, owner, 4);
    let before = clear(&mut ledger, device);
    let remove = ledger.mapped(order).expect_err("its holder was fenced");
    ledger.removed(remove, Answer::Failed).expect_err("in quarantine");
    let after = clear(&mut ledger, device);
    assert!(ledger.settle(before).gone.is_empty());
    assert_eq!(ledger.settle(after).gone.len(), 2);
}

/// Invariant `I19`: at any fill level, around what is reserved, up to the last page there is.
#[test]
fn chosen_bus_addresses_are_allowed_and_unused() {
    let last = u64::MAX / FRAME_BYTES;
    for allowed in [
        [bus(0, 20), bus(25, 30)],
        [bus(500, 20), bus(1020, 10)],
        [bus(0xfede0, 32), bus(0xfef00, 9)],
        [bus(last - 40, 10), bus(last - 20, 21)],
    ] {
        let allowed: SpanSet<Iova> = allowed.into_iter().collect();
        let (mut ledger, owner, device) = vm(allowed.clone());
        let mut used: SpanSet<Iova> = SpanSet::new();
        let mut pages = [3, 1, 2].into_iter().cycle();
        loop {
            let wanted = pages.next().expect("it goes on");
            match ledger.map(device, wish(owner, memory(1, wanted))) {
                Ok(order) => {
                    let bus = order.entry().bus.expect("a device's");
                    assert!(allowed.encloses(&bus) && !used.overlaps(&bus), "{bus}");
                    assert!(bus.last().get() < last * FRAME_BYTES, "no kernel unmaps it: {bus}");
                    used.insert(bus);
                }
                Err(refusal) => {
                    assert_eq!(refusal.code(), &NO_BUS_ADDRESS);
                    if wanted == 1 {
                        break;
                    }
                }
            }
        }
        let left = allowed.minus(&used).length();
        assert!(left == 0 || left == u128::from(FRAME_BYTES), "{left:#x} bytes are left");
        let at = Wish {
            place: Place::At(used.iter().next().expect("some").first()),
            ..wish(owner, memory(1, 1))
        };
        assert_eq!(ledger.map(device, at).expect_err("it is used").code(), &BUS_ADDRESS);
    }
}

/// Invariant `I20`: the first frame and the first bus address are as good as any.
#[test]
fn frame_0_and_bus_address_0_are_ordinary() {
    let (mut ledger, owner, device) = vm(SpanSet::whole());
    let wish = Wish { place: Place::At(Iova::new(0)), ..wish(owner, memory(0, 1)) };
    let order = ledger.map(device, wish).expect("room");
    let handle = ledger.mapped(order).expect("it is not fenced");
    let told = ledger.translate(device, Iova::new(7)).map(|it| (it.owner, it.memory));
    assert_eq!(told, Some((owner, Gpa::new(7))));
    assert_eq!(ledger.find(device, Iova::new(0)).map(|it| it.handle), Some(handle));
    assert_eq!(ledger.holders_of(owner, memory(0, 1)), [device]);
    assert_eq!(ledger.map(device, wish).expect_err("it is used").code(), &BUS_ADDRESS);
    let order = ledger.unmap(device, Which::At(bus(0, 1))).expect("it is live");
    assert_eq!(order.entry().handle, handle);
}

/// Invariant `I23`: what an address led to is known only as long as nothing is changed.
#[test]
fn a_translation_ends_with_its_mapping() {
    let (mut ledger, owner, device) = vm(SpanSet::whole());
    let wish = Wish { place: Place::At(Iova::new(0x5000)), ..wish(owner, memory(9, 1)) };
    let at = Iova::new(0x5000);
    let order = ledger.map(device, wish).expect("room");
    assert_eq!(ledger.translate(device, at), None, "it is being made");
    let handle = ledger.mapped(order).expect("it is not fenced");
    assert!(ledger.translate(device, at).is_some());
    let order = ledger.unmap(device, Which::Handle(handle)).expect("it is live");
    assert_eq!(ledger.translate(device, at), None, "it is being removed");
    drop(order);
    let other = live(&mut ledger, device, owner, 10);
    let at = ledger.entry(other).expect("it is there").bus.expect("a device's").first();
    assert!(ledger.translate(device, at).is_some());
    let order = ledger.fence(device).expect("a holder").expect("not fenced");
    assert_eq!(ledger.translate(device, at), None, "its holder is fenced");
    drop(order);
}

/// Invariant `I24`: rights are those that were asked for, and those were granted.
#[test]
fn nobody_gets_more_rights_than_were_granted_or_asked_for() {
    let all = [Rights::READ, Rights::WRITE, Rights::READ_WRITE];
    for granted in all {
        for asked in all {
            let (mut ledger, owner, device) = vm(SpanSet::whole());
            ledger.revoke(device, memory(0, 64)).expect("a holder");
            ledger.grant(device, memory(2, 2), granted).expect("the owner's memory");
            // Whatever was granted last, and wherever beside it.
            for (page, pages) in [(1, 1), (1, 2), (3, 2), (4, 1)] {
                let beside = Wish { rights: asked, ..wish(owner, memory(page, pages)) };
                let refusal = ledger.map(device, beside).expect_err("it was not granted");
                assert_eq!(refusal.code(), &NOT_GRANTED);
            }
            let order = ledger.map(device, Wish { rights: asked, ..wish(owner, memory(2, 2)) });
            if !granted.allows(asked) {
                assert_eq!(order.expect_err("it was not granted").code(), &RIGHTS);
                continue;
            }
            let order = order.expect("it was granted");
            let at = order.entry().bus.expect("a device's").first();
            ledger.mapped(order).expect("it is not fenced");
            assert_eq!(ledger.translate(device, at).map(|it| it.rights), Some(asked));
        }
    }
}

/// Invariant `I25`: one page is enough, however much is asked for around it.
#[test]
fn one_mapped_page_keeps_all_that_it_is_in() {
    let (mut ledger, owner, device) = vm(SpanSet::whole());
    ledger.add_memory(owner, memory(64, 4096 - 64)).expect("new memory");
    live(&mut ledger, device, owner, 7);
    for (page, pages) in [(0, 512), (0, 4096), (7, 1), (0, 8), (7, 600)] {
        let outcome = ledger.retire(owner, memory(page, pages), None);
        assert_eq!(outcome, Ok(Retirement::Busy(vec![device])), "{pages} from {page} on");
    }
    for (page, pages) in [(512, 512), (8, 504), (0, 7), (1024, 3072)] {
        let outcome = ledger.retire(owner, memory(page, pages), None);
        assert_eq!(outcome, Ok(Retirement::Free), "{pages} from {page} on");
    }
}
