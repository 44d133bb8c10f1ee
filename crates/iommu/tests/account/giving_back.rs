//! An owner gets memory when nothing reaches it, and not before: balloons under devices.

use ringfence_iommu::{Event, Mode, Reached};
use ringfence_ledger::{Retirement, Which};

use crate::kit::{Kit, gpa, iova};

#[test]
fn memory_that_a_device_reaches_is_refused_and_then_granted() {
    let mut kit = Kit::new(2);
    let (holder, owner) = (kit.holders[0], kit.owner);
    let wishes = [kit.wish(0, 8, 0), kit.wish(8, 8, 8)];
    kit.account.map(holder, &wishes, Mode::AllOrNothing);
    let answer = kit.account.retire(owner, gpa(4, 1), None);
    assert_eq!(answer, Ok(Retirement::Busy(vec![holder])), "who, by name");
    assert!(kit.memory.discarded().is_empty());
    assert_eq!(kit.account.retire(owner, gpa(100, 2), None), Ok(Retirement::Free));
    assert_eq!(kit.memory.discarded(), (100..102).collect());

    let answers = kit.account.unmap(holder, &[Which::At(iova(0, 8))]);
    assert!(matches!(answers[..], [Ok(Reached::No)]));
    assert_eq!(kit.account.retire(owner, gpa(4, 1), None), Ok(Retirement::Free));
    assert_eq!(kit.memory.discarded(), [4, 100, 101].into());
    assert_eq!(kit.reached(), (8..16).collect());
    // Nothing begins there until the owner takes it again.
    let again = kit.account.map(holder, &[kit.wish(4, 1, 100)], Mode::BestEffort);
    assert!(again[0].is_err());
    kit.account.take_again(owner, gpa(4, 1)).expect("it was given back");
    let again = kit.account.map(holder, &[kit.wish(4, 1, 100)], Mode::BestEffort);
    assert!(again[0].is_ok());
    kit.check();
}

#[test]
fn a_holder_that_does_not_let_go_in_time_is_cut_off_first() {
    let mut kit = Kit::new(2);
    let (slow, quick, owner) = (kit.holders[0], kit.holders[1], kit.owner);
    let wishes = [kit.wish(0, 8, 0)];
    for holder in [slow, quick] {
        kit.account.map(holder, &wishes, Mode::AllOrNothing);
    }
    let answer = kit.account.retire(owner, gpa(0, 2), Some(50));
    assert_eq!(answer, Ok(Retirement::Revoking(vec![slow, quick])));
    kit.account.unmap(quick, &[Which::At(iova(0, 8))]);
    kit.account.pass(49);
    assert_eq!(kit.account.take_events(), []);
    kit.devices[0].take_calls();
    kit.account.pass(50);
    assert_eq!(kit.devices[0].take_calls(), ["fence", "clear"]);
    let expected = [Event::Fenced(slow, 1), Event::Retired(owner, gpa(0, 2))];
    assert_eq!(kit.account.take_events(), expected);
    assert_eq!(kit.memory.discarded(), [0, 1].into());
    kit.check();
    // The device was cut off, and may begin anew when it was reset.
    assert!(kit.account.map(slow, &[kit.wish(8, 1, 8)], Mode::BestEffort)[0].is_err());
    kit.account.readmit(slow).expect("nothing is left");
    assert!(kit.account.map(slow, &[kit.wish(8, 1, 8)], Mode::BestEffort)[0].is_ok());
}

#[test]
fn what_an_owner_promised_not_to_use_is_taken_from_devices() {
    let mut kit = Kit::new(2);
    let owner = kit.owner;
    for holder in kit.holders.clone() {
        let wishes = [kit.wish(0, 8, 0), kit.wish(8, 8, 8), kit.wish(16, 8, 16)];
        kit.account.map(holder, &wishes, Mode::AllOrNothing);
    }
    assert_eq!(kit.account.withdraw_mappings(owner, gpa(10, 1)), Ok(true));
    assert_eq!(kit.reached(), (0..8).chain(16..24).collect());
    assert_eq!(kit.account.retire(owner, gpa(8, 8), None), Ok(Retirement::Free));
    kit.check();
}
