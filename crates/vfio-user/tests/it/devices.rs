//! A device that remembers what happened to it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use ringfence_addr::{Iova, Span};
use ringfence_refusal::{Code, Failure, Fault, Refusal};
use ringfence_vfio_user::{
    Client, Device, DmaMapping, InterruptIndex, Interrupts, Mappable, Region, RegionIndex,
    RegionPart, SetInterrupts,
};
use rustix::fs::MemfdFlags;

/// What happened, for the test to look at while the device is being served.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) mapped: Vec<Span<Iova>>,
    pub(crate) with_memory: usize,
    pub(crate) refused: Vec<String>,
    pub(crate) resets: u32,
    pub(crate) client: Option<Client>,
    pub(crate) connected: u32,
    pub(crate) disconnected: u32,
    /// What was mapped when the client left.
    pub(crate) left: Vec<usize>,
}

/// Config space of 256 bytes, registers in BAR 0 that keep what is written, BAR 2 to be mapped in two
/// parts, a ROM that cannot be written; 4 MSI-X vectors and a line.
pub(crate) struct Toy {
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) interrupts: Interrupts,
    config: Vec<u8>,
    registers: Vec<u8>,
    memory: OwnedFd,
}

pub(crate) const REGISTERS: u64 = 0x1000;
pub(crate) const PARTS: &[RegionPart] =
    &[RegionPart { offset: 0x1000, size: 0x1000 }, RegionPart { offset: 0x3000, size: 0x1000 }];

/// Writing here is refused, and here it fails.
pub(crate) const REFUSED_AT: u64 = 0x800;
pub(crate) const FAILING_AT: u64 = 0x900;

static NOT_HERE: Code = Code { number: 1, name: "not here", sentence: "", remedy: "", page: "" };

impl Toy {
    pub(crate) fn new() -> Self {
        let memory = rustix::fs::memfd_create("bar2", MemfdFlags::CLOEXEC).expect("a memfd");
        rustix::fs::ftruncate(&memory, 0x5000).expect("its length");
        Self {
            seen: Arc::default(),
            interrupts: Interrupts::new(&[(InterruptIndex::MsiX, 4), (InterruptIndex::Intx, 1)]),
            config: vec![0x5a; 256],
            registers: vec![0; 0x1000],
            memory,
        }
    }

    fn bytes(&mut self, region: RegionIndex) -> &mut Vec<u8> {
        match region {
            RegionIndex::Config => &mut self.config,
            _ => &mut self.registers,
        }
    }
}

impl Device for Toy {
    fn region(&self, index: RegionIndex) -> Region<'_> {
        let descriptor = self.memory.as_fd();
        let mappable = Some(Mappable { descriptor, file_offset: 0x1000, parts: PARTS });
        match index {
            RegionIndex::Bar0 => Region::trapped(REGISTERS),
            RegionIndex::Bar2 => Region { mappable, ..Region::trapped(0x4000) },
            RegionIndex::Rom => Region { is_writable: false, ..Region::trapped(0x1000) },
            RegionIndex::Config => Region::trapped(256),
            _ => Region::ABSENT,
        }
    }

    fn interrupts(&self, index: InterruptIndex) -> u32 {
        self.interrupts.count(index)
    }

    fn read(&mut self, region: RegionIndex, offset: u64, data: &mut [u8]) -> Result<(), Failure> {
        let offset = usize::try_from(offset).expect("inside the region");
        match region {
            RegionIndex::Bar2 => {
                rustix::io::pread(&self.memory, data, offset as u64 + 0x1000).expect("read");
            }
            _ => data.copy_from_slice(&self.bytes(region)[offset..offset + data.len()]),
        }
        Ok(())
    }

    fn write(&mut self, region: RegionIndex, offset: u64, data: &[u8]) -> Result<(), Failure> {
        match offset {
            REFUSED_AT => return Err(Refusal::new(&NOT_HERE, "").into()),
            FAILING_AT => {
                return Err(Fault::new("do", "it", rustix::io::Errno::NOMEM).into());
            }
            _ => {}
        }
        let offset = usize::try_from(offset).expect("inside the region");
        self.bytes(region)[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn reset(&mut self) -> Result<(), Failure> {
        self.registers.fill(0);
        self.seen.lock().expect("seen").resets += 1;
        Ok(())
    }

    fn set_interrupts(&mut self, set: SetInterrupts) -> Result<(), Failure> {
        self.interrupts.set(set)
    }

    fn dma_map(&mut self, mapping: DmaMapping) -> Result<(), Failure> {
        let mut seen = self.seen.lock().expect("seen");
        assert!(!seen.mapped.iter().any(|span| span.overlaps(&mapping.span)), "{mapping:?}");
        seen.mapped.push(mapping.span);
        seen.with_memory += usize::from(mapping.memory.is_some());
        Ok(())
    }

    fn dma_unmap(&mut self, span: Span<Iova>) -> Result<(), Failure> {
        let mut seen = self.seen.lock().expect("seen");
        let at = seen.mapped.iter().position(|mapped| *mapped == span);
        seen.mapped.remove(at.expect("exactly what was mapped"));
        Ok(())
    }

    fn connected(&mut self, client: Client) {
        let mut seen = self.seen.lock().expect("seen");
        seen.client = Some(client);
        seen.connected += 1;
    }

    fn leaving(&mut self) {
        let mut seen = self.seen.lock().expect("seen");
        let count = seen.mapped.len();
        seen.left.push(count);
    }

    fn disconnected(&mut self) {
        self.interrupts.clear();
        self.seen.lock().expect("seen").disconnected += 1;
    }

    fn refused(&mut self, failure: &Failure) {
        self.seen.lock().expect("seen").refused.push(failure.to_string());
    }
}
