//! A driver that does as it is told, and the machine it runs in.

use std::os::fd::OwnedFd;

use ringfence_addr::{Iova, Rights, Span};
use ringfence_refusal::Refusal;
use ringfence_vfio_user::{Device, DmaMapping, DmaMemory, RegionIndex};
use ringfence_virtio::LedgerGate;
use ringfence_virtio::balloon::{Balloon, BalloonOptions, BalloonStatus};
use ringfence_virtio::pci::{Function, VirtioDevice};
use rustix::fs::{MemfdFlags, SealFlags};

use super::gate::World;

pub(crate) const PAGE: u64 = 4096;
/// Entries of each ring.
pub(crate) const ENTRIES: u16 = 16;
/// Where each queue's table is; its available ring is half a page after it, its used ring a page.
pub(crate) const RINGS: u64 = 0x1_0000;
/// Where requests are put together.
pub(crate) const PAYLOAD: u64 = 0x2_0000;

pub(crate) const MUST_TELL_HOST: u64 = 1;
pub(crate) const REPORTING: u64 = 1 << 5;
pub(crate) const VERSION_1: u64 = 1 << 32;

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;

/// A guest's machine with a device in it.
pub(crate) struct Machine<D = Balloon<LedgerGate<World>>> {
    pub(crate) function: Function<D>,
    pub(crate) world: World,
    pub(crate) file: OwnedFd,
    bytes: u64,
    queues: u16,
    published: [u16; 5],
}

/// A file like those a VMM has memory in.
pub(crate) fn memory_file(bytes: u64, is_sealed: bool) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("guest", flags).expect("a memfd");
    rustix::fs::ftruncate(&file, bytes).expect("a size");
    if is_sealed {
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).expect("sealed");
    }
    file
}

impl Machine {
    /// With so many bytes of memory, and nobody in the driver's seat.
    pub(crate) fn new(bytes: u64, options: BalloonOptions) -> Self {
        let memory = Span::from_parts(ringfence_addr::Gpa::new(0), bytes).expect("not empty");
        let world = World::new(memory);
        let balloon = Balloon::new(world.gate(), options);
        Self::with(balloon, world, bytes)
    }

    /// One whose driver has agreed on these features.
    pub(crate) fn started(bytes: u64, options: BalloonOptions, features: u64) -> Self {
        let mut machine = Self::new(bytes, options);
        machine.start(features);
        machine
    }

    pub(crate) fn figures(&self) -> BalloonStatus {
        self.function.with(|balloon| balloon.status())
    }
}

impl<D: VirtioDevice> Machine<D> {
    /// With any device.
    pub(crate) fn with(device: D, world: World, bytes: u64) -> Self {
        let queues = device.queues();
        let function = Function::new(device, "the device");
        let file = memory_file(bytes, true);
        let mut machine = Self { function, world, file, bytes, queues, published: [0; 5] };
        machine.lend();
        machine
    }

    fn span(&self) -> Span<Iova> {
        Span::from_parts(Iova::new(0), self.bytes).expect("not empty")
    }

    pub(crate) fn lend(&mut self) {
        let descriptor = self.file.try_clone().expect("a duplicate");
        let memory = Some(DmaMemory { descriptor, file_offset: 0 });
        let mapping = DmaMapping { span: self.span(), rights: Rights::READ_WRITE, memory };
        self.function.dma_map(mapping).expect("it is lent");
    }

    pub(crate) fn take_away(&mut self) {
        let span = self.span();
        self.function.dma_unmap(span).expect("it is taken away");
    }

    pub(crate) fn put(&mut self, offset: u64, bytes: &[u8]) {
        self.function.write(RegionIndex::Bar0, offset, bytes).expect("written");
    }

    pub(crate) fn get<const N: usize>(&mut self, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.function.read(RegionIndex::Bar0, offset, &mut bytes).expect("read");
        bytes
    }

    pub(crate) fn status(&mut self) -> u8 {
        self.get::<1>(0x14)[0]
    }

    pub(crate) fn last_refusal(&self) -> Option<Refusal> {
        self.function.refusals().last
    }

