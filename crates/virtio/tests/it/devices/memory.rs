//! The memory device: what it answers, against a plain model of its blocks, and what a guest may try.

use std::os::fd::{AsFd, OwnedFd};

use proptest::prelude::*;
use ringfence_addr::{Alignment, Gpa, Iova, Rights, Span};
use ringfence_refusal::Failure;
use ringfence_vfio_user::{Device, DmaMapping, DmaMemory};
use ringfence_virtio::LedgerGate;
use ringfence_virtio::memory_device::{MemoryDevice, MemoryStatus};
use ringfence_virtio::refusals::{BAD_DEVICE_REQUEST, NO_REGION, REQUEST_TOO_LONG};

use super::driver::{Machine, NEXT, PAGE, PAYLOAD, VERSION_1, WRITE, memory_file};
use super::gate::World;

const BYTES: u64 = 1 << 20;
const BLOCKS: u64 = 16;
const BLOCK: u64 = 2 * PAGE;
/// Where answers go.
const ANSWER: u64 = PAYLOAD + 0x100;

const ACK: u16 = 0;
const NACK: u16 = 1;
const BUSY: u16 = 2;
const ERROR: u16 = 3;

const PLUG: u16 = 0;
const UNPLUG: u16 = 1;
const UNPLUG_ALL: u16 = 2;
const STATE: u16 = 3;

struct Guest {
    machine: Machine<MemoryDevice<LedgerGate<World>>>,
    plug: OwnedFd,
    region: Span<Gpa>,
}

fn region_at(first: u64) -> Span<Gpa> {
    Span::from_parts(Gpa::new(first), BLOCKS * BLOCK).expect("not empty")
}

impl Guest {
    /// One that finds the region there.
    fn new(first: u64) -> Self {
        let region = region_at(first);
        let world = World::new(Span::from_parts(Gpa::new(0), BYTES).expect("not empty"));
        let plug = memory_file(BLOCKS * BLOCK, true);
        let block = Alignment::new(BLOCK).expect("a power of two");
        let device = MemoryDevice::new(world.gate(), plug.as_fd(), BLOCKS * BLOCK, block);
        let machine = Machine::with(device.expect("a device"), world, BYTES);
        let mut guest = Self { machine, plug, region };
        guest.show();
        guest.machine.start(VERSION_1 | 2);
        guest
    }

    fn bus(&self) -> Span<Iova> {
        self.region.rebase(Iova::new(self.region.first().get())).expect("the same")
    }

    fn show(&mut self) {
        self.machine.world.add(self.region);
        let descriptor = self.plug.try_clone().expect("a duplicate");
        let memory = Some(DmaMemory { descriptor, file_offset: 0 });
        let mapping = DmaMapping { span: self.bus(), rights: Rights::READ_WRITE, memory };
        self.machine.function.dma_map(mapping).expect("lent");
    }

    fn hide(&mut self) {
        let bus = self.bus();
        self.machine.function.dma_unmap(bus).expect("taken away");
        self.machine.world.remove(self.region);
    }

    fn status(&self) -> MemoryStatus {
        self.machine.function.with(|device| device.status())
    }

    fn block(&self, number: u64) -> Span<Gpa> {
        let first = self.region.first().get().wrapping_add(number.wrapping_mul(BLOCK));
        Span::from_parts(Gpa::new(first), BLOCK).expect("a block")
    }

    /// Asks, and says what the answer is if there is one yet.
    fn ask(&mut self, kind: u16, first: u64, blocks: u16) -> Option<u16> {
        self.ask_at(kind, self.region.first().get().wrapping_add(first.wrapping_mul(BLOCK)), blocks)
    }

    fn ask_at(&mut self, kind: u16, address: u64, blocks: u16) -> Option<u16> {
        let mut request = [0; 24];
        request[..2].copy_from_slice(&kind.to_le_bytes());
        request[8..16].copy_from_slice(&address.to_le_bytes());
        request[16..18].copy_from_slice(&blocks.to_le_bytes());
        rustix::io::pwrite(&self.machine.file, &request, PAYLOAD).expect("a request");
        let buffers = [(PAYLOAD, 24, NEXT), (ANSWER, 10, WRITE)];
        self.machine.post(0, &buffers).then(|| self.answer().0)
    }

