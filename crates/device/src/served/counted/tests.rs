//! That nothing is reached but what the account counts, with tables that are a model.

use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard};

use ringfence_addr::{Gpa, Iova, Rights, Span, SpanSet};
use ringfence_iommu::mock::{Fails, Mock, MockMemory};
use ringfence_iommu::{Account, Journal, Removal};
use ringfence_ledger::refusals::{FENCED, NOT_GRANTED};
use ringfence_ledger::{Holder, Owner, Retirement};
use ringfence_refusal::{Failure, Fault};
use ringfence_vfio_user::{DmaMapping, DmaMemory};

use super::super::backing::SharedMemory;
use super::super::memory::{Extent, Memory, Reach};
use super::super::{Block, Counted, GuestMemory, OfFile};
use crate::refusals::NOT_OF_THE_VM;

const MIB: u64 = 1 << 20;
/// Where the VM has memory, and where in its file that is.
const LOW: u64 = 8 * MIB;
const HIGH: u64 = 1 << 32;

impl OfFile for MockMemory {
    fn of_file(memory: &SharedMemory, offset: u64, bytes: u64) -> Result<Self, Fault> {
        let length = memory.file().metadata().expect("a file").len();
        if offset + bytes > length {
            return Err(Fault::new("map", "a file", rustix::io::Errno::INVAL));
        }
        Ok(Self::new(7, bytes / 4096))
    }
}

struct Kit {
    account: Arc<Mutex<Account<MockMemory>>>,
    owner: Owner,
    holder: Holder,
    device: Mock,
    counted: Counted<MockMemory>,
    file: File,
    block: Block,
}

impl Kit {
    fn new() -> Self {
        let journal = Journal::new(1024).expect("a journal");
        let account = Arc::new(Mutex::new(Account::new(journal)));
        let device = Mock::new([span(0, 1 << 40)].into_iter().collect());
        let mut books = account.lock().expect("nobody panicked");
        let owner = books.add_owner("desk");
        let domain = Some(Box::new(device.clone()) as Box<_>);
        let holder = books.add_holder(owner, "0000:00:01.0", domain).expect("entered");
        drop(books);
        let planned: SpanSet<Gpa> = [gpa(0, LOW), gpa(HIGH, 8 * MIB)].into_iter().collect();
        let guest = GuestMemory::new(Arc::clone(&account), owner, planned);
        guest.admit(holder, Rights::READ_WRITE).expect("admitted");
        let counted = Counted::new(Arc::clone(&account), guest, holder);
        let block = Block::for_memory(16 * MIB).expect("a block");
        Self { account, owner, holder, device, counted, file: file(16 * MIB), block }
    }

    fn books(&self) -> MutexGuard<'_, Account<MockMemory>> {
        self.account.lock().expect("nobody panicked")
    }

    fn map_of(&mut self, file: &File, bus: Span<Iova>, offset: u64) -> Result<(), Failure> {
        let descriptor = file.try_clone().expect("a duplicate").into();
        let memory = SharedMemory::new(descriptor, offset).expect("memory");
        let blocks: Vec<_> = self.block.cut(bus).collect();
        let extent = Extent { bus, memory: &memory, rights: Rights::READ_WRITE };
        self.counted.map(extent, &blocks)
    }

    fn map(&mut self, bus: Span<Iova>, offset: u64) -> Result<(), Failure> {
        let file = self.file.try_clone().expect("a duplicate");
        self.map_of(&file, bus, offset)
    }

    /// How many pages the device reaches.
    fn reached(&self) -> u64 {
        self.device.reached().len() as u64
    }

    /// How many pages the books have.
    fn charged(&self) -> u64 {
        self.books().ledger().charged_frames(self.owner).expect("the owner is there")
    }
}

fn file(bytes: u64) -> File {
    let memfd = rustix::fs::memfd_create("memory", rustix::fs::MemfdFlags::CLOEXEC);
    let file: File = memfd.expect("a memfd").into();
    file.set_len(bytes).expect("its length");
    file
}

fn span(first: u64, length: u64) -> Span<Iova> {
    Span::from_parts(Iova::new(first), length).expect("a span")
}

fn gpa(first: u64, length: u64) -> Span<Gpa> {
    Span::from_parts(Gpa::new(first), length).expect("a span")
}

fn code(outcome: Result<(), Failure>) -> u16 {
    match outcome.expect_err("refused") {
        Failure::Refused(refusal) => refusal.code().number,
        Failure::Faulted(fault) => panic!("{fault}"),
    }
}

#[test]
fn what_is_reached_is_counted_by_where_the_guest_has_it() {
    let mut kit = Kit::new();
    kit.map(span(0, 3 * MIB), 0).expect("mapped");
    kit.map(span(HIGH, 8 * MIB), 8 * MIB).expect("mapped");
    assert_eq!((kit.reached(), kit.charged()), (11 * 256, 11 * 256));
    // An IOMMU of the guest's shows it elsewhere: the same memory, counted once.
    kit.map(span(1 << 36, MIB), 8 * MIB).expect("mapped");
    assert_eq!((kit.reached(), kit.charged()), (12 * 256, 11 * 256));
    assert_eq!(kit.books().ledger().entries().count(), 2 + 4 + 1);
    let of = |kit: &Kit, span| kit.books().ledger().holders_of(kit.owner, span).len();
    assert_eq!((of(&kit, gpa(HIGH, 4096)), of(&kit, gpa(4 * MIB, 4096))), (1, 0));
    assert!(kit.counted.is_reached(span(0, 2 * MIB)));
    kit.counted.unmap(&[span(0, 2 * MIB)]).expect("taken away");
    assert!(!kit.counted.is_reached(span(0, 2 * MIB)));
    assert_eq!(kit.charged(), 9 * 256);
}