    /// Goes through what a driver does at its start.
    pub(crate) fn start(&mut self, features: u64) {
        self.negotiate(features);
        for queue in 0..self.queues {
            self.set_up(queue, ENTRIES, RINGS + u64::from(queue) * 2 * PAGE);
        }
        self.put(0x14, &[0xf]);
    }

    pub(crate) fn negotiate(&mut self, features: u64) {
        self.function.write(RegionIndex::Config, 4, &6u16.to_le_bytes()).expect("command");
        self.put(0x14, &[0]);
        self.published = [0; 5];
        self.put(0x14, &[1]);
        self.put(0x14, &[3]);
        for half in 0..2u32 {
            self.put(0x08, &half.to_le_bytes());
            self.put(0x0c, &((features >> (half * 32)) as u32).to_le_bytes());
        }
        self.put(0x14, &[0xb]);
    }

    pub(crate) fn set_up(&mut self, queue: u16, entries: u16, at: u64) {
        rustix::io::pwrite(&self.file, &[0; 0x2000], at & !0xfff).expect("cleared");
        self.put(0x16, &queue.to_le_bytes());
        self.put(0x18, &entries.to_le_bytes());
        for (register, address) in [(0x20, at), (0x28, at + PAGE / 2), (0x30, at + PAGE)] {
            self.put(register, &((address & 0xffff_ffff) as u32).to_le_bytes());
            self.put(register + 4, &((address >> 32) as u32).to_le_bytes());
        }
        self.put(0x1c, &1u16.to_le_bytes());
    }

    /// Publishes a chain of these buffers and rings; whether it was answered.
    pub(crate) fn post(&mut self, queue: u16, buffers: &[(u64, u32, u16)]) -> bool {
        let at = RINGS + u64::from(queue) * 2 * PAGE;
        for (place, (address, length, flags)) in buffers.iter().enumerate() {
            let mut descriptor = address.to_le_bytes().to_vec();
            descriptor.extend(length.to_le_bytes());
            descriptor.extend(flags.to_le_bytes());
            descriptor.extend((place as u16 + 1).to_le_bytes());
            let at = at + place as u64 * 16;
            rustix::io::pwrite(&self.file, &descriptor, at).expect("a descriptor");
        }
        let published = self.published[usize::from(queue)].wrapping_add(1);
        self.publish(queue, published);
        self.answered(queue) == published
    }

    /// Shows another index of the available ring, and rings.
    pub(crate) fn publish(&mut self, queue: u16, published: u16) {
        let at = RINGS + u64::from(queue) * 2 * PAGE + PAGE / 2;
        self.published[usize::from(queue)] = published;
        rustix::io::pwrite(&self.file, &published.to_le_bytes(), at + 2).expect("an index");
        self.put(0x3000 + u64::from(queue) * 4, &queue.to_le_bytes());
    }

    /// The index of the used ring.
    pub(crate) fn answered(&self, queue: u16) -> u16 {
        let at = RINGS + u64::from(queue) * 2 * PAGE + PAGE;
        let mut index = [0; 2];
        rustix::io::pread(&self.file, &mut index, at + 2).expect("an index");
        u16::from_le_bytes(index)
    }

    pub(crate) fn is_all_answered(&self, queue: u16) -> bool {
        self.answered(queue) == self.published[usize::from(queue)]
    }

    /// Sends page numbers to a queue; whether it was answered.
    pub(crate) fn send(&mut self, queue: u16, pages: &[u32]) -> bool {
        let bytes: Vec<u8> = pages.iter().flat_map(|page| page.to_le_bytes()).collect();
        // A request that is not answered yet is left alone.
        let at = PAYLOAD + u64::from(queue) * 4 * PAGE;
        rustix::io::pwrite(&self.file, &bytes, at).expect("numbers");
        self.post(queue, &[(at, bytes.len() as u32, 0)])
    }

    pub(crate) fn page(&self, page: u32) -> Vec<u8> {
        let mut bytes = vec![0; PAGE as usize];
        rustix::io::pread(&self.file, &mut bytes, u64::from(page) * PAGE).expect("a page");
        bytes
    }

    pub(crate) fn fill(&self, page: u32, with: u8) {
        let bytes = vec![with; PAGE as usize];
        rustix::io::pwrite(&self.file, &bytes, u64::from(page) * PAGE).expect("a page");
    }
}