    fn answer(&self) -> (u16, u16) {
        let mut answer = [0; 10];
        rustix::io::pread(&self.machine.file, &mut answer, ANSWER).expect("an answer");
        (u16::from_le_bytes([answer[0], answer[1]]), u16::from_le_bytes([answer[8], answer[9]]))
    }

    fn give_in(&mut self) {
        let released = self.machine.world.give_in();
        self.machine.function.with(|device| device.gate().released(&released));
        self.machine.function.settle_memory();
    }

    fn fill(&self, block: u64, with: u8) {
        rustix::io::pwrite(&self.plug, &[with; BLOCK as usize], block * BLOCK).expect("filled");
    }

    fn holds(&self, block: u64, what: u8) -> bool {
        let mut bytes = [0; BLOCK as usize];
        rustix::io::pread(&self.plug, &mut bytes, block * BLOCK).expect("read");
        bytes.iter().all(|byte| *byte == what)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Plug(u64, u16),
    Unplug(u64, u16),
    UnplugAll,
    Look(u64, u16),
    Request(u64),
    Map(usize, u64, u64),
    BeStubborn(bool),
    GiveIn,
}

fn step() -> impl Strategy<Value = Step> {
    // A few of them beyond the region.
    let some = || (0..BLOCKS + 2, 0..6u16);
    prop_oneof![
        4 => some().prop_map(|(first, count)| Step::Plug(first, count)),
        4 => some().prop_map(|(first, count)| Step::Unplug(first, count)),
        1 => Just(Step::UnplugAll),
        2 => some().prop_map(|(first, count)| Step::Look(first, count)),
        3 => (0..BLOCKS + 2).prop_map(Step::Request),
        3 => (0..2usize, 0..BLOCKS, 1..4u64).prop_map(|(who, first, count)| Step::Map(who, first, count)),
        1 => any::<bool>().prop_map(Step::BeStubborn),
        2 => Just(Step::GiveIn),
    ]
}

struct Model {
    guest: Guest,
    /// What the guest wrote into each block that is plugged.
    blocks: [Option<u8>; BLOCKS as usize],
    requested: u64,
    is_stubborn: bool,
    /// Who has what mapped: blocks from, to.
    mapped: Vec<(u64, u64)>,
    /// What the guest waits for, and what of it is unplugged then.
    waits: Option<(u64, u64)>,
    turn: u8,
}

impl Model {
    fn plugged(&self) -> u64 {
        self.blocks.iter().flatten().count() as u64
    }

    fn are(&self, first: u64, count: u16, plugged: bool) -> bool {
        let all = first..first + u64::from(count);
        count > 0
            && all.end <= BLOCKS
            && all.into_iter().all(|it| self.blocks[it as usize].is_some() == plugged)
    }

