//! Bad input: a clear refusal for each entry, the rest as the caller asked, nothing half done.

use ringfence_addr::{Gpa, Iova, Rights, Span};
use ringfence_iommu::mock::{Fails, Mock, MockMemory};
use ringfence_iommu::refusals::{JOURNAL_UNFIT, NO_DOMAIN, NOT_CONFINED, NOT_THERE, WITHDRAWN};
use ringfence_iommu::{Account, Domain as _, Journal, Mode, Piece, Reached, Removal};
use ringfence_ledger::{Appears, Entry, Place, Which, Wish};
use ringfence_refusal::Failure;

use crate::kit::{Kit, PAGE, PAGES, gpa, iova, wish};

fn codes<T>(answers: &[Result<T, Failure>]) -> Vec<Option<u16>> {
    let code = |answer: &Result<T, Failure>| match answer {
        Ok(_) => None,
        Err(Failure::Refused(refusal)) => Some(refusal.code().number),
        Err(Failure::Faulted(_)) => Some(0),
    };
    answers.iter().map(code).collect()
}

/// Every kind of mistake in one batch, among entries that are sound.
fn mixed(kit: &mut Kit) -> Vec<(Wish, Option<u16>)> {
    let stranger = kit.account.add_owner("blue");
    let gone = kit.account.add_owner("gone");
    kit.account.owner_died(gone).expect("nothing reaches it");
    let sound = kit.wish(0, 4, 100);
    let wrap = Span::from_parts(Gpa::new(0u64.wrapping_sub(PAGE)), PAGE).expect("the last page");
    vec![
        (sound, None),
        (kit.wish(8, 4, 102), Some(111)), // overlaps the first
        (Wish { memory: gpa(PAGES, 1), ..sound }, Some(107)), // not the owner's
        (Wish { memory: wrap, ..sound }, Some(107)), // the last page there is
        (Wish { rights: Rights::NONE, ..sound }, Some(102)), // no right
        (Wish { memory: half_a_page(), ..sound }, Some(108)), // misaligned
        (Wish { place: Place::At(Iova::new(0x800)), ..sound }, Some(111)),
        (Wish { place: Place::At(Iova::new(!0xfff)), ..sound }, Some(111)), // would wrap
        (Wish { owner: stranger, ..sound }, Some(107)), // foreign, and it has none
        (Wish { owner: gone, ..sound }, Some(105)),     // stale
        (kit.wish(12, 4, 104), None),
    ]
}

fn half_a_page() -> Span<Gpa> {
    Span::from_parts(Gpa::new(0x800), PAGE).expect("a span")
}

#[test]
fn each_entry_of_a_batch_hears_what_is_wrong_with_it() {
    let mut kit = Kit::new(1);
    let mixed = mixed(&mut kit);
    let wishes: Vec<Wish> = mixed.iter().map(|(wish, _)| *wish).collect();
    let expected: Vec<Option<u16>> = mixed.iter().map(|(_, code)| *code).collect();
    let holder = kit.holders[0];

    let answers = kit.account.map(holder, &wishes, Mode::BestEffort);
    assert_eq!(codes(&answers), expected);
    assert_eq!(kit.reached(), (0..4).chain(12..16).collect());
    kit.check();
    let which: Vec<Which> = answers.iter().flatten().map(|it| Which::Handle(it.handle)).collect();
    let answers = kit.account.unmap(holder, &which);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Reached::No))));

    let answers = kit.account.map(holder, &wishes, Mode::AllOrNothing);
    let withdrawn = |code: &Option<u16>| Some(code.unwrap_or(WITHDRAWN.number));
    assert_eq!(codes(&answers), expected.iter().map(withdrawn).collect::<Vec<_>>());
    assert!(kit.reached().is_empty());
    assert_eq!(kit.account.ledger().entries().count(), 0);
    kit.check();
}

/// Invariant `I22`.
#[test]
fn a_batch_whose_middle_fails_leaves_what_was_asked_for() {
    for how in [Fails::Cleanly, Fails::HalfDone] {
        for mode in [Mode::BestEffort, Mode::AllOrNothing] {
            for fails in 0..6 {
                let mut kit = Kit::new(1);
                let holder = kit.holders[0];
                let wishes: Vec<Wish> = (0..6).map(|n| kit.wish(n * 8, 8, n * 8)).collect();
                kit.devices[0].fail(fails, how);
                let answers = kit.account.map(holder, &wishes, mode);
                let good = answers.iter().filter(|answer| answer.is_ok()).count();
                // What may be half there and cannot be seen to go has the device cut off.
                let goes_on = mode == Mode::BestEffort && how == Fails::Cleanly;
                assert_eq!(good, if goes_on { 5 } else { 0 }, "{how:?} {mode:?} {fails}");
                assert_eq!(kit.reached().len(), good * 8);
                assert_eq!(kit.account.ledger().entries().count(), good);
                kit.check();
            }
        }
    }
}

