//! QEMU's AMD IOMMU: device table, and invalidation by commands.
//!
//! AMD I/O Virtualization Technology (IOMMU) Specification, 48882, revision 3.10: 2.2.2 (device table),
//! 2.4 (commands), 3.4 (registers).

use ringfence_addr::{Gpa, Hpa, Iova, Span};
use ringfence_iommu::pages::Level;
use ringfence_lab::Batch;

use crate::machine::{DOMAIN, Iommu, READER, STRUCTURES, WRITER};

const REGISTERS: u64 = 0xfed8_0000;
const COMMAND_TAIL: u64 = 0x2008;
/// The extended feature register.
pub(crate) const FEATURES: Gpa = Gpa::new(REGISTERS + 0x30);

const DEVICE_TABLE: u64 = STRUCTURES;
const COMMANDS: u64 = STRUCTURES + 0x1_0000;
const EVENTS: u64 = STRUCTURES + 0x2_0000;
const DONE: u64 = STRUCTURES + 0x3_0000;
/// Both rings have 256 entries.
const RING_BYTES: u64 = 4096;

const fn register(offset: u64) -> Gpa {
    Gpa::new(REGISTERS + offset)
}

#[derive(Debug, Default)]
pub(crate) struct Amd {
    tail: u64,
    waits: u64,
}

impl Amd {
    fn command(&mut self, batch: &mut Batch, words: [u64; 2]) {
        batch.write_u64(Gpa::new(COMMANDS + self.tail), words[0]);
        batch.write_u64(Gpa::new(COMMANDS + self.tail + 8), words[1]);
        self.tail = (self.tail + 16) % RING_BYTES;
        batch.write_u64(register(COMMAND_TAIL), self.tail);
    }

    /// I10: each wait has a number of its own.
    fn wait(&mut self, batch: &mut Batch) {
        self.waits += 1;
        self.command(batch, [1 << 60 | DONE | 1, self.waits]);
        batch.read_u64(Gpa::new(DONE));
    }
}

impl Iommu for Amd {
    const DEVICE: &'static str = "amd-iommu,dma-remap=on";

    fn attach(&mut self, batch: &mut Batch, root: Hpa, levels: Level) {
        for (device, _) in [WRITER, READER] {
            // I12: not valid, then the rest, then valid.
            let entry = DEVICE_TABLE + u64::from(device) * 8 * 32;
            batch.write_u64(Gpa::new(entry), 0);
            batch.write_u64(Gpa::new(entry + 8), DOMAIN.into());
            let mode = u64::from(levels.number()) << 9;
            batch.write_u64(Gpa::new(entry), root.get() | 3 << 61 | mode | 3);
        }
        if self.waits == 0 {
            batch.write_u64(register(0x00), DEVICE_TABLE | 0xf);
            batch.write_u64(register(0x08), COMMANDS | 8 << 56);
            batch.write_u64(register(0x10), EVENTS | 8 << 56);
            // The IOMMU, its events, its commands.
            batch.write_u64(register(0x18), 1 | 1 << 2 | 1 << 12);
        }
        for (device, _) in [WRITER, READER] {
            self.command(batch, [2 << 60 | u64::from(device) << 3, 0]);
        }
        self.invalidate(batch, Span::whole());
    }

    fn invalidate(&mut self, batch: &mut Batch, span: Span<Iova>) {
        // The size is where the lowest zero is, from bit 12 on; `S` says that there is one.
        let differing = (span.first().get() ^ span.last().get()) | 0xfff;
        let bits = u64::BITS - differing.leading_zeros();
        let first = span.first().get();
        let operand = match bits {
            12 => first,
            64 => 0x7fff_ffff_ffff_f000 | 1,
            bits => first >> bits << bits | ((1 << (bits - 1)) - 1) & !0xfff | 1,
        };
        // `PDE`: what leads to tables, too.
        self.command(batch, [3 << 60 | u64::from(DOMAIN) << 32, operand | 2]);
        self.wait(batch);
    }

    fn has_done(&self, answers: &[u64]) -> bool {
        answers.last().is_some_and(|last| *last == self.waits)
    }
}
