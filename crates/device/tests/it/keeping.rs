//! Keeping claims: what a keeper finds, tells once, and leaves to others.
//!
//! Nothing can be held on a host that is a folder, which is a case of its own; holding is shown on
//! real kernels.

use std::fs;

use ringfence_device::{Breach, Event, Keeper, Strength, What};

use crate::failures::card;
use crate::fake::{Host, NETWORK, at};
use crate::kernel::Kernel;

const NAME: &str = "0000:00+01.0";

fn event(what: What) -> Event {
    Event { claim: Some(NAME.to_owned()), what }
}

/// A host with the card claimed by somebody, to be locked so.
fn host(strength: Strength) -> Host {
    let host = Host::with_card();
    let kernel = Kernel::of(&host);
    host.manager(&kernel).locking(strength).claim(&card()).expect("nothing is in the way");
    host
}

#[test]
fn what_comes_in_is_told_once_and_when_it_is_no_more() {
    let host = host(Strength::Watched);
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel);
    let mut keeper = Keeper::default();
    assert_eq!(keeper.look(&manager), []);
    let function = at("0000:01:00.0");
    host.set_driver("0000:01:00.0", Some("igb"));
    let (driver, expected) = (Some("igb".to_owned()), Some("vfio-pci".to_owned()));
    let foreign = Breach::Driver { function, driver, expected };
    assert_eq!(keeper.look(&manager), [event(What::Breach(foreign.clone()))]);
    assert_eq!(keeper.look(&manager), []);
    host.function("0000:00:01.0", "0000:01:00.2", NETWORK, None);
    let newcomer = Breach::Newcomer { function: at("0000:01:00.2"), driver: None };
    assert_eq!(keeper.look(&manager), [event(What::Breach(newcomer.clone()))]);
    host.set_driver("0000:01:00.0", Some("vfio-pci"));
    assert_eq!(keeper.look(&manager), [event(What::Mended(foreign))]);
    let kept: Vec<_> = keeper.kept().collect();
    assert_eq!((kept.len(), kept[0].events(), kept[0].reason()), (1, 2, None));
    assert_eq!((kept[0].breaches(), kept[0].strength()), (&[newcomer][..], Strength::Watched));
}

#[test]
fn what_cannot_be_held_is_watched_and_the_reason_told_once() {
    let host = host(Strength::Held);
    host.write("dev/vfio/vfio", "");
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel);
    let mut keeper = Keeper::default();
    let told = keeper.look(&manager);
    let [Event { claim: Some(claim), what: What::NotHeld(why) }] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(claim == NAME && why.contains("RF0717"), "{told:?}");
    assert_eq!(keeper.look(&manager), []);
    assert_eq!(keeper.kept().next().and_then(|kept| kept.reason()), Some(why.as_str()));
    // There is nothing to say once it need not be held.
    manager.lock(card()[0], Strength::Watched).expect("it stands");
    assert_eq!(keeper.look(&manager), []);
    assert_eq!(keeper.kept().next().and_then(|kept| kept.reason()), None);
}

#[test]
fn claims_come_and_go_by_others_hands() {
    let host = Host::with_card();
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel).locking(Strength::Watched);
    let mut keeper = Keeper::default();
    assert_eq!(keeper.look(&manager), []);
    assert_eq!(keeper.kept().count(), 0);
    manager.claim(&card()).expect("nothing is in the way");
    assert_eq!(keeper.look(&manager), []);
    assert_eq!(keeper.kept().count(), 1);
    manager.release(card()[0]).expect("nobody holds it");
    assert_eq!(keeper.look(&manager), [event(What::Released)]);
    assert_eq!(keeper.kept().count(), 0);
}

#[test]
fn a_claim_set_aside_is_left_alone() {
    let host = host(Strength::Watched);
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel);
    let mut keeper = Keeper::default();
    keeper.look(&manager);
    assert_eq!(keeper.set_aside(at("0000:00:02.0")), None);
    assert_eq!(keeper.set_aside(card()[1]).as_deref(), Some(NAME));
    // As while it is being released.
    host.set_driver("0000:01:00.0", None);
    assert_eq!(keeper.look(&manager), []);
    keeper.resume(NAME);
    assert_eq!(keeper.look(&manager).len(), 1);
    keeper.set_aside(card()[1]);
    manager.release(card()[1]).expect("nobody holds it");
    keeper.resume(NAME);
    assert_eq!(keeper.look(&manager), [event(What::Released)]);
}

#[test]
fn a_claim_that_somebody_works_on_is_not_called_broken_into() {
    let host = host(Strength::Watched);
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel);
    let mut keeper = Keeper::default();
    keeper.look(&manager);
    // Whoever releases it has its journal locked while drivers come and go.
    let journal = fs::File::open(&host.journals()[0]).expect("a journal");
    let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&journal, lock).expect("nobody has it");
    host.set_driver("0000:01:00.0", None);
    assert_eq!(keeper.look(&manager), []);
    drop(journal);
    assert_eq!(keeper.look(&manager).len(), 1);
}

#[test]
fn one_garbled_journal_does_not_hide_what_happens_to_other_claims() {
    let host = host(Strength::Watched);
    let kernel = Kernel::of(&host);
    let manager = host.manager(&kernel);
    let mut keeper = Keeper::default();
    keeper.look(&manager);
    host.write("run/ringfence/claims/other.journal", "no\njournal\n");
    host.set_driver("0000:01:00.0", Some("igb"));
    let told = keeper.look(&manager);
    let [Event { claim: None, what: What::NotListed(why) }, breach] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(why.contains("RF0716"), "{why}");
    assert!(matches!(&breach.what, What::Breach(_)), "{breach:?}");
    assert_eq!(keeper.look(&manager), []);
}
