//! All or nothing, whichever write fails, in whichever way.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringfence_addr::PciAddress;
use ringfence_device::{Recovered, refusals};
use ringfence_refusal::Failure;

use crate::fake::{Host, State, at};
use crate::kernel::{Kernel, TROUBLES, Trouble};

pub(crate) fn card() -> Vec<PciAddress> {
    ["0000:00:01.0", "0000:01:00.0", "0000:01:00.1"].map(at).to_vec()
}

/// The state after a claim of the card.
pub(crate) fn claimed() -> State {
    let host = Host::with_card();
    let kernel = Kernel::of(&host);
    host.manager(&kernel).claim(&card()).expect("nothing is in the way");
    host.state()
}

pub(crate) fn code(failure: &Failure) -> u16 {
    match failure {
        Failure::Refused(refusal) => refusal.code().number,
        Failure::Faulted(fault) => panic!("{fault}: {}", fault.io_error()),
    }
}

#[test]
fn a_claim_takes_the_group_and_a_release_gives_it_back() {
    let host = Host::with_card();
    let before = host.state();
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel);
    let claim = manager.claim(&card()).expect("nothing is in the way");
    let vfio = Some("vfio-pci".to_string());
    let after = host.state();
    assert_eq!(after[&at("0000:01:00.0")], (vfio.clone(), vfio.clone()));
    assert_eq!(after[&at("0000:01:00.1")], (vfio.clone(), vfio));
    assert_eq!(after[&at("0000:00:01.0")], (Some("pcieport".to_string()), None));
    assert_eq!(after[&at("0000:00:02.0")], before[&at("0000:00:02.0")], "another group's");
    assert_eq!(manager.claims().expect("a journal of ours"), std::slice::from_ref(&claim));
    assert!(
        matches!(&manager.recover().expect("a journal")[..], [Recovered::Stands(stands)] if *stands == claim)
    );
    assert_eq!(host.state(), after, "recovery leaves a claim that stands");

    // By any of its functions, the bridge too.
    manager.release(at("0000:00:01.0")).expect("it is claimed");
    assert_eq!(host.state(), before);
    assert_eq!(host.journals(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn whichever_write_of_a_claim_fails_everything_is_as_before() {
    let whole = {
        let host = Host::with_card();
        let kernel = Kernel::of(&host);
        host.manager(&kernel).claim(&card()).expect("nothing is in the way");
        kernel.writes()
    };
    assert_eq!(whole, 5, "two overrides, one unbind, two probes");
    for number in 0..whole {
        for trouble in [Trouble::Error, Trouble::Nothing, Trouble::Blocked] {
            let host = Host::with_card();
            let before = host.state();
            let kernel = Kernel::troubled(&host, number, trouble);
            let manager = host.manager(&kernel);
            let failure = manager.claim(&card()).expect_err("a write fails");
            assert_eq!(host.state(), before, "{trouble:?} at write {number}: {failure}");
            assert!(host.journals().is_empty(), "{trouble:?} at write {number}");
            // And it can be claimed again.
            manager.claim(&card()).expect("the trouble is over");
        }
    }
}

#[test]
fn whichever_write_of_a_release_fails_it_can_be_finished() {
    let whole = 5;
    for number in 0..whole {
        for trouble in [Trouble::Error, Trouble::Nothing, Trouble::Blocked] {
            let host = Host::with_card();
            let before = host.state();
            let kernel = Kernel::of(&host);
            host.manager(&kernel).claim(&card()).expect("nothing is in the way");
            let kernel = Kernel::troubled(&host, number, trouble);
            let failure = host.manager(&kernel).release(card()[0]).expect_err("a write fails");
            assert_eq!(code(&failure), refusals::NOT_RESTORED.number, "{failure}");
            assert_eq!(host.journals().len(), 1, "the journal remembers");
            let recovered = host.manager(&kernel).recover().expect("a journal of ours");
            assert!(matches!(&recovered[..], [Recovered::Undone(_)]), "{recovered:?}");
            assert_eq!(host.state(), before, "{trouble:?} at write {number}");
        }
    }
}

#[test]
fn a_driver_that_does_not_let_go_is_named() {
    let host = Host::with_card();
    let kernel = Kernel::troubled(&host, 2, Trouble::Blocked);
    let failure = host.manager(&kernel).claim(&card()).expect_err("the driver keeps it");
    assert_eq!(code(&failure), refusals::DRIVER_KEEPS.number);
    assert!(failure.to_string().contains("0000:01:00.0: e1000e"), "{failure}");
}

#[test]
fn a_probe_that_finds_no_driver_is_seen_by_reading_back() {
    let host = Host::with_card();
    let kernel = Kernel::troubled(&host, 3, Trouble::Nothing);
    let failure = host.manager(&kernel).claim(&card()).expect_err("nothing was bound");
    assert_eq!(code(&failure), refusals::NOT_BOUND.number);
    assert!(failure.to_string().contains("vfio-pci did not take 0000:01:00.0"), "{failure}");
}

#[test]
fn a_driver_that_never_comes_back_leaves_the_others_theirs_and_a_journal() {
    let host = Host::with_card();
    let mut kernel = Kernel::troubled(&host, 4, Trouble::Nothing);
    kernel.gone = Some("e1000e");
    let failure = host.manager(&kernel).claim(&card()).expect_err("a probe fails");
    assert_eq!(code(&failure), refusals::NOT_RESTORED.number);
    assert!(failure.to_string().contains("cannot bind 0000:01:00.0 to e1000e"), "{failure}");
    let state = host.state();
    assert_eq!(state[&at("0000:01:00.0")], (None, None));
    assert_eq!(state[&at("0000:01:00.1")], (None, None));
    let recovered = host.manager(&kernel).recover().expect("a journal of ours");
    assert!(matches!(&recovered[..], [Recovered::Failed(..)]), "{recovered:?}");
    kernel.gone = None;
    let recovered = host.manager(&kernel).recover().expect("a journal of ours");
    assert!(matches!(&recovered[..], [Recovered::Undone(_)]), "{recovered:?}");
    assert_eq!(host.state()[&at("0000:01:00.0")], (Some("e1000e".to_string()), None));
    assert!(host.journals().is_empty());
}

#[test]
fn killed_around_any_write_recovery_leads_to_before_or_after() {
    let after = claimed();
    for number in 0..5 {
        for trouble in TROUBLES.iter().filter(|trouble| format!("{trouble:?}").starts_with('K')) {
            let host = Host::with_card();
            let before = host.state();
            let kernel = Kernel::troubled(&host, number, *trouble);
            let manager = host.manager(&kernel);
            let killed = catch_unwind(AssertUnwindSafe(|| manager.claim(&card())));
            assert!(killed.is_err(), "killed at write {number}");
            // Nobody builds on what is half done.
            let failure = manager.claim(&card()).expect_err("it was interrupted");
            assert_eq!(code(&failure), refusals::INTERRUPTED.number);
            manager.recover().expect("a journal of ours");
            assert_eq!(host.state(), before, "{trouble:?} at write {number}");
            manager.claim(&card()).expect("nothing is in the way");
            assert_eq!(host.state(), after);
        }
    }
}
