//! A memory map as firmware gives it, for a VMM that writes the zero page or a PVH map.

use ringfence_tables::{E820Entry, E820Extension, E820Kind};

use crate::emit::{Emitted, EmittedFile, kept_off_memory};
use crate::map::{Plan, Use};

/// The entries that do not fit into the zero page, or that firmware does not know of.
pub(super) const FILE: &str = "ringfence-e820.bin";

/// The firmware's own area below 1 MiB, which is memory and which no kernel may use.
const LEGACY: (u64, u64) = (0xa_0000, 0xf_ffff);

/// What is kept off, as a node of `setup_data`.
pub(super) fn extension(plan: &Plan) -> E820Extension {
    let spans = kept_off_memory(plan);
    let entries = spans.iter().filter_map(|span| E820Entry::new(*span, E820Kind::Reserved));
    E820Extension { next: 0, entries: entries.collect() }
}

/// The whole map: what is used or kept off, lowest first.
fn entries(plan: &Plan) -> Vec<E820Entry> {
    let mut entries = Vec::new();
    for entry in &plan.map {
        let kind = match entry.usage {
            Use::Ram => E820Kind::Ram,
            Use::Reserved | Use::Identity => E820Kind::Reserved,
            // So that nobody puts a base address there.
            Use::Hole => E820Kind::Reserved,
            Use::Platform | Use::Window | Use::Hotplug => continue,
        };
        entries.extend(E820Entry::new(entry.span, kind));
    }
    entries
}

pub(super) fn emit(plan: &Plan) -> Emitted {
    let mut text = String::new();
    for entry in entries(plan) {
        let kind = if entry.kind() == E820Kind::Ram { "usable" } else { "reserved" };
        let last = entry.address.saturating_add(entry.size - 1);
        text.push_str(&format!("{:#018x}-{last:#018x} {kind}\n", entry.address));
    }
    let node = E820Extension { next: 0, entries: entries(plan) };
    let note = format!(
        "{:#x}-{:#x} is firmware's, as on every PC: leave it out of what is usable.",
        LEGACY.0, LEGACY.1
    );
    Emitted {
        text,
        files: vec![EmittedFile { name: FILE, bytes: node.write() }],
        notes: vec![note],
    }
}
