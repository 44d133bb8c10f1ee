//! All short histories, over two owners, two holders and four frames.
//!
//! What follows from an order is a step of its own, so that everything else can happen in between.

use ringfence_addr::Iova;
use ringfence_ledger::{Answer, Appears, FRAME_BYTES, Failed, Phase, Place, Rights, Wish};

use crate::hardware::pages;
use crate::world::{BUS_FIRST, FIRST_PAGE, World, page_span};

/// How long histories are in the first tier, and how long with `RINGFENCE_STEPS_EXHAUSTIVE`.
const LENGTH: usize = 5;

/// What can happen in such a history.
const WORDS: &[fn(&mut World)] = &[
    |world| map(world, 0, 0, 0, 1, Place::At(Iova::new(BUS_FIRST * FRAME_BYTES))),
    |world| map(world, 0, 0, 0, 2, Place::Chosen),
    |world| map(world, 1, 0, 1, 3, Place::Chosen),
    |world| map(world, 1, 1, 0, 4, Place::At(Iova::new(BUS_FIRST * FRAME_BYTES))),
    |world| make(world, None),
    |world| make(world, Some(Failed::Unknown)),
    unmap,
    |world| take_out(world, false),
    |world| take_out(world, true),
    flush,
    |world| retire(world, None),
    |world| retire(world, Some(0)),
    |world| {
        let orders = world.ledger.overdue(0);
        fence(world, orders);
    },
    |world| {
        let orders = world.ledger.fence(world.holders[0]).ok().flatten();
        fence(world, orders.into_iter().collect());
    },
];

fn map(world: &mut World, holder: usize, owner: usize, first: u64, count: u64, place: Place) {
    let memory = page_span(FIRST_PAGE + first, count);
    let (owner, holder) = (world.owners[owner], world.holders[holder]);
    let wish = Wish { owner, memory, rights: Rights::READ_WRITE, place, appears: Appears::Device };
    if let Ok(order) = world.ledger.map(holder, wish) {
        world.plain.mappings.insert(order.entry().handle, *order.entry());
        world.maps.push(order);
    }
}

fn make(world: &mut World, failed: Option<Failed>) {
    if world.maps.is_empty() {
        return;
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
}

fn unmap(world: &mut World) {
    let live = world.plain.mappings.values().find(|entry| entry.phase == Phase::Live).copied();
    let Some(entry) = live else { return };
    let which = ringfence_ledger::Which::Handle(entry.handle);
    let order = world.ledger.unmap(entry.holder, which).expect("it is live");
    world.plain.set_phase(entry.handle, Phase::Removing);
    world.removes.push(order);
}

fn take_out(world: &mut World, is_lost: bool) {
    if world.removes.is_empty() {
        return;
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
}

/// Flushes for both holders, and lets go.
fn flush(world: &mut World) {
    for holder in world.holders.clone() {
        let removed = std::mem::take(&mut world.removed);
        let (order, others) = world.ledger.flush(holder, removed);
        world.removed = others;
        world.hardware.flush(holder, order.spans().collect::<Vec<_>>().into_iter());
        let flushed = world.ledger.flushed(order);
        let retired = world.ledger.release(flushed).retired;
        forget_gone(world);
        expect_retired(world, &retired);
    }
}

fn retire(world: &mut World, deadline: Option<u64>) {
    let (owner, memory) = (world.owners[0], page_span(FIRST_PAGE, 2));
    let Ok(outcome) = world.ledger.retire(owner, memory, deadline) else { return };
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
}

/// Fences, clears and settles.
fn fence(world: &mut World, orders: Vec<ringfence_ledger::FenceOrder>) {
    for order in orders {
        let holder = order.holder();
        world.plain.fence(holder);
        world.hardware.block(holder);
        let order = world.ledger.fenced(order);
        world.hardware.clear(holder);
        let cleared = world.ledger.cleared(order);
        let retired = world.ledger.settle(cleared).retired;
        forget_gone(world);
        expect_retired(world, &retired);
    }
}

fn forget_gone(world: &mut World) {
    let left: Vec<_> = world.ledger.entries().map(|entry| entry.handle).collect();
    world.plain.mappings.retain(|handle, _| left.contains(handle));
}

fn expect_retired(world: &mut World, retired: &[ringfence_ledger::Retired]) {
    let expected = world.plain.settle();
    assert_eq!(
        retired.iter().map(|it| (it.owner, it.memory)).collect::<std::collections::BTreeSet<_>>(),
        expected
    );
}

fn play(words: &[usize]) -> Result<(), String> {
    let mut world = World::new(0, FIRST_PAGE);
    for (number, owner) in world.owners.clone().into_iter().enumerate() {
        for holder in world.holders.clone() {
            let memory = page_span(FIRST_PAGE, 4);
            world.ledger.grant_of(owner, holder, memory, Rights::READ_WRITE).expect("a grant");
        }
        assert!(number < 2);
    }
    for word in words {
        WORDS[*word](&mut world);
    }
    world.check()
}

#[test]
fn every_short_history_keeps_the_books() {
    let length =
        std::env::var("RINGFENCE_STEPS_EXHAUSTIVE").ok().and_then(|text| text.parse().ok());
    let mut words = Vec::new();
    for length in 1..=length.unwrap_or(LENGTH) {
        words.clear();
        words.resize(length, 0_usize);
        loop {
            if let Err(problem) = play(&words) {
                panic!("{words:?}: {problem}");
            }
            let Some(next) = words.iter().rposition(|word| *word + 1 < WORDS.len()) else { break };
            words[next] += 1;
            words[next + 1..].fill(0);
        }
    }
}
