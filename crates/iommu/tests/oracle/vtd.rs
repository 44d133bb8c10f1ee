//! QEMU's VT-d: root and context tables, and invalidation by registers.
//!
//! VT-d specification, revision 4.1: 9.1 and 9.3 (root and context entries), 10.4 (registers), 6.5.1
//! (register-based invalidation).

use ringfence_addr::{Gpa, Hpa, Iova, Span};
use ringfence_iommu::pages::Level;
use ringfence_lab::Batch;

use crate::machine::{DOMAIN, Iommu, READER, STRUCTURES, WRITER};

const REGISTERS: u64 = 0xfed9_0000;
const GLOBAL_COMMAND: u64 = 0x18;
const ROOT_TABLE: u64 = 0x20;
const CONTEXT_COMMAND: u64 = 0x28;
const INVALIDATE_ADDRESS: u64 = 0xf0;
const INVALIDATE: u64 = 0xf8;

/// Its `CAP_REG` and `ECAP_REG`, as QEMU 11 has them.
pub(crate) const CAPABILITIES: Gpa = Gpa::new(REGISTERS + 0x08);
pub(crate) const EXTENDED_CAPABILITIES: Gpa = Gpa::new(REGISTERS + 0x10);

/// The largest order of pages that are invalidated at once (`MAMV`).
const ORDER_MOST: u32 = 18;

const fn register(offset: u64) -> Gpa {
    Gpa::new(REGISTERS + offset)
}

#[derive(Debug, Default)]
pub(crate) struct Vtd;

impl Iommu for Vtd {
    const DEVICE: &'static str = "intel-iommu,aw-bits=48";

    fn attach(&mut self, batch: &mut Batch, root: Hpa, levels: Level) {
        let (roots, contexts) = (STRUCTURES, STRUCTURES + 0x1000);
        batch.write_u64(Gpa::new(roots), contexts | 1);
        for (device, _) in [WRITER, READER] {
            // I12: not present, then the rest, then present.
            let entry = contexts + u64::from(device) * 8 * 16;
            batch.write_u64(Gpa::new(entry), 0);
            let width = u64::from(levels.number()) - 2;
            batch.write_u64(Gpa::new(entry + 8), u64::from(DOMAIN) << 8 | width);
            batch.write_u64(Gpa::new(entry), root.get() | 1);
        }
        batch.write_u64(register(ROOT_TABLE), roots);
        batch.write_u32(register(GLOBAL_COMMAND), 1 << 30);
        // All contexts, then all translations.
        batch.write_u64(register(CONTEXT_COMMAND), 1 << 63 | 1 << 61);
        batch.write_u64(register(INVALIDATE), 1 << 63 | 1 << 60);
        batch.write_u32(register(GLOBAL_COMMAND), 1 << 31);
    }

    fn invalidate(&mut self, batch: &mut Batch, span: Span<Iova>) {
        let differing = span.first().get() ^ span.last().get();
        let order = (u64::BITS - (differing >> 12).leading_zeros()).min(u64::BITS);
        let domain = u64::from(DOMAIN) << 32;
        if order > ORDER_MOST {
            batch.write_u64(register(INVALIDATE), 1 << 63 | 2 << 60 | domain);
        } else {
            let first = span.first().get() >> 12 >> order << order << 12;
            batch.write_u64(register(INVALIDATE_ADDRESS), first | u64::from(order));
            batch.write_u64(register(INVALIDATE), 1 << 63 | 3 << 60 | domain);
        }
        batch.read_u64(register(INVALIDATE));
    }

    fn has_done(&self, answers: &[u64]) -> bool {
        // `IVT` is clear when it is done, and `IAIG` says that it was.
        answers.iter().all(|status| status >> 63 == 0 && status >> 57 & 3 != 0)
    }
}
