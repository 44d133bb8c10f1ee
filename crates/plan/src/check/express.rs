//! What a VMM makes of its settings: where its memory comes to lie, by its own rules.
//!
//! From QEMU's `pc_q35_init`, `pc_init1`, `pc_memory_init`, `pc_max_used_gpa` and
//! `pc_pci_hole64_start`, and Cloud Hypervisor's `arch_memory_regions`.

use ringfence_addr::{Gpa, Span};

use super::facts::Facts;
use super::sweep::{common, total, without};
use super::violation::{Rule, Violation};
use crate::machine::Machine;
use crate::map::Use;

const GIB: u64 = 0x4000_0000;
const FOUR_GIB: u64 = 4 * GIB;
const TEBIBYTE: u64 = 1024 * GIB;
/// Where HyperTransport's hole begins: 12 GiB below 1 TiB.
const HYPERTRANSPORT: u64 = TEBIBYTE - 12 * GIB;

/// What some machine has at fixed places: I/O APIC, HPET, TPM, interrupts, flash.
const FIXED: &[(u64, u64)] = &[
    (0xfec0_0000, 0xfec0_0fff),
    (0xfed0_0000, 0xfed0_03ff),
    (0xfed4_0000, 0xfed4_4fff),
    (0xfee0_0000, 0xfeef_ffff),
];

/// Where memory lies by the machine's rules.
pub(super) struct Pieces {
    low: u64,
    high_first: u64,
    high: u64,
    /// One more than the last address that QEMU counts as used.
    used_end: u64,
}

impl Pieces {
    pub(super) fn blocks(&self) -> Vec<Span<Gpa>> {
        let span = |first: u64, bytes: u64| {
            let last = first.checked_add(bytes.checked_sub(1)?)?;
            Span::new(Gpa::new(first), Gpa::new(last))
        };
        [span(0, self.low), span(self.high_first, self.high)].into_iter().flatten().collect()
    }

    /// One more than the last address of memory, or where memory above 4 GiB would begin.
    pub(super) fn high_end(&self) -> u64 {
        self.high_first + self.high
    }
}

fn round_up(value: u64, to: u64) -> Option<u64> {
    Some(value.checked_add(to - 1)? / to * to)
}

/// Where `bytes` of memory lie; nothing for a machine that lays memory anywhere.
pub(super) fn pieces(facts: &Facts<'_>, bytes: u64) -> Option<Pieces> {
    let settings = &facts.plan.settings;
    let asked = settings.low_bytes;
    let low = match facts.request.machine {
        Machine::Q35 => {
            let own = if bytes < 0xb000_0000 { 0xb000_0000 } else { 0x8000_0000 };
            own.min(asked.unwrap_or(FOUR_GIB))
        }
        Machine::I440fx => {
            let limit = asked.unwrap_or(0xe000_0000);
            if bytes < limit { limit } else { limit.min(0xc000_0000) }
        }
        Machine::CloudHypervisor => 3 * GIB,
        Machine::Library => return None,
    };
    let low = low.min(bytes);
    let high = bytes - low;
    let is_qemu = facts.request.machine != Machine::CloudHypervisor;
    let window = if facts.request.machine == Machine::I440fx { 2 * GIB } else { 32 * GIB };
    let used_end = |high_first: u64| -> Option<u64> {
        let mut end = high_first.checked_add(high)?;
        if facts.request.hotplug.bytes > 0 {
            let slots = GIB.checked_mul(facts.request.hotplug.slots.into())?;
            end = round_up(end, GIB)?.checked_add(facts.request.hotplug.bytes)?;
            end = end.checked_add(slots)?;
        }
        round_up(end, GIB)?.checked_add(window)
    };
    let mut high_first = FOUR_GIB;
    if is_qemu && facts.believes_in_amd() && used_end(FOUR_GIB)? > HYPERTRANSPORT {
        high_first = TEBIBYTE;
    }
    Some(Pieces { low, high_first, high, used_end: used_end(high_first)? })
}

