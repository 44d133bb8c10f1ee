//! All short histories, over two owners, two holders and four frames.
//!
//! What follows from an order is a step of its own, so that everything else can happen in between.
//!
//! A step that is refused, or finds nothing to do, is checked to leave everything as it was, in every
//! state that is reached; what follows it is what follows the history without it, which is
//! shorter and is played anyway. So such a step is not gone on from: nothing is left out by that.

use ringfence_addr::Iova;
use ringfence_ledger::{Answer, Appears, Entry, FRAME_BYTES, Failed, Phase, Place, Rights, Wish};

use crate::hardware::pages;
use crate::world::{BUS_FIRST, FIRST_PAGE, World, page_span};

/// How long histories are in the first tier, and how long with `RINGFENCE_STEPS_EXHAUSTIVE`.
const LENGTH: usize = 6;

/// What can happen in such a history: whether anything did.
const WORDS: &[fn(&mut World) -> bool] = &[
    |world| map(world, 0, 0, 0, 1, Place::At(Iova::new(BUS_FIRST * FRAME_BYTES))),
    |world| map(world, 0, 0, 0, 2, Place::Chosen),
    |world| map(world, 1, 0, 1, 3, Place::Chosen),
    |world| map(world, 1, 1, 0, 4, Place::At(Iova::new(BUS_FIRST * FRAME_BYTES))),
    |world| make(world, None),
    |world| make(world, Some(Failed::Unknown)),
    |world| unmap(world, false),
    |world| unmap(world, true),
    |world| take_out(world, false),
    |world| take_out(world, true),
    flush,
    not_flushed,
    |world| retire(world, None),
    |world| retire(world, Some(0)),
    |world| {
        let waiting = world.plain.owners.values_mut().flat_map(|of| &mut of.retiring);
        let late =
            waiting.filter_map(|(.., is_overdue)| (!*is_overdue).then(|| *is_overdue = true));
        let has_any = late.count() > 0;
        let orders = world.ledger.overdue(0);
        fence(world, orders) || has_any
    },
    |world| {
        let orders = world.ledger.fence(world.holders[0]).ok().flatten();
        fence(world, orders.into_iter().collect())
    },
    fence_in_vain,
    readmit,
    take_again,
];

fn map(
    world: &mut World,
    holder: usize,
    owner: usize,
    first: u64,
    count: u64,
    place: Place,
) -> bool {
    let memory = page_span(FIRST_PAGE + first, count);
    let (owner, holder) = (world.owners[owner], world.holders[holder]);
    let wish = Wish { owner, memory, rights: Rights::READ_WRITE, place, appears: Appears::Device };
    let Ok(order) = world.ledger.map(holder, wish) else { return false };
    world.plain.mappings.insert(order.entry().handle, *order.entry());
    world.maps.push(order);
    true
}

fn make(world: &mut World, failed: Option<Failed>) -> bool {
    if world.maps.is_empty() {
        return false;
    }
    let order = world.maps.remove(0);
    let entry = *order.entry();
    world.hardware.map(&entry, pages(entry.memory).count());
    let remove = match failed {
        None => world.ledger.mapped(order).err(),
        Some(failed) => world.ledger.not_mapped(order, failed).remove,
    };
    let phase = if remove.is_some() { Phase::Removing } else { Phase::Live };
    world.plain.set_phase(entry.handle, phase);
    world.removes.extend(remove);
    true
}

/// The first that is live, or the last if there are several.
fn unmap(world: &mut World, is_last: bool) -> bool {
    let all = world.plain.mappings.values();
    let live: Vec<_> = all.filter(|entry| entry.phase == Phase::Live).copied().collect();
    let Some(entry) = live.get(if is_last { live.len().max(2) - 1 } else { 0 }) else {
        return false;
    };
    let which = ringfence_ledger::Which::Handle(entry.handle);
    let order = world.ledger.unmap(entry.holder, which).expect("it is live");
    world.plain.set_phase(entry.handle, Phase::Removing);
    world.removes.push(order);
    true
}

fn take_out(world: &mut World, is_lost: bool) -> bool {
    if world.removes.is_empty() {
        return false;
    }
    let order = world.removes.remove(0);
    let entry = *order.entry();
    let length = entry.memory.length_u64().map_or(0, |it| it.get());
    let (left, answer) = match is_lost {
        true => (1, Answer::Bytes(length - FRAME_BYTES)),
        false => (0, Answer::Bytes(length)),
    };
    world.hardware.unmap(&entry, left);
    let before = world.plain.mappings.get(&entry.handle).map(|it| it.phase);
    let outcome = world.ledger.removed(order, answer);
    assert_eq!(outcome.is_ok(), before == Some(Phase::Removing) && !is_lost);
    match (outcome, before) {
        (Ok(removed), _) => {
            world.plain.set_phase(entry.handle, Phase::Removed);
            world.removed.push(removed);
        }
        (Err(_), Some(Phase::Removing)) => {
            world.plain.set_phase(entry.handle, Phase::Quarantined);
        }
        (Err(_), _) => {}
    }
    true
}

/// Flushes for both holders, and lets go.
fn flush(world: &mut World) -> bool {
    let has_any = !world.removed.is_empty();
    for holder in world.holders.clone() {
        let removed = std::mem::take(&mut world.removed);
        let (order, others) = world.ledger.flush(holder, removed);
        world.removed = others;
        world.hardware.flush(holder, order.spans().collect::<Vec<_>>().into_iter());
        let flushed = world.ledger.flushed(order);
        let handles: Vec<_> = flushed.handles().collect();
        let retired = world.ledger.release(flushed).retired;
        // A fence may have settled some of them meanwhile, or put them into quarantine.
        let is_removed = |it: &Entry| it.phase == Phase::Removed && handles.contains(&it.handle);
        world.plain.mappings.retain(|_, it| !is_removed(it));
        expect_retired(world, &retired);
    }
    has_any
}

