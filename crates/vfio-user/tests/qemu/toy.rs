//! A PCI function with a few registers, memory to be mapped, an interrupt line and DMA.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use ringfence_addr::{Iova, Span, SpanMap};
use ringfence_refusal::{Failure, Fault};
use ringfence_vfio_user::{
    Client, Device, DmaMapping, DmaMemory, InterruptIndex, Interrupts, Mappable, Region,
    RegionIndex, SetInterrupts,
};
use rustix::fs::MemfdFlags;

/// What BAR 0 begins with.
pub(crate) const MAGIC: u32 = 0x676e_6952;
/// What BAR 2 begins with.
pub(crate) const GREETING: u32 = 0x6563_6e66;

const SCRATCH: u64 = 0x4;
const LINE: u64 = 0x8;
const ADDRESS_LOW: u64 = 0x10;
const ADDRESS_HIGH: u64 = 0x14;
const DMA: u64 = 0x18;
const DONE: u64 = 0x1c;

const COMMAND: usize = 4;
const COMMAND_INTX_OFF: u8 = 4;
const STATUS: usize = 6;
const STATUS_INTERRUPT: u8 = 8;

/// What the test looks at afterwards.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) resets: u32,
    pub(crate) scratch: u32,
    /// Accesses to BAR 2 that came as messages although it can be mapped.
    pub(crate) trapped: u32,
    pub(crate) mapped: u64,
    pub(crate) with_memory: u64,
    pub(crate) unmapped: u64,
    pub(crate) refused: Vec<String>,
    pub(crate) disconnected: u32,
}

pub(crate) struct Toy {
    pub(crate) seen: Arc<Mutex<Seen>>,
    config: [u8; 256],
    registers: [u32; 8],
    memory: OwnedFd,
    interrupts: Interrupts,
    mappings: SpanMap<Iova, Option<DmaMemory>>,
    client: Option<Client>,
    done: Arc<Mutex<u32>>,
}

impl Toy {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        let mut config = [0; 256];
        config[..4].copy_from_slice(&[0x34, 0x12, 0xee, 0x5f]);
        // Of no class that a driver takes; its interrupt is INTA.
        (config[0xb], config[0x3d]) = (0xff, 1);
        let memory = rustix::fs::memfd_create("bar2", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&memory, 0x5000)?;
        rustix::io::pwrite(&memory, &GREETING.to_le_bytes(), 0x1000)?;
        Ok(Self {
            seen: Arc::default(),
            config,
            registers: [MAGIC, 0, 0, 0, 0, 0, 0, 0],
            memory,
            interrupts: Interrupts::new(&[(InterruptIndex::Intx, 1)]),
            mappings: SpanMap::new(),
            client: None,
            done: Arc::default(),
        })
    }

    pub(crate) fn memory(&self) -> rustix::io::Result<OwnedFd> {
        rustix::io::dup(&self.memory)
    }

    fn update_line(&mut self) {
        let is_up = self.registers[2] & 1 != 0;
        let is_off = self.config[COMMAND + 1] & COMMAND_INTX_OFF != 0;
        self.config[STATUS] = if is_up { STATUS_INTERRUPT } else { 0 };
        self.interrupts.set_level(is_up && !is_off);
    }

    /// Adds one to a word of the guest's memory.
    fn start_dma(&mut self) {
        let at = Iova::new(u64::from(self.registers[5]) << 32 | u64::from(self.registers[4]));
        let found = self.mappings.get(at);
        if let Some((span, Some(memory))) = found {
            let offset = memory.file_offset + span.offset_of(at).expect("it is in it");
            let mut word = [0; 4];
            let read = rustix::io::pread(&memory.descriptor, &mut word, offset);
            let word = (u32::from_le_bytes(word) + 1).to_le_bytes();
            let written = rustix::io::pwrite(&memory.descriptor, &word, offset);
            *self.done.lock().expect("done") =
                if (read, written) == (Ok(4), Ok(4)) { 1 } else { 2 };
        } else if let (Some(_), Some(client)) = (found, self.client.clone()) {
            let done = Arc::clone(&self.done);
            std::thread::spawn(move || {
                let mut word = [0; 4];
                let added = client.dma_read(at, &mut word).and_then(|()| {
                    let word = u32::from_le_bytes(word) + 1;
                    client.dma_write(at, &word.to_le_bytes())
                });
                if let Err(failure) = &added {
                    eprintln!("{failure}: {:?}", std::error::Error::source(failure));
                }
                *done.lock().expect("done") = if added.is_ok() { 1 } else { 2 };
            });
        } else {
            *self.done.lock().expect("done") = 2;
        }
    }
}

