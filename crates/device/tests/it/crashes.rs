//! Killed after every record of the journal, in the middle of every record, and while recovering:
//! before or after, nothing between.

use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ringfence_device::{Record, Recovered, refusals};

use crate::failures::{card, claimed, code};
use crate::fake::Host;
use crate::kernel::{Kernel, Trouble, kill};

/// Runs `what` and kills it when this many records are on the disk. Whether it came to that.
fn killed_after(host: &Host, records: usize, what: Verb) -> bool {
    let count = Cell::new(0);
    let observer = |_: &Record| {
        count.set(count.get() + 1);
        if count.get() == records {
            kill();
        }
    };
    let kernel = Kernel::of(host);
    let manager = host.manager(&kernel).observed_by(&observer);
    catch_unwind(AssertUnwindSafe(|| match what {
        Verb::Claim => drop(manager.claim(&card()).expect("nothing is in the way")),
        Verb::Release => drop(manager.release(card()[1]).expect("it is claimed")),
        Verb::Recover => drop(manager.recover().expect("a journal of ours")),
    }))
    .is_err()
}

#[derive(Clone, Copy)]
enum Verb {
    Claim,
    Release,
    Recover,
}

/// Begin, five steps, Claimed.
const RECORDS: usize = 7;

#[test]
fn a_claim_killed_after_any_record_is_undone_or_stands() {
    let after = claimed();
    for records in 1..=RECORDS {
        let host = Host::with_card();
        let before = host.state();
        assert!(killed_after(&host, records, Verb::Claim), "there are {records} records");
        let kernel = Kernel::of(&host);
        let recovered = host.manager(&kernel).recover().expect("a journal of ours");
        if records == RECORDS {
            assert!(matches!(&recovered[..], [Recovered::Stands(_)]), "{recovered:?}");
            assert_eq!(host.state(), after);
        } else {
            assert!(matches!(&recovered[..], [Recovered::Undone(_)]), "{recovered:?}");
            assert_eq!(host.state(), before, "killed after {records} records");
            assert!(host.journals().is_empty());
        }
    }
    let host = Host::with_card();
    assert!(!killed_after(&host, RECORDS + 1, Verb::Claim), "there are no more records");
}

#[test]
fn a_record_torn_anywhere_was_not_written() {
    let after = claimed();
    for records in 1..=RECORDS {
        let host = Host::with_card();
        let before = host.state();
        assert!(killed_after(&host, records, Verb::Claim));
        let half_done = host.state();
        let journal = host.journals().remove(0);
        let whole = fs::read(&journal).expect("a journal");
        let lines = whole.split_inclusive(|byte| *byte == b'\n').count();
        assert_eq!(lines, records);
        let last = whole.split_inclusive(|byte| *byte == b'\n').next_back().expect("a line").len();
        // The first record is long; what is torn of it is the same everywhere.
        let cuts = (1..=last).filter(|cut| records > 1 || cut % 16 == 0 || *cut == last);
        for cut in cuts {
            fs::write(&journal, &whole[..whole.len() - cut]).expect("a file of ours");
            let kernel = Kernel::of(&host);
            host.manager(&kernel).recover().expect("a torn journal is no garbled one");
            assert_eq!(host.state(), before, "{cut} bytes of record {records} were lost");
            assert!(host.journals().is_empty());
            for (address, (driver, only)) in &half_done {
                host.set_driver(&address.to_string(), driver.as_deref());
                let file = format!("sys/bus/pci/devices/{address}/driver_override");
                host.write(&file, only.as_deref().unwrap_or("(null)"));
            }
        }
    }
    assert_ne!(after, Host::with_card().state());
}

#[test]
fn a_release_that_was_begun_is_finished() {
    let host = Host::with_card();
    let before = host.state();
    assert!(!killed_after(&host, usize::MAX, Verb::Claim));
    assert!(killed_after(&host, 1, Verb::Release));
    let kernel = Kernel::of(&host);
    let recovered = host.manager(&kernel).recover().expect("a journal of ours");
    assert!(matches!(&recovered[..], [Recovered::Undone(_)]), "{recovered:?}");
    assert_eq!(host.state(), before);
}

#[test]
fn a_release_killed_around_any_write_is_finished() {
    for number in 0..5 {
        for trouble in [Trouble::KilledBefore, Trouble::KilledAfter] {
            let host = Host::with_card();
            let before = host.state();
            assert!(!killed_after(&host, usize::MAX, Verb::Claim));
            let kernel = Kernel::troubled(&host, number, trouble);
            let manager = host.manager(&kernel);
            assert!(catch_unwind(AssertUnwindSafe(|| manager.release(card()[0]))).is_err());
            manager.recover().expect("a journal of ours");
            assert_eq!(host.state(), before, "{trouble:?} at write {number}");
            assert!(host.journals().is_empty());
        }
    }
}

#[test]
fn a_recovery_that_is_killed_is_repeated() {
    for records in 1..RECORDS {
        for number in 0..5 {
            for trouble in [Trouble::KilledBefore, Trouble::KilledAfter] {
                let host = Host::with_card();
                let before = host.state();
                assert!(killed_after(&host, records, Verb::Claim));
                assert!(killed_after(&host, 1, Verb::Recover), "it says so before it begins");
                let kernel = Kernel::troubled(&host, number, trouble);
                let manager = host.manager(&kernel);
                // There may be fewer writes to make than that.
                let _ = catch_unwind(AssertUnwindSafe(|| manager.recover()));
                manager.recover().expect("a journal of ours");
                assert_eq!(host.state(), before, "{records} records, {trouble:?} at {number}");
                assert!(host.journals().is_empty());
            }
        }
    }
}

#[test]
fn another_boot_has_undone_everything_by_itself() {
    let host = Host::with_card();
    assert!(!killed_after(&host, usize::MAX, Verb::Claim));
    let after = host.state();
    host.write("proc/sys/kernel/random/boot_id", "second\n");
    let kernel = Kernel::of(&host);
    let recovered = host.manager(&kernel).recover().expect("a journal of ours");
    assert!(matches!(&recovered[..], [Recovered::Forgotten(_)]), "{recovered:?}");
    assert_eq!(kernel.writes(), 0);
    assert_eq!(host.state(), after, "what this boot has is not touched");
    assert!(host.journals().is_empty());
}

#[test]
fn a_card_swapped_while_claimed_is_left_as_it_is() {
    let host = Host::with_card();
    assert!(!killed_after(&host, usize::MAX, Verb::Claim));
    host.set_driver("0000:01:00.0", Some("igb"));
    host.write("sys/bus/pci/devices/0000:01:00.0/device", "0x1521\n");
    let kernel = Kernel::of(&host);
    host.manager(&kernel).release(card()[0]).expect("the rest is given back");
    let (driver, _) = &host.state()[&card()[1]];
    assert_eq!(driver.as_deref(), Some("igb"));
}

#[test]
fn a_garbled_journal_is_not_acted_on() {
    let host = Host::with_card();
    assert!(killed_after(&host, 3, Verb::Claim));
    let half_done = host.state();
    let journal = host.journals().remove(0);
    let text = fs::read_to_string(&journal).expect("a journal");
    let garbled = text.replacen("e1000e", "nvidia", 1);
    assert_ne!(garbled, text);
    fs::write(&journal, garbled).expect("a file of ours");
    let kernel = Kernel::of(&host);
    let failure = host.manager(&kernel).recover().expect_err("the checksum is wrong");
    assert_eq!(code(&failure), refusals::JOURNAL.number);
    assert!(failure.to_string().contains("line 1"), "{failure}");
    assert_eq!((kernel.writes(), host.state()), (0, half_done));
}
