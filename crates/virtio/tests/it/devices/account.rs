//! The balloon over an account whose devices have tables: what is discarded is out of them before.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use ringfence_addr::{Gpa, Iova, Rights, Span};
use ringfence_iommu::mock::{Fails, Mock, MockMemory};
use ringfence_iommu::{Account, Event, Journal, Mode};
use ringfence_ledger::refusals::FENCED;
use ringfence_ledger::{Appears, Holder, Milliseconds, Owner, Place, Wish};
use ringfence_refusal::{Failure, Refusal};
use ringfence_virtio::balloon::{Balloon, BalloonOptions};
use ringfence_virtio::{AccountGate, Reachers};

use super::driver::{MUST_TELL_HOST, Machine, PAGE, VERSION_1};
use super::gate::World;

const PAGES: u64 = 2048;
/// Blocks of eight pages that the device has mapped, from this page on.
const FIRST: u64 = 512;
const BLOCK: u64 = 8;
const BLOCKS: u64 = 4;

type Books = Arc<Mutex<Account<MockMemory>>>;

/// A device that is to reach some blocks, at the guest's own addresses.
struct Served {
    account: Books,
    owner: Owner,
    holder: Holder,
}

fn pages(first: u64, count: u64) -> Span<Gpa> {
    Span::from_parts(Gpa::new(first * PAGE), count * PAGE).expect("not empty")
}

impl Served {
    fn map(&self, memory: Span<Gpa>) -> Result<(), Refusal> {
        let place = Place::At(Iova::new(memory.first().get()));
        let (owner, rights, appears) = (self.owner, Rights::READ_WRITE, Appears::Device);
        let wish = Wish { owner, memory, rights, place, appears };
        let mut account = self.account.lock().expect("the account");
        let answers = account.map(self.holder, &[wish], Mode::AllOrNothing);
        answers.into_iter().try_for_each(|answer| match answer {
            Ok(_) => Ok(()),
            Err(Failure::Refused(refusal)) if refusal.code() == &FENCED => Ok(()),
            Err(Failure::Refused(refusal)) => Err(refusal),
            Err(failure) => panic!("{failure}"),
        })
    }
}

impl Reachers for Served {
    fn name(&self, _: Holder) -> String {
        "the card".to_owned()
    }

    fn take_up(&mut self, memory: Span<Gpa>) -> Result<(), Refusal> {
        let blocks = (0..BLOCKS).map(|number| pages(FIRST + number * BLOCK, BLOCK));
        blocks.filter(|block| memory.encloses(block)).try_for_each(|block| self.map(block))
    }

    fn deadline(&self) -> Milliseconds {
        1000
    }
}

struct Scene {
    machine: Machine<Balloon<AccountGate<MockMemory, Served>>>,
    account: Books,
    memory: MockMemory,
    device: Mock,
}

impl Scene {
    fn new() -> Self {
        let journal = Journal::new(64).expect("a journal");
        let mut account = Account::new(journal);
        let owner = account.add_owner("the guest");
        let memory = MockMemory::new(1, PAGES);
        account.add_memory(owner, pages(0, PAGES), memory.clone(), 0).expect("memory");
        let device = Mock::with_pages(PAGES);
        let domain = Box::new(device.clone());
        let holder = account.add_holder(owner, "the card", Some(domain)).expect("a holder");
        account.allow(owner, holder, pages(0, PAGES), Rights::READ_WRITE, None).expect("a grant");
        let account = Arc::new(Mutex::new(account));
        let mut served = Served { account: Arc::clone(&account), owner, holder };
        served.take_up(pages(0, PAGES)).expect("mapped");
        let gate = AccountGate::new(Arc::clone(&account), owner, served);
        let balloon = Balloon::new(gate, BalloonOptions::default());
        // Nobody asks this world for anything.
        let world = World::new(pages(0, 1));
        let mut machine = Machine::with(balloon, world, PAGES * PAGE);
        machine.start(MUST_TELL_HOST | VERSION_1);
        Self { machine, account, memory, device }
    }

    /// The pages of memory that the device reaches, or remembers.
    fn reached(&self) -> BTreeSet<u64> {
        self.device.reached().into_iter().map(|(_, (_, page, _))| page).collect()
    }

    fn send(&mut self, queue: u16, first: u64, count: u64) -> bool {
        let numbers: Vec<u32> = (first..first + count).map(|page| page as u32).collect();
        self.machine.send(queue, &numbers)
    }

    /// Passes on what happened.
    fn settle(&mut self) {
        let events = self.account.lock().expect("the account").take_events();
        self.machine.function.with(|balloon| {
            for event in events {
                if let Event::Retired(owner, memory) = event {
                    balloon.gate().retired(owner, memory);
                }
            }
        });
        self.machine.function.settle().expect("settled");
    }
}

#[test]
fn a_block_leaves_the_tables_before_it_is_discarded_and_comes_back_before_it_is_used() {
    let mut scene = Scene::new();
    let all: BTreeSet<u64> = (FIRST..FIRST + BLOCK * BLOCKS).collect();
    assert_eq!(scene.reached(), all);
    // Pages before the block, and all but one of its own.
    assert!(scene.send(0, FIRST - 4, BLOCK + 3));
    assert_eq!(scene.reached(), all);
    assert_eq!(scene.memory.discarded(), (FIRST - 4..FIRST).collect());
    let status = scene.machine.function.with(|balloon| balloon.status());
    assert_eq!((status.waiting_bytes, status.holders), (7 * PAGE, vec!["the card".to_owned()]));
    // The last one.
    assert!(scene.send(0, FIRST + BLOCK - 1, 1));
    assert_eq!(scene.reached(), (FIRST + BLOCK..FIRST + BLOCK * BLOCKS).collect());
    assert_eq!(scene.memory.discarded(), (FIRST - 4..FIRST + BLOCK).collect());
    scene.settle();
    assert!(scene.send(1, FIRST + 3, 1));
    assert_eq!(scene.reached(), all, "it is mapped again before the guest has its page");
    let status = scene.machine.function.with(|balloon| balloon.status());
    assert_eq!((status.given_back_bytes, status.waiting_bytes), (4 * PAGE, 7 * PAGE));
    assert_eq!(scene.machine.function.refusals().count, 0);
}

/// A device that cannot be talked out of a block keeps it until it is cut off.
#[test]
fn a_block_that_does_not_leave_the_tables_is_waited_for() {
    let mut scene = Scene::new();
    // Taking it out fails, and so does cutting the device off.
    scene.device.fail(0, Fails::Cleanly);
    scene.device.fail(1, Fails::Cleanly);
    assert!(scene.send(0, FIRST, BLOCK));
    assert!(scene.memory.discarded().is_empty(), "{:?}", scene.memory.discarded());
    assert!(scene.reached().contains(&FIRST));
    assert!(!scene.send(1, FIRST, 1), "it cannot be had back either");
    scene.device.behave();
    scene.account.lock().expect("the account").pass(1000);
    scene.settle();
    assert!(scene.reached().is_empty(), "the device is cut off");
    assert!(scene.memory.discarded().contains(&(FIRST + 1)));
    assert!(scene.machine.is_all_answered(1), "the guest has its page, without the device");
    assert_eq!(scene.machine.function.refusals().count, 0);
}