impl Device for Toy {
    fn region(&self, index: RegionIndex) -> Region<'_> {
        let descriptor = self.memory.as_fd();
        match index {
            RegionIndex::Bar0 => Region::trapped(0x1000),
            RegionIndex::Bar2 => Region {
                mappable: Some(Mappable { descriptor, file_offset: 0x1000, parts: &[] }),
                ..Region::trapped(0x4000)
            },
            RegionIndex::Config => Region::trapped(256),
            _ => Region::ABSENT,
        }
    }

    fn interrupts(&self, index: InterruptIndex) -> u32 {
        self.interrupts.count(index)
    }

    fn read(&mut self, region: RegionIndex, offset: u64, data: &mut [u8]) -> Result<(), Failure> {
        self.registers[7] = *self.done.lock().expect("done");
        let registers = self.registers.map(u32::to_le_bytes).concat();
        let bytes: &[u8] = match region {
            RegionIndex::Config => &self.config,
            RegionIndex::Bar0 => &registers,
            _ => {
                self.seen.lock().expect("seen").trapped += 1;
                rustix::io::pread(&self.memory, data, 0x1000 + offset)
                    .map_err(|errno| Fault::new("read", "BAR 2", errno))?;
                return Ok(());
            }
        };
        for (at, byte) in (offset..).zip(data) {
            let there = usize::try_from(at).ok().and_then(|at| bytes.get(at));
            *byte = there.copied().unwrap_or(0);
        }
        Ok(())
    }

    fn write(&mut self, region: RegionIndex, offset: u64, data: &[u8]) -> Result<(), Failure> {
        match (region, offset) {
            // The rest of the configuration is QEMU's, or cannot be changed.
            (RegionIndex::Config, _) => {
                for (at, byte) in (offset..).zip(data) {
                    if let Ok(at @ COMMAND..STATUS) = usize::try_from(at) {
                        self.config[at] = *byte;
                    }
                }
            }
            (RegionIndex::Bar0, SCRATCH | LINE | ADDRESS_LOW | ADDRESS_HIGH | DMA | DONE) => {
                let word = data.try_into().map_or(0, u32::from_le_bytes);
                self.registers[usize::try_from(offset / 4).expect("one of eight")] = word;
                self.seen.lock().expect("seen").scratch = self.registers[1];
                if offset == DMA {
                    self.start_dma();
                }
            }
            (RegionIndex::Bar2, _) => self.seen.lock().expect("seen").trapped += 1,
            _ => {}
        }
        self.update_line();
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Failure> {
        self.registers = [MAGIC, 0, 0, 0, 0, 0, 0, 0];
        self.update_line();
        self.seen.lock().expect("seen").resets += 1;
        Ok(())
    }

    fn set_interrupts(&mut self, set: SetInterrupts) -> Result<(), Failure> {
        self.interrupts.set(set)
    }

    fn dma_map(&mut self, mapping: DmaMapping) -> Result<(), Failure> {
        let mut seen = self.seen.lock().expect("seen");
        seen.mapped += 1;
        seen.with_memory += u64::from(mapping.memory.is_some());
        self.mappings.try_insert(mapping.span, mapping.memory).expect("nothing is there");
        Ok(())
    }

    fn dma_unmap(&mut self, span: Span<Iova>) -> Result<(), Failure> {
        self.mappings.remove_exact(span).expect("it is there");
        self.seen.lock().expect("seen").unmapped += 1;
        Ok(())
    }

    fn connected(&mut self, client: Client) {
        self.client = Some(client);
    }

    fn disconnected(&mut self) {
        self.interrupts.clear();
        self.client = None;
        self.seen.lock().expect("seen").disconnected += 1;
    }

    fn refused(&mut self, failure: &Failure) {
        self.seen.lock().expect("seen").refused.push(failure.to_string());
    }
}
