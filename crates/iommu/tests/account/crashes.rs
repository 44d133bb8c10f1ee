//! The end of whoever keeps the account, at every step: its successor reads the journal, and cuts every
//! device off that reaches anything, before it lets go of anything.

use ringfence_iommu::mock::{Fails, Mock};
use ringfence_iommu::refusals::JOURNAL_UNFIT;
use ringfence_iommu::{Domain, Journal, Mode};
use ringfence_ledger::{Holder, Which, Wish};
use ringfence_refusal::Failure;

use crate::kit::{Kit, iova};

/// What is known of a life that ended: its devices go on.
struct Remains {
    journal: Journal,
    devices: Vec<(Holder, Mock)>,
}

/// A life that ends: everything but what a supervisor keeps is gone.
fn end(kit: Kit) -> Remains {
    let file = kit.account.journal().descriptor().try_clone_to_owned().expect("a copy");
    let devices = kit.holders.iter().copied().zip(kit.devices.clone()).collect();
    drop(kit);
    Remains { journal: Journal::of(file.into()).expect("it is sealed"), devices }
}

impl Remains {
    fn reached(&self) -> usize {
        self.devices.iter().map(|(_, device)| device.reached().len()).sum()
    }

    fn reach(
        &self,
        holder: Holder,
    ) -> Result<Box<dyn Domain<ringfence_iommu::mock::MockMemory>>, Failure> {
        let (_, device) =
            self.devices.iter().find(|(of, _)| *of == holder).expect("it was written down");
        Ok(Box::new(device.clone()))
    }
}

#[test]
fn after_a_crash_every_device_is_cut_off_before_anything_is_let_go() {
    let mut kit = Kit::new(2);
    for holder in kit.holders.clone() {
        let wishes: Vec<Wish> = (0..4).map(|n| kit.wish(n * 4, 4, n * 4)).collect();
        kit.account.map(holder, &wishes, Mode::AllOrNothing);
    }
    kit.account.unmap(kit.holders[0], &[Which::At(iova(0, 4))]);
    let remains = end(kit);
    assert!(remains.reached() > 0, "devices outlive their keeper");
    remains.devices.iter().for_each(|(_, device)| drop(device.take_calls()));
    // One of them cannot be cut off at first.
    remains.devices[1].1.fail(0, Fails::Cleanly);
    let first = remains.journal.recover(|holder| remains.reach(holder)).expect("read");
    assert_eq!((first.settled.len(), first.left.len(), first.damaged), (3, 1, 0));
    assert!(!first.is_clean());
    assert_eq!(remains.devices[0].1.take_calls(), ["fence", "clear"]);
    assert_eq!(remains.journal.found().expect("read").mappings.len(), 4, "they are kept");
    let second = remains.journal.recover(|holder| remains.reach(holder)).expect("read");
    assert!(second.is_clean());
    assert_eq!((second.settled.len(), remains.reached()), (4, 0));
    assert!(remains.journal.found().expect("read").mappings.is_empty());
}

/// A crash before each step of a device, of a history that maps, unmaps and maps again: whatever a device
/// reaches then is in the journal.
#[test]
fn whenever_the_end_comes_what_is_reached_is_in_the_journal() {
    for step in 0..12 {
        let mut kit = Kit::new(1);
        let device = kit.devices[0].clone();
        // A step that never returns is one whose outcome nobody took down: it did its work, or half.
        for how in [Fails::HalfDone, Fails::Cleanly] {
            device.fail(step, how);
        }
        let holder = kit.holders[0];
        for round in 0..3 {
            let wishes: Vec<Wish> = (0..3).map(|n| kit.wish(n * 4, 4, n * 4 + round)).collect();
            kit.account.map(holder, &wishes, Mode::BestEffort);
            kit.account.unmap(holder, &[Which::At(iova(round, 4))]);
            kit.check();
        }
        let remains = end(kit);
        device.behave();
        let recovered = remains.journal.recover(|holder| remains.reach(holder)).expect("read");
        assert!(recovered.is_clean());
        assert_eq!(remains.reached(), 0, "step {step}");
    }
}

#[test]
fn what_is_no_journal_is_refused() {
    let file =
        rustix::fs::memfd_create("open", rustix::fs::MemfdFlags::ALLOW_SEALING).expect("a file");
    rustix::fs::ftruncate(&file, 128).expect("long enough");
    let code = |outcome: Result<Journal, Failure>| match outcome {
        Err(Failure::Refused(refusal)) => refusal.code(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(Journal::of(file.into())), &JOURNAL_UNFIT, "anybody could shorten it");
    assert_eq!(code(Journal::of(std::fs::File::open("/dev/null").expect("there"))), &JOURNAL_UNFIT);
    assert!(Journal::new(0).is_err() && Journal::new(u32::MAX).is_err());
}
