//! Where a machine can put memory at all: every layout worth a try.

use std::collections::BTreeSet;

use ringfence_addr::{Address as _, Alignment, Gpa, Span, SpanSet};

use crate::area::Area;
use crate::machine::{
    HIGH_FIRST, HIGH_FIRST_MOVED, HYPERTRANSPORT_FIRST, LEGACY_END, LOW_LEAST, Machine, Vcpu,
};
use crate::part::{Want, part};

const LARGE_PAGE: Alignment = Alignment::PAGE_2M;

/// Where memory lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The pieces, lowest first, without overlaps.
    pub(crate) blocks: Vec<Span<Gpa>>,
    /// Where memory below 4 GiB ends, in bytes from 0.
    pub(crate) low_bytes: u64,
    /// That end was set, and is not the machine's own.
    pub(crate) lowered: bool,
    /// Where memory above begins.
    pub(crate) high_first: u64,
    /// Bytes that lie above 4 GiB and would not by default.
    pub(crate) moved: u64,
}

impl Layout {
    /// Whether any memory lies in `span`.
    pub(crate) fn overlaps(&self, span: &Span<Gpa>) -> bool {
        self.blocks.iter().any(|block| block.overlaps(span))
    }

    /// The memory in `span`, in bytes.
    pub(crate) fn bytes_in(&self, span: &Span<Gpa>) -> u64 {
        let inside = self.blocks.iter().filter_map(|block| block.intersection(span));
        inside.fold(0, |sum: u64, piece| sum.saturating_add(bytes(&piece)))
    }

    /// The highest address of memory.
    pub(crate) fn last(&self) -> Option<Gpa> {
        self.blocks.last().map(Span::last)
    }
}

pub(crate) fn bytes(span: &Span<Gpa>) -> u64 {
    span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get)
}

/// Every layout of `memory` usable bytes that is worth a try, the machine's own first.
pub(crate) fn layouts(
    machine: Machine,
    memory: u64,
    areas: &[Area],
    vcpu: Vcpu,
    limit: Span<Gpa>,
) -> Vec<Layout> {
    if machine.splits() {
        return split(memory, areas, limit).into_iter().collect();
    }
    let mut ends = BTreeSet::new();
    if machine.lowers() {
        for area in areas {
            let first = area.span.first().get();
            if (LOW_LEAST..HIGH_FIRST).contains(&first) {
                ends.insert(first);
            }
        }
    }
    let own = two_pieces(machine, memory, areas, vcpu, HIGH_FIRST);
    let default = own.as_ref().map_or(0, |layout| layout.low_bytes);
    // Higher ends first: what is moved is least.
    let lowered = ends.into_iter().rev().filter(|end| *end < default);
    let lowered = lowered.filter_map(|end| two_pieces(machine, memory, areas, vcpu, end));
    let mut layouts: Vec<_> = own.into_iter().collect();
    layouts.extend(lowered.map(|layout| Layout {
        lowered: true,
        moved: default.saturating_sub(layout.low_bytes),
        ..layout
    }));
    layouts
}

/// Low memory up to `at_most` and the rest above 4 GiB, with as much more as is not usable.
fn two_pieces(
    machine: Machine,
    memory: u64,
    areas: &[Area],
    vcpu: Vcpu,
    at_most: u64,
) -> Option<Layout> {
    let mut added = 0;
    // What is added may push memory over a threshold where its end moves: then what lies under
    // areas changes. It never takes less again, so a few rounds do.
    for _ in 0..4 {
        let total = memory.checked_add(added)?;
        let low_bytes = machine.low_bytes(total, at_most);
        let layout = pieces(machine, total, low_bytes, vcpu)?;
        let unusable = unusable(&layout, areas).checked_next_multiple_of(LARGE_PAGE.bytes())?;
        if unusable <= added {
            return Some(layout);
        }
        added = unusable;
    }
    None
}

fn pieces(machine: Machine, total: u64, low_bytes: u64, vcpu: Vcpu) -> Option<Layout> {
    let high_bytes = total - low_bytes;
    let mut high_first = HIGH_FIRST;
    // QEMU counts the window for 64-bit base addresses in.
    let end = (high_first.checked_add(high_bytes)?).checked_next_multiple_of(1 << 30)?;
    let used_last = end.checked_add(machine.window_64_bytes())?;
    if machine.keeps_hypertransport(vcpu) && used_last > HYPERTRANSPORT_FIRST {
        high_first = HIGH_FIRST_MOVED;
    }
    let low = Span::from_parts(Gpa::FIRST, low_bytes)?;
    let high = Span::from_parts(Gpa::new(high_first), high_bytes);
    if high_bytes > 0 && high.is_none() {
        return None;
    }
    let blocks = [Some(low), high].into_iter().flatten().collect();
    Some(Layout { blocks, low_bytes, lowered: false, high_first, moved: 0 })
}

/// Memory that lies under an area and so is not the guest's to use.
fn unusable(layout: &Layout, areas: &[Area]) -> u64 {
    areas.iter().fold(0, |sum: u64, area| sum.saturating_add(layout.bytes_in(&area.span)))
}

/// Memory anywhere but in areas, lowest first, in whole large pages where it can be.
fn split(memory: u64, areas: &[Area], limit: Span<Gpa>) -> Option<Layout> {
    let low = Span::from_parts(Gpa::FIRST, Machine::Library.low_bytes(memory, HIGH_FIRST))?;
    let high = Span::new(Gpa::new(HIGH_FIRST), limit.last());
    let mut free: SpanSet<Gpa> = [Some(low), high].into_iter().flatten().collect();
    // The first MiB is always there: what lies in it is told to be kept off.
    let legacy = Span::from_parts(Gpa::FIRST, LEGACY_END)?;
    let mut unusable = 0;
    for area in areas {
        if let Some(piece) = area.span.intersection(&legacy) {
            unusable += bytes(&piece);
        }
        for piece in area.span.minus(&legacy).into_iter().flatten() {
            free.remove(piece);
        }
    }
    let unusable = unusable.checked_next_multiple_of(LARGE_PAGE.bytes())?;
    let want = Want::anywhere("memory", memory.checked_add(unusable)?).splittable(LARGE_PAGE);
    let blocks = part(&free, &[want]).ok()?.pop()?.spans;
    let last = blocks.iter().rev().find(|block| block.first() < Gpa::new(HIGH_FIRST))?;
    let low_bytes = last.last().get() + 1;
    let above: u64 =
        blocks.iter().filter(|block| block.first() >= Gpa::new(HIGH_FIRST)).map(bytes).sum();
    let default = memory - Machine::Library.low_bytes(memory, HIGH_FIRST);
    Some(Layout {
        low_bytes,
        lowered: false,
        high_first: HIGH_FIRST,
        moved: above.saturating_sub(default),
        blocks,
    })
}
