//! Arguments of the guest's kernel: the weakest way to tell it.

use crate::emit::size::size;
use crate::emit::{Emitted, holes, kept_off_memory};
use crate::map::Plan;

/// More of these and Linux gives up placing its own image at random
/// (`arch/x86/boot/compressed/kaslr.c`).
pub(super) const MEMMAPS_MOST: usize = 4;

/// `memmap=` for everything the guest must keep off.
pub(super) fn arguments(plan: &Plan) -> Vec<String> {
    let spans = kept_off_memory(plan).into_iter().chain(holes(plan));
    spans
        .filter_map(|span| Some((span, span.length_u64()?)))
        .map(|(span, length)| format!("memmap={}${:#x}", size(length.get()), span.first().get()))
        .collect()
}

pub(super) fn emit(plan: &Plan) -> Emitted {
    let arguments = arguments(plan);
    let mut notes = Vec::new();
    if !arguments.is_empty() {
        notes.push(
            "Firmware and boot loader do not read it: the initial ramdisk may be put there first."
                .to_owned(),
        );
        notes.push(
            "It is not in the firmware's map: a kernel started by kexec or kdump is not told."
                .to_owned(),
        );
    }
    if arguments.len() > MEMMAPS_MOST {
        notes.push(format!(
            "{} regions: with more than {MEMMAPS_MOST} Linux no longer places its image at random.",
            arguments.len()
        ));
    }
    Emitted { text: arguments.join(" ") + "\n", files: Vec::new(), notes }
}
