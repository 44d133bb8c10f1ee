//! Whoever is gone takes all that he had with him, and his device is cut off first.

use std::io::Write;
use std::os::unix::fs::FileExt;

use ringfence_iommu::service::batch::Answer;
use ringfence_iommu::service::control::{Control, Happened, Reply};
use ringfence_iommu::{Journal, Mode};

use crate::kit::{Kit, PAGE, memory, wish};

#[test]
fn a_holder_that_is_gone_reaches_nothing_and_leaves_no_trace() {
    let kit = Kit::new();
    let (owner, file) = kit.owner("red");
    let mut holder = kit.holder("red");
    let answers = holder.map(&[wish(&holder, 0, 4), wish(&holder, 8, 4)], Mode::AllOrNothing);
    let answers = answers.expect("answered");
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Mapped(_, Some(_)))));
    assert_eq!(kit.device.reached(), 8);
    let file = std::fs::File::from(file);
    file.write_all_at(&[7; 4096], 2 * PAGE).expect("written");

    // The owner wants a page back: it is told who has it.
    let retire = |page, within| Control::Retire {
        memory: memory(page, 1).into(),
        within_milliseconds: within,
        revoke: false,
    };
    let busy = Reply::Busy { holders: vec!["nic".to_owned()] };
    assert_eq!(owner.ask(&retire(2, None)).expect("answered"), busy);

    // Killed in the middle of a message.
    drop(holder);
    kit.expect_soon("the device is cut off", || kit.device.reached() == 0);
    assert_eq!(kit.device.take_calls(), ["fence", "clear"]);
    kit.expect_soon("the page is free", || {
        owner.ask(&retire(2, None)).expect("answered") == Reply::Free
    });
    let mut page = [1; 4096];
    file.read_exact_at(&mut page, 2 * PAGE).expect("read");
    assert_eq!(page, [0; 4096], "the system has it");
    let journal = Journal::of(kit.service.journal().expect("a copy").into()).expect("sealed");
    assert!(journal.found().expect("read").mappings.is_empty());
    // Its name is free again.
    let mut holder = kit.holder("red");
    assert!(holder.map(&[wish(&holder, 0, 1)], Mode::AllOrNothing).is_ok());
}

#[test]
fn an_owner_that_is_gone_has_its_devices_cut_off() {
    let kit = Kit::new();
    let (owner, _file) = kit.owner("red");
    let mut holder = kit.holder("red");
    holder.map(&[wish(&holder, 0, 4)], Mode::AllOrNothing).expect("answered");
    drop(owner);
    kit.expect_soon("the device is cut off", || kit.device.reached() == 0);
    assert_eq!(kit.device.take_calls(), ["fence", "clear"]);
    let answers = holder.map(&[wish(&holder, 0, 4)], Mode::BestEffort).expect("answered");
    assert!(matches!(answers[..], [Answer::Refused(105 | 114, _)]), "{answers:?}");
}

#[test]
fn a_holder_that_does_not_let_go_in_time_is_cut_off() {
    let kit = Kit::new();
    let (owner, _file) = kit.owner("red");
    let mut holder = kit.holder("red");
    holder.map(&[wish(&holder, 0, 4)], Mode::AllOrNothing).expect("answered");
    let retire = Control::Retire {
        memory: memory(1, 1).into(),
        within_milliseconds: Some(50),
        revoke: false,
    };
    let revoking = Reply::Revoking { holders: vec!["nic".to_owned()] };
    assert_eq!(owner.ask(&retire).expect("answered"), revoking);
    let mut happened = Vec::new();
    kit.expect_soon("the owner is told", || {
        happened.extend(owner.events().expect("answered"));
        happened.len() == 2
    });
    let fenced = Happened::Fenced { holder: "nic".to_owned(), mappings: 1 };
    assert_eq!(happened, [fenced, Happened::Retired { memory: memory(1, 1).into() }]);
    assert_eq!(kit.device.reached(), 0);
}

/// What became of one owner's holder is no other owner's to know; and it is told by its name, though it is gone.
#[test]
fn an_owner_hears_of_its_own_holders_alone() {
    let kit = Kit::new();
    let (red, _file) = kit.owner("red");
    let (blue, _other) = kit.owner("blue");
    let mut holder = kit.holder("red");
    holder.map(&[wish(&holder, 0, 4)], Mode::AllOrNothing).expect("answered");
    drop(holder);
    let mut happened = Vec::new();
    kit.expect_soon("its owner is told", || {
        happened.extend(red.events().expect("answered"));
        !happened.is_empty()
    });
    assert_eq!(happened, [Happened::Fenced { holder: "nic".to_owned(), mappings: 1 }]);
    assert_eq!(blue.events().expect("answered"), Vec::new());
}

#[test]
fn what_is_cut_short_ends_the_connection_and_what_it_had() {
    let kit = Kit::new();
    let (_owner, _file) = kit.owner("red");
    let stream = kit.connect();
    let copy = stream.try_clone().expect("a copy");
    let device = Some("0000:00:02.0");
    let (mut holder, _) =
        ringfence_iommu::service::HolderClient::new(stream, "red", "nic", device).expect("listed");
    holder.map(&[wish(&holder, 0, 4)], Mode::AllOrNothing).expect("answered");
    let mut copy = copy;
    copy.write_all(&[9, 0, 0, 0, 1, 0, 0, 0, 1, 2]).expect("sent");
    copy.shutdown(std::net::Shutdown::Both).expect("closed");
    kit.expect_soon("the device is cut off", || kit.device.reached() == 0);
}
