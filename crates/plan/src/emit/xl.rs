//! Xen's `xl.cfg`: libxl places memory by itself, and is told how.

use ringfence_refusal::Refusal;

use crate::emit::{Consumer, Emitted, cannot_express, holes, kept_off_memory};
use crate::map::Plan;

pub(super) fn emit(plan: &Plan) -> Result<Emitted, Refusal> {
    if plan.viommu.is_some() {
        let what = "Xen gives guests no IOMMU of their own; take QEMU's q35";
        return Err(cannot_express(Consumer::Xl, what));
    }
    let kept = kept_off_memory(plan);
    if let Some(span) = kept.iter().find(|span| span.last().get() >= 1 << 32) {
        let what = format!("{span}: libxl does not look at regions above 4 GiB");
        return Err(cannot_express(Consumer::Xl, what));
    }
    let lowest = holes(plan).into_iter().chain(kept).map(|span| span.first().get()).min();
    let mib = plan.settings.memory_bytes >> 20;
    let mut text = format!("memory = {mib}\nrdm = \"strategy=none,policy=strict\"\n");
    let mut notes = vec!["Each device: pci = [ \"ADDRESS,rdm_policy=strict\" ].".to_owned()];
    // libxl ends low memory at the first region above this boundary.
    if let Some(boundary) = lowest.map(|first| first >> 20).filter(|mib| *mib > 1) {
        text.push_str(&format!("rdm_mem_boundary = {}\n", boundary - 1));
        notes.push("libxl maps each region one to one to the host's own memory.".to_owned());
    }
    Ok(Emitted { text, files: Vec::new(), notes })
}