#[test]
fn a_million_entries_are_mapped_and_unmapped_in_one_batch() {
    let mut kit = Kit::with_slots(1, 1 << 20);
    let holder = kit.holders[0];
    // Fewer pages than entries: each page is mapped 512 times.
    let wishes: Vec<Wish> = (0..1_000_000).map(|n| kit.wish(n % PAGES, 1, n)).collect();
    let answers = kit.account.map(holder, &wishes, Mode::AllOrNothing);
    let handles: Vec<Which> =
        answers.into_iter().map(|answer| Which::Handle(answer.expect("mapped").handle)).collect();
    assert_eq!(kit.account.ledger().charged_frames(kit.owner).ok(), Some(PAGES));
    let answers = kit.account.unmap(holder, &handles);
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Reached::No))));
    assert!(kit.reached().is_empty());
    kit.check();
}

#[test]
fn what_is_named_twice_or_was_unmapped_is_refused() {
    let mut kit = Kit::new(2);
    let (holder, other) = (kit.holders[0], kit.holders[1]);
    let wishes = [kit.wish(0, 2, 0), kit.wish(2, 2, 2)];
    let mapped: Vec<Entry> =
        kit.account.map(holder, &wishes, Mode::AllOrNothing).into_iter().flatten().collect();
    let first = Which::Handle(mapped[0].handle);
    assert_eq!(codes(&kit.account.unmap(other, &[first])), [Some(114)], "another's");
    let part = Which::At(iova(2, 1));
    let twice = [first, first, part, Which::At(iova(2, 2)), Which::At(iova(50, 1))];
    let answers = kit.account.unmap(holder, &twice);
    assert_eq!(codes(&answers), [None, Some(114), Some(114), None, Some(114)]);
    assert_eq!(codes(&kit.account.unmap(holder, &[first])), [Some(105)], "stale");
    assert!(kit.reached().is_empty());
    kit.check();
}

#[test]
fn what_a_holder_may_not_is_refused_before_anything_is_done() {
    let mut kit = Kit::new(1);
    let holder = kit.holders[0];
    let owner = kit.owner;
    kit.account.allow(owner, holder, gpa(0, PAGES), Rights::READ, Some(4)).expect("narrower");
    let read = |first, count, at| Wish { rights: Rights::READ, ..wish(owner, first, count, at) };
    let wishes = [
        wish(owner, 0, 1, None),
        read(0, 3, None),
        read(8, 2, None),
        Wish { appears: Appears::Host, ..read(8, 1, None) },
        read(9, 1, None),
    ];
    let answers = kit.account.map(holder, &wishes, Mode::BestEffort);
    assert_eq!(codes(&answers), [Some(102), None, Some(110), None, Some(110)]);
    assert_eq!(kit.reached(), (0..3).collect());
    kit.check();
    // Taken off the list: refused while it has mappings, or with all of them taken out.
    assert!(kit.account.remove_target(owner, holder, Removal::Refuse).is_err());
    kit.account.remove_target(owner, holder, Removal::Revoke).expect("taken out");
    assert!(kit.reached().is_empty());
    let answers = kit.account.map(holder, &[read(0, 1, None)], Mode::BestEffort);
    assert_eq!(codes(&answers), [Some(101)], "default deny");
    kit.check();
}

#[test]
fn what_has_no_device_too_little_behind_it_or_no_slot_is_refused() {
    let mut account = Account::new(Journal::new(2).expect("a journal"));
    let owner = account.add_owner("red");
    let short = MockMemory::new(1, 4);
    let refused = account.add_memory(owner, gpa(0, 8), short.clone(), 0);
    assert_eq!(refused.map_err(|refusal| refusal.code().number), Err(NOT_THERE.number));
    let refused = account.add_memory(owner, gpa(0, 2), short.clone(), 3 * PAGE);
    assert_eq!(refused.map_err(|refusal| refusal.code().number), Err(NOT_THERE.number));
    account.add_memory(owner, gpa(0, 4), short, 0).expect("memory");
    let process = account.add_holder(owner, "a process", None).expect("a holder");
    account.allow(owner, process, gpa(0, 4), Rights::READ_WRITE, None).expect("a grant");
    let answers = account.map(process, &[wish(owner, 0, 1, None)], Mode::BestEffort);
    assert_eq!(codes(&answers), [Some(NO_DOMAIN.number)]);
    let here = Wish { appears: Appears::Host, ..wish(owner, 0, 1, None) };
    let answers = account.map(process, &[here; 3], Mode::BestEffort);
    assert_eq!(codes(&answers), [None, None, Some(JOURNAL_UNFIT.number)], "two slots");
}

/// Invariant `I26`: a device that finds something although nothing is mapped is not taken for confined.
#[test]
fn a_device_that_is_not_behind_its_tables_is_found_out() {
    let mut account = Account::new(Journal::new(8).expect("a journal"));
    let owner = account.add_owner("red");
    let mut bypassing = Mock::with_pages(64);
    let piece = Piece {
        bus: iova(0, 1),
        memory: MockMemory::new(1, 4),
        offset: 0,
        rights: Rights::READ_WRITE,
    };
    assert_eq!(bypassing.map(&[piece]).len(), 1);
    let refused = account.add_holder(owner, "bypassing", Some(Box::new(bypassing)));
    assert_eq!(refused.map_err(|refusal| refusal.code().number), Err(NOT_CONFINED.number));
}