    fn play(&mut self, step: &Step) {
        match *step {
            // A driver of one mind has one request at a time.
            Step::Plug(..) | Step::Unplug(..) | Step::UnplugAll | Step::Look(..)
                if self.waits.is_some() => {}
            Step::Plug(first, count) => {
                let expected = match self.are(first, count, false) {
                    false => ERROR,
                    true if self.plugged() + u64::from(count) > self.requested => NACK,
                    true => ACK,
                };
                assert_eq!(self.guest.ask(PLUG, first, count), Some(expected));
                if expected == ACK {
                    for block in first..first + u64::from(count) {
                        assert!(self.guest.holds(block, 0), "block {block} is not new");
                        self.turn = self.turn % 250 + 1;
                        self.guest.fill(block, self.turn);
                        self.blocks[block as usize] = Some(self.turn);
                        // Whoever had it mapped has it again.
                    }
                    self.sync();
                }
            }
            Step::Unplug(first, count) => {
                let answer = self.guest.ask(UNPLUG, first, count);
                if !self.are(first, count, true) {
                    assert_eq!(answer, Some(ERROR));
                    return;
                }
                self.unplug(first, first + u64::from(count), answer);
            }
            Step::UnplugAll => {
                let answer = self.guest.ask(UNPLUG_ALL, 0, 0);
                match answer {
                    None => self.waits = Some((0, BLOCKS)),
                    Some(answer) => assert!(answer == ACK || answer == BUSY, "{answer}"),
                }
                if answer == Some(ACK) {
                    self.blocks = Default::default();
                } else {
                    // What nobody has mapped is gone.
                    self.forget_unplugged();
                }
                self.sync();
            }
            Step::Look(first, count) => {
                let answer = self.guest.ask(STATE, first, count);
                if count == 0 || first + u64::from(count) > BLOCKS {
                    assert_eq!(answer, Some(ERROR));
                    return;
                }
                let state = match (self.are(first, count, true), self.are(first, count, false)) {
                    (true, _) => 0,
                    (_, true) => 1,
                    _ => 2,
                };
                assert_eq!((answer, self.guest.answer().1), (Some(ACK), state));
            }
            Step::Request(blocks) => {
                self.requested = blocks.min(BLOCKS);
                self.guest.machine.function.with(|device| device.set_requested(blocks * BLOCK));
            }
            Step::Map(who, first, count) => {
                let last = (first + count).min(BLOCKS) - 1;
                let memory = self.guest.block(first).join(&self.guest.block(last));
                let memory = memory.unwrap_or(self.guest.block(first));
                self.guest.machine.world.map(who, memory);
                self.sync();
            }
            Step::BeStubborn(is_stubborn) => {
                self.is_stubborn = is_stubborn;
                self.guest.machine.world.be_stubborn(is_stubborn);
            }
            Step::GiveIn => {
                self.guest.give_in();
                if let Some((first, end)) = self.waits
                    && self.guest.machine.is_all_answered(0)
                {
                    self.waits = None;
                    assert_eq!(self.guest.answer().0, ACK);
                    self.blocks[first as usize..end as usize].fill(None);
                }
                self.forget_unplugged();
                self.sync();
            }
        }
    }

    fn unplug(&mut self, first: u64, end: u64, answer: Option<u16>) {
        let touched = |(from, to): &&(u64, u64)| *from < end && *to > first;
        let touching: Vec<_> = self.mapped.iter().filter(touched).collect();
        let crosses = touching.iter().any(|(from, to)| *from < first || *to > end);
        let expected = match (crosses, touching.is_empty()) {
            (true, _) => Some(BUSY),
            (false, false) if self.is_stubborn => None,
            _ => Some(ACK),
        };
        assert_eq!(answer, expected, "{first}..{end} with {touching:?}");
        match expected {
            None => self.waits = Some((first, end)),
            Some(ACK) => self.blocks[first as usize..end as usize].fill(None),
            Some(_) => {}
        }
        self.sync();
    }

    /// What unplugging all has taken before somebody was in the way.
    fn forget_unplugged(&mut self) {
        for block in 0..BLOCKS {
            if !self.guest.machine.world.is_guests(self.guest.block(block)) {
                self.blocks[block as usize] = None;
            }
        }
    }

    /// The model asks the ledger who has what mapped; how that comes about is its own tests' affair.
    fn sync(&mut self) {
        let ledger = self.guest.machine.world.ledger.lock().expect("the ledger");
        let region = self.guest.region;
        let of_region = ledger.entries().filter(|entry| region.encloses(&entry.memory));
        let blocks = of_region.map(|entry| {
            let first = region.offset_of(entry.memory.first()).expect("in it") / BLOCK;
            let last = region.offset_of(entry.memory.last()).expect("in it") / BLOCK;
            (first, last + 1)
        });
        self.mapped = blocks.collect();
    }

