//! Every way the ledger says no, and that what it said no to changed nothing.

use ringfence_addr::{Gpa, Rights, Span};
use ringfence_ledger::refusals::{EMPTY, NOT_GRANTED, NOT_OWNED, OVERLAPS, RIGHTS, STALE, WRAPS};
use ringfence_ledger::{Claim, Holder, Ledger, Owner};
use ringfence_refusal::{Code, Refusal};

fn span(first: u64, last: u64) -> Span<Gpa> {
    Span::new(Gpa::new(first), Gpa::new(last)).expect("first is not above last")
}

fn claim(first: u64, last: u64, rights: Rights) -> Claim<Gpa> {
    Claim::new(span(first, last), rights)
}

#[track_caller]
fn refused<T>(result: Result<T, Refusal>, code: &'static Code) {
    match result {
        Err(refusal) => assert_eq!(refusal.code(), code, "{refusal}"),
        Ok(_) => panic!("{code} was expected"),
    }
}

/// A VM with memory at 0x1000-0x4fff, of which a disk may read all and write 0x2000-0x2fff.
fn disk_of_a_vm() -> (Ledger, Owner, Holder) {
    let mut ledger = Ledger::new();
    let owner = ledger.add_owner("a VM");
    ledger.add_memory(owner, span(0x1000, 0x4fff)).expect("new memory");
    let disk = ledger.add_holder(owner, "its disk").expect("the owner is there");
    ledger.grant(disk, span(0x1000, 0x4fff), Rights::READ).expect("the owner's memory");
    ledger.grant(disk, span(0x2000, 0x2fff), Rights::READ_WRITE).expect("the owner's memory");
    (ledger, owner, disk)
}

#[test]
fn numbers_that_are_no_span() {
    let of = |first, length| Claim::from_numbers(Gpa::new(first), length, Rights::READ);
    refused(of(0x1000, 0), &EMPTY);
    refused(of(u64::MAX, 0), &EMPTY);
    refused(of(u64::MAX, 2), &WRAPS);
    assert_eq!(of(1, u64::MAX).expect("it just fits").span().last(), Gpa::new(u64::MAX));
    refused(of(2, u64::MAX), &WRAPS);
    assert_eq!(of(u64::MAX, 1).expect("the last address").span().last(), Gpa::new(u64::MAX));
}

#[test]
fn claims_to_what_was_not_granted() {
    let (ledger, _, disk) = disk_of_a_vm();
    for (first, last) in [(0, 0), (0xfff, 0x1000), (0x4fff, 0x5000), (0, u64::MAX)] {
        refused(ledger.check(disk, claim(first, last, Rights::READ)), &NOT_GRANTED);
    }
    let permit = ledger.check(disk, claim(0x1000, 0x4fff, Rights::READ)).expect("all of it");
    assert_eq!(permit.span(), span(0x1000, 0x4fff));
}

#[test]
fn claims_to_more_than_was_granted() {
    let (ledger, _, disk) = disk_of_a_vm();
    refused(ledger.check(disk, claim(0x1000, 0x1000, Rights::WRITE)), &RIGHTS);
    // Across a grant that would do and one that does not.
    refused(ledger.check(disk, claim(0x2fff, 0x3000, Rights::WRITE)), &RIGHTS);
    refused(ledger.check(disk, claim(0x1fff, 0x2000, Rights::READ_WRITE)), &RIGHTS);
    let permit = ledger.check(disk, claim(0x2000, 0x2fff, Rights::WRITE)).expect("writable");
    assert_eq!(permit.rights(), Rights::WRITE);
}

#[test]
fn memory_named_twice() {
    let (mut ledger, owner, disk) = disk_of_a_vm();
    for (first, last) in [(0x1000, 0x4fff), (0, 0x1000), (0x4fff, 0x8000), (0, u64::MAX)] {
        refused(ledger.add_memory(owner, span(first, last)), &OVERLAPS);
    }
    assert_eq!(ledger.memory_bytes(owner).expect("there"), 0x4000);
    refused(ledger.check(disk, claim(0, 0, Rights::READ)), &NOT_GRANTED);
}

#[test]
fn memory_that_is_not_the_owners() {
    let (mut ledger, owner, disk) = disk_of_a_vm();
    refused(ledger.grant(disk, span(0x4000, 0x5000), Rights::READ), &NOT_OWNED);
    refused(ledger.remove_memory(owner, span(0, 0x1000)), &NOT_OWNED);
    refused(ledger.remove_memory(owner, span(0, u64::MAX)), &NOT_OWNED);
    assert_eq!(ledger.memory_bytes(owner).expect("there"), 0x4000);
    ledger.check(disk, claim(0x1000, 0x4fff, Rights::READ)).expect("nothing was changed");
}

#[test]
fn memory_taken_back_is_granted_no_more() {
    let (mut ledger, owner, disk) = disk_of_a_vm();
    ledger.remove_memory(owner, span(0x2000, 0x2fff)).expect("the owner's memory");
    refused(ledger.check(disk, claim(0x1000, 0x4fff, Rights::READ)), &NOT_GRANTED);
    // Entered again, it is the owner's and not yet the disk's.
    ledger.add_memory(owner, span(0x2000, 0x2fff)).expect("it was taken out");
    refused(ledger.check(disk, claim(0x2000, 0x2000, Rights::READ)), &NOT_GRANTED);
    ledger.revoke(disk, span(0, u64::MAX)).expect("the disk is there");
    refused(ledger.check(disk, claim(0x1000, 0x1000, Rights::READ)), &NOT_GRANTED);
}

#[test]
fn the_memory_of_another() {
    let (mut ledger, _, disk) = disk_of_a_vm();
    let other = ledger.add_owner("another VM");
    ledger.add_memory(other, span(0x8000, 0x8fff)).expect("new memory");
    refused(ledger.grant(disk, span(0x8000, 0x8fff), Rights::READ), &NOT_OWNED);
    refused(ledger.check(disk, claim(0x8000, 0x8000, Rights::READ)), &NOT_GRANTED);
}

#[test]
fn ids_of_what_is_gone() {
    let (mut ledger, owner, disk) = disk_of_a_vm();
    ledger.remove_holder(disk).expect("the disk is there");
    let next = ledger.add_holder(owner, "in its place").expect("the owner is there");
    refused(ledger.check(disk, claim(0x1000, 0x1000, Rights::READ)), &STALE);
    refused(ledger.grant(disk, span(0x1000, 0x1000), Rights::READ), &STALE);
    refused(ledger.revoke(disk, span(0x1000, 0x1000)), &STALE);
    refused(ledger.remove_holder(disk), &STALE);
    refused(ledger.check(next, claim(0x1000, 0x1000, Rights::READ)), &NOT_GRANTED);
}