/// Nobody knows whether devices have forgotten anything.
fn not_flushed(world: &mut World) -> bool {
    let has_any = !world.removed.is_empty();
    for holder in world.holders.clone() {
        let removed = std::mem::take(&mut world.removed);
        let (order, others) = world.ledger.flush(holder, removed);
        world.removed = others;
        for handle in order.handles() {
            world.plain.set_phase(handle, Phase::Quarantined);
        }
        let _ = world.ledger.not_flushed(order);
    }
    has_any
}

fn retire(world: &mut World, deadline: Option<u64>) -> bool {
    let (owner, memory) = (world.owners[0], page_span(FIRST_PAGE, 2));
    let Ok(outcome) = world.ledger.retire(owner, memory, deadline) else { return false };
    let is_busy = world.plain.is_busy(owner, memory);
    let of = world.plain.owners.get_mut(&owner).expect("it is there");
    match (is_busy, deadline) {
        (false, _) => {
            assert_eq!(outcome, ringfence_ledger::Retirement::Free);
            of.give_back(memory);
        }
        (true, None) => assert!(matches!(outcome, ringfence_ledger::Retirement::Busy(_))),
        (true, Some(deadline)) => {
            assert!(matches!(outcome, ringfence_ledger::Retirement::Revoking(_)));
            of.retiring.push((memory, deadline, false));
        }
    }
    !is_busy || deadline.is_some()
}

/// Fences, clears and settles.
fn fence(world: &mut World, orders: Vec<ringfence_ledger::FenceOrder>) -> bool {
    let has_any = !orders.is_empty();
    for order in orders {
        let holder = order.holder();
        world.plain.fence(holder);
        world.hardware.block(holder);
        let order = world.ledger.fenced(order);
        let of = world.plain.holders.get_mut(&holder).expect("it is there");
        of.clearing += 1;
        of.late.clear();
        let clearing = of.clearing;
        world.hardware.clear(holder);
        let cleared = world.ledger.cleared(order);
        let retired = world.ledger.settle(cleared).retired;
        world.plain.settle_holder(holder, clearing);
        expect_retired(world, &retired);
    }
    has_any
}

/// The first holder's device is to be cut off and is not.
fn fence_in_vain(world: &mut World) -> bool {
    let holder = world.holders[0];
    let Some(order) = world.ledger.fence(holder).ok().flatten() else { return false };
    world.plain.fence(holder);
    let _ = world.ledger.not_fenced(order);
    world.plain.out_of_reach(holder);
    true
}

fn readmit(world: &mut World) -> bool {
    let holder = world.holders[0];
    let has_any = world.plain.mappings.values().any(|it| it.holder == holder);
    let plain = world.plain.holders.get_mut(&holder).expect("it is there");
    let was_fenced = plain.is_fenced;
    assert_eq!(world.ledger.readmit(holder).is_err(), has_any);
    if has_any {
        return false;
    }
    (plain.is_fenced, plain.has_failed) = (false, false);
    plain.clearing += 1;
    world.hardware.clear(holder);
    world.hardware.unblock(holder);
    was_fenced
}

fn take_again(world: &mut World) -> bool {
    let (owner, memory) = (world.owners[0], page_span(FIRST_PAGE, 2));
    let of = world.plain.owners.get_mut(&owner).expect("it is there");
    let is_given_back = pages(memory).all(|page| of.given_back.contains(&page));
    assert_eq!(world.ledger.take_again(owner, memory).is_ok(), is_given_back);
    if is_given_back {
        for page in pages(memory) {
            of.given_back.remove(&page);
            of.memory.insert(page);
        }
    }
    is_given_back
}

fn expect_retired(world: &mut World, retired: &[ringfence_ledger::Retired]) {
    let expected = world.plain.settle();
    assert_eq!(
        retired.iter().map(|it| (it.owner, it.memory)).collect::<std::collections::BTreeSet<_>>(),
        expected
    );
}

/// Plays a history: whether its last step did anything.
fn play(words: &[usize]) -> Result<bool, String> {
    let mut world = World::new(0, FIRST_PAGE);
    for owner in world.owners.clone() {
        for holder in world.holders.clone() {
            let memory = page_span(FIRST_PAGE, 4);
            world.ledger.grant_of(owner, holder, memory, Rights::READ_WRITE).expect("a grant");
        }
    }
    let mut did_anything = false;
    let before = words.len().saturating_sub(1);
    for (place, word) in words.iter().enumerate() {
        let entries = (place == before).then(|| world.ledger.entries().collect::<Vec<_>>());
        did_anything = WORDS[*word](&mut world);
        if !did_anything
            && entries.is_some_and(|it| it != world.ledger.entries().collect::<Vec<_>>())
        {
            return Err("a step that was refused changed something".to_owned());
        }
    }
    world.check().map(|()| did_anything)
}

/// Plays every history that begins so; how many there are.
fn explore(words: &mut Vec<usize>, length: usize) -> u64 {
    let mut count = 0;
    for word in 0..WORDS.len() {
        words.push(word);
        count += 1;
        match play(words) {
            Err(problem) => panic!("{words:?}: {problem}"),
            Ok(true) if words.len() < length => count += explore(words, length),
            Ok(_) => {}
        }
        words.pop();
    }
    count
}

#[test]
fn every_short_history_keeps_the_books() {
    let length =
        std::env::var("RINGFENCE_STEPS_EXHAUSTIVE").ok().and_then(|text| text.parse().ok());
    let count = explore(&mut Vec::new(), length.unwrap_or(LENGTH));
    println!("{count} histories");
}