    fn check(&self) {
        let refusals = self.guest.machine.function.refusals();
        assert_eq!(refusals.count, 0, "{refusals:?}");
        let status = self.guest.status();
        assert_eq!(status.refusal, None);
        assert_eq!(status.plugged_bytes, self.plugged() * BLOCK, "{:?}", self.blocks);
        for block in 0..BLOCKS {
            let is_guests = self.guest.machine.world.is_guests(self.guest.block(block));
            let plugged = self.blocks[block as usize];
            assert_eq!(is_guests, plugged.is_some(), "block {block}: {:?}", self.blocks);
            assert!(self.guest.holds(block, plugged.unwrap_or(0)), "block {block}: {plugged:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn blocks_are_the_guests_or_the_hosts(steps in proptest::collection::vec(step(), 1..60)) {
        let mut model = Model {
            guest: Guest::new(1 << 33),
            blocks: Default::default(),
            requested: 0,
            is_stubborn: false,
            mapped: Vec::new(),
            waits: None,
            turn: 0,
        };
        for step in &steps {
            model.play(step);
            model.check();
        }
    }
}

#[test]
fn requests_that_are_none() {
    for (buffers, code) in [
        (vec![(PAYLOAD, 23, NEXT), (ANSWER, 10, WRITE)], &BAD_DEVICE_REQUEST),
        (vec![(ANSWER, 10, WRITE)], &BAD_DEVICE_REQUEST),
        (vec![(PAYLOAD, 25, NEXT), (ANSWER, 10, WRITE)], &REQUEST_TOO_LONG),
    ] {
        let mut guest = Guest::new(1 << 32);
        assert!(!guest.machine.post(0, &buffers));
        assert_eq!(guest.machine.last_refusal().expect("refused").code(), code);
    }
    let mut guest = Guest::new(1 << 32);
    assert_eq!(guest.ask(17, 0, 1), None);
    assert_eq!(guest.machine.last_refusal().expect("refused").code(), &BAD_DEVICE_REQUEST);
}

#[test]
fn addresses_beside_the_region() {
    let mut guest = Guest::new(1 << 32);
    guest.machine.function.with(|device| device.set_requested(BLOCKS * BLOCK));
    for address in
        [0, BYTES, (1 << 32) - BLOCK, (1 << 32) + BLOCKS * BLOCK, (1 << 32) + PAGE, u64::MAX]
    {
        for kind in [PLUG, UNPLUG, STATE] {
            assert_eq!(guest.ask_at(kind, address, 1), Some(ERROR), "{kind} at {address:#x}");
        }
    }
    for blocks in [0, 17, u16::MAX] {
        assert_eq!(guest.ask(PLUG, 0, blocks), Some(ERROR), "{blocks} blocks");
    }
    assert_eq!(guest.ask(PLUG, 0, 16), Some(ACK));
    assert_eq!(guest.ask(PLUG, 0, 1), Some(ERROR), "it is plugged");
    // An answer goes as far as there is room for it.
    assert!(guest.machine.post(0, &[(PAYLOAD, 24, NEXT), (ANSWER, 1, WRITE)]));
    assert_eq!(guest.machine.function.refusals().count, 0);
}

#[test]
fn a_region_that_is_not_as_it_has_to_be() {
    for first in [BYTES, (1 << 32) - BLOCK, (1 << 32) + PAGE] {
        let mut guest = Guest::new(1 << 32);
        guest.hide();
        assert_eq!(guest.status().region, None);
        guest.region = region_at(first);
        guest.show();
        let status = guest.status();
        match status.refusal {
            Some(refusal) => assert_eq!(refusal.code(), &NO_REGION),
            None => panic!("{first:#x}: {status:?}"),
        }
        assert_eq!(guest.ask(PLUG, 0, 1), Some(ERROR));
    }
    let file = memory_file(BLOCK, true);
    let world = World::new(region_at(0));
    let block = Alignment::new(BLOCK).expect("a power of two");
    for (bytes, block) in [
        (0, block),
        (BLOCK + PAGE, block),
        (u64::MAX, block),
        (BLOCK, Alignment::ONE),
        (1 << 40, block),
    ] {
        match MemoryDevice::new(world.gate(), file.as_fd(), bytes, block).err() {
            Some(Failure::Refused(refusal)) => assert_eq!(refusal.code(), &NO_REGION),
            other => panic!("{bytes:#x}: {other:?}"),
        }
    }
}

/// The guest's firmware moves a function's memory about before anybody uses it.
#[test]
fn a_region_that_moves() {
    let mut guest = Guest::new(1 << 32);
    guest.machine.function.with(|device| device.set_requested(BLOCKS * BLOCK));
    assert_eq!(guest.ask(PLUG, 3, 2), Some(ACK));
    guest.hide();
    assert_eq!(guest.ask(PLUG, 3, 2), Some(ERROR));
    guest.region = region_at(1 << 40);
    guest.show();
    let status = guest.status();
    assert_eq!((status.region, status.plugged_bytes), (Some(guest.region), 0));
    assert_eq!(guest.ask(PLUG, 3, 2), Some(ACK));
}