/// Invariant `I21`.
#[test]
fn what_is_not_the_vms_by_its_plan_is_nobodys() {
    let mut kit = Kit::new();
    let not_of_the_vm = NOT_OF_THE_VM.number;
    // Beside its memory; across its end; in a file that begins elsewhere; in a second one.
    assert_eq!(code(kit.map(span(LOW, MIB), 0)), not_of_the_vm);
    assert_eq!(code(kit.map(span(LOW - MIB, 2 * MIB), LOW - MIB)), not_of_the_vm);
    assert_eq!(code(kit.map(span(2 * MIB, MIB), MIB)), not_of_the_vm);
    kit.map(span(0, MIB), 0).expect("mapped");
    assert_eq!(code(kit.map_of(&file(16 * MIB), span(2 * MIB, MIB), 2 * MIB)), not_of_the_vm);
    assert_eq!(code(kit.map_of(&file(16 * MIB), span(1 << 36, MIB), 0)), not_of_the_vm);
    // A span that would share memory with another: one page would be two.
    assert_eq!(code(kit.map(span(HIGH + 6 * MIB, MIB), 10 * MIB)), not_of_the_vm);
    let short = file(9 * MIB);
    assert!(kit.map_of(&short, span(HIGH, MIB), 8 * MIB).is_err(), "a file that is too short");
    assert_eq!((kit.reached(), kit.charged()), (256, 256));
}

#[test]
fn a_page_that_the_function_reaches_is_not_given_back() {
    let mut kit = Kit::new();
    kit.map(span(0, 8 * MIB), 0).expect("mapped");
    let (owner, holder) = (kit.owner, kit.holder);
    let page = gpa(3 * MIB, 4096);
    let answer = kit.books().retire(owner, page, None).expect("asked");
    assert_eq!(answer, Retirement::Busy(vec![holder]));
    // Its block goes, and only it; then the page is free, and stays out of reach.
    assert_eq!(kit.books().withdraw_mappings(owner, page), Ok(true));
    assert!(!kit.counted.is_reached(span(2 * MIB, 2 * MIB)));
    assert_eq!(kit.reached(), 6 * 256);
    assert_eq!(kit.books().retire(owner, page, None), Ok(Retirement::Free));
    assert!(kit.map(span(2 * MIB, 2 * MIB), 2 * MIB).is_err(), "it was given back");
    kit.books().take_again(owner, page).expect("taken again");
    kit.map(span(2 * MIB, 2 * MIB), 2 * MIB).expect("mapped");
    assert_eq!(kit.reached(), 8 * 256);
}

/// The client of a function says what it maps; what of it was given back comes with the next balloon.
#[test]
fn what_was_given_back_is_withheld_from_a_mapping_and_no_more_than_that() {
    let mut kit = Kit::new();
    // The memory is known once some of it came.
    kit.map(span(6 * MIB, MIB), 6 * MIB).expect("mapped");
    let page = gpa(3 * MIB, 4096);
    assert_eq!(kit.books().retire(kit.owner, page, None), Ok(Retirement::Free));
    let Kit { account, owner, counted, file, block, .. } = kit;
    let mut memory = Memory::new(counted, block);
    let descriptor = file.try_clone().expect("a duplicate").into();
    let shared = Some(DmaMemory { descriptor, file_offset: 0 });
    let rights = Rights::READ_WRITE;
    let mapping = DmaMapping { span: span(0, 6 * MIB), rights, memory: shared };
    memory.map(mapping).expect("mapped, but for a block");
    let amounts = memory.amounts();
    assert_eq!((amounts.reached, amounts.withheld), (4 * MIB, 2 * MIB));
    let refusal = memory.take_up(page).expect_err("it is not the guest's");
    assert!(refusal.to_string().starts_with("RF0109"), "{refusal}");
    account.lock().expect("nobody panicked").take_again(owner, page).expect("taken again");
    assert_eq!(memory.take_up(page).expect("taken up"), 1);
    assert_eq!(memory.amounts().reached, 6 * MIB);
}

#[test]
fn a_holder_that_is_off_the_list_reaches_nothing() {
    let mut kit = Kit::new();
    kit.map(span(0, 4 * MIB), 0).expect("mapped");
    let (owner, holder) = (kit.owner, kit.holder);
    kit.books().remove_target(owner, holder, Removal::Revoke).expect("removed");
    assert_eq!(kit.reached(), 0);
    assert_eq!(code(kit.map(span(4 * MIB, MIB), 4 * MIB)), NOT_GRANTED.number);
}

#[test]
fn one_that_was_cut_off_reaches_nothing_until_it_is_readmitted() {
    let mut kit = Kit::new();
    kit.map(span(0, 4 * MIB), 0).expect("mapped");
    kit.counted.cut_off().expect("cut off");
    assert_eq!((kit.reached(), kit.charged()), (0, 0));
    assert_eq!(code(kit.map(span(0, MIB), 0)), FENCED.number);
    kit.counted.readmit().expect("readmitted");
    kit.map(span(0, MIB), 0).expect("mapped");
    // One that cannot be is in quarantine, and is not readmitted.
    kit.device.fail(0, Fails::Cleanly);
    kit.counted.cut_off().expect_err("it cannot be");
    kit.counted.readmit().expect_err("it is counted");
    assert_eq!(kit.charged(), 256);
    kit.counted.cut_off().expect("it can be");
    let Kit { account, owner, holder, device, counted, .. } = kit;
    drop(counted);
    assert!(device.reached().is_empty());
    let books = account.lock().expect("nobody panicked");
    assert!(books.ledger().mapping_count(holder).is_err(), "the holder is forgotten");
    assert_eq!(books.ledger().charged_frames(owner), Ok(0));
}