pub(super) fn check(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    platform(facts, found);
    own_blocks(facts, found);
    let settings = &facts.plan.settings;
    let low = Span::new(Gpa::new(0), Gpa::new(0xf_ffff)).into_iter().collect::<Vec<_>>();
    let small = facts.request.memory.get() < 0x10_0000;
    for span in without(&low, &facts.backed).into_iter().filter(|_| !small) {
        let text = format!("no memory lies at {span}, where every PC has some");
        found.push(Violation::new(Rule::FirstMebibyte, span, text));
    }
    let mut broken = |text: String| found.push(Violation::new(Rule::Expressible, None, text));
    let machine = facts.request.machine;
    let is_qemu = matches!(machine, Machine::Q35 | Machine::I440fx);
    if let Some(bytes) = settings.low_bytes.filter(|bytes| !is_qemu || *bytes > FOUR_GIB) {
        broken(format!("{machine} cannot be told to end low memory at {bytes:#x}"));
    }
    let moved = settings.high_first.get() == TEBIBYTE;
    if settings.amd_vcpu != (is_qemu && moved) {
        broken(format!(
            "memory above begins at {}, and a processor of AMD's is {}",
            settings.high_first,
            if settings.amd_vcpu { "told" } else { "not told" }
        ));
    }
    if machine == Machine::Library {
        if settings.high_first.get() != FOUR_GIB {
            broken(format!("memory above begins at {}", settings.high_first));
        }
        return;
    }
    let Some(pieces) = pieces(facts, settings.memory_bytes) else {
        broken(format!("{} bytes of memory have no end", settings.memory_bytes));
        return;
    };
    if settings.high_first.get() != pieces.high_first {
        broken(format!(
            "memory above is said to begin at {}, {machine} begins it at {:#x}",
            settings.high_first, pieces.high_first
        ));
    }
    let width = settings.address_bits.min(63);
    if is_qemu && pieces.used_end > 1 << width {
        broken(format!(
            "{machine} counts addresses up to {:#x} as used, there are {width} bits",
            pieces.used_end - 1
        ));
    }
    let blocks = pieces.blocks();
    for span in without(&blocks, &facts.backed) {
        broken(format!("{machine} has memory at {span}, the plan has none"));
    }
    for span in without(&facts.backed, &blocks) {
        broken(format!("{machine} has no memory at {span}, the plan has"));
    }
}

fn platform(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let own: &[(u64, u64)] = match facts.request.machine {
        Machine::Q35 => {
            &[(0xb000_0000, 0xbfff_ffff), (0xfed1_c000, 0xfed1_ffff), (0xffc0_0000, 0xffff_ffff)]
        }
        Machine::CloudHypervisor => &[(0xe800_0000, 0xf7ff_ffff)],
        Machine::I440fx | Machine::Library => &[(0xffc0_0000, 0xffff_ffff)],
    };
    let fixed = FIXED.iter().chain(own);
    let fixed: Vec<_> =
        fixed.filter_map(|(first, last)| Span::new(Gpa::new(*first), Gpa::new(*last))).collect();
    let mut laid = facts.backed.clone();
    laid.extend(facts.used(&[Use::Window]));
    for span in common(&laid, &fixed) {
        let text = format!("{span} is fixed by the machine, and something was put there");
        found.push(Violation::new(Rule::Platform, span, text));
    }
}

fn own_blocks(facts: &Facts<'_>, found: &mut Vec<Violation>) {
    let own = &facts.plan.settings.own_blocks;
    if facts.request.machine != Machine::Library && !own.is_empty() {
        let text = format!("{} pieces of memory of their own cannot be laid", own.len());
        found.push(Violation::new(Rule::Expressible, own[0], text));
    }
    let held = facts.used(&[Use::Reserved, Use::Identity]);
    for span in without(own, &held) {
        let text = format!("{span} is a piece of its own, and no memory lies there for devices");
        found.push(Violation::new(Rule::Backing, span, text));
    }
    let legacy: Vec<_> = Span::new(Gpa::new(0), Gpa::new(0xf_ffff)).into_iter().collect();
    if facts.request.machine == Machine::Library {
        for span in without(&without(&held, own), &legacy) {
            let text = format!("{span} is memory of its own, and the VMM is not told so");
            found.push(Violation::new(Rule::Backing, span, text));
        }
    }
    if total(own) > u128::from(facts.plan.settings.memory_bytes) {
        let text = format!("{} bytes lie in pieces of their own", total(own));
        found.push(Violation::new(Rule::MemoryBytes, None, text));
    }
}
