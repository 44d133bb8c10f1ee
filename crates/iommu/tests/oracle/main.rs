//! An IOMMU that others wrote judges our page tables: QEMU's VT-d and AMD's, without a guest.
//!
//! Our tables are written into the memory of a machine that has no processor; devices of it do DMA, and
//! what they reach is compared with what a plain model says they should.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod amd;
mod confined;
mod devices;
mod guest_memory;
mod histories;
mod machine;
#[path = "../it/model.rs"]
mod model;
#[path = "../it/random.rs"]
mod random;
mod stale_entries;
mod vtd;

use std::process::ExitCode;

use ringfence_lab::harness::{self, Case, Need};

const QEMU: &[Need] = &[Need::Lab, Need::Program("qemu-system-x86_64")];

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("vt-d agrees with the model, 4 and 3 levels", QEMU, histories::vtd),
        Case::new("amd agrees with the model, 4 and 6 levels", QEMU, histories::amd),
        Case::new("what is never invalidated is seen", QEMU, histories::without_invalidation),
        Case::new("vt-d lets a device go on until it is told", QEMU, stale_entries::vtd),
        Case::new("amd lets a device go on until it is told", QEMU, stale_entries::amd),
        Case::new("a device that passes by its IOMMU is found out", QEMU, confined::is_checked),
    ])
}
