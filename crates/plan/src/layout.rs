//! Where a machine can put memory at all: every layout worth a try.

use std::collections::BTreeSet;
use std::num::NonZeroU64;

use ringfence_addr::{Address as _, Alignment, Gpa, Span, SpanSet};

use crate::area::Area;
use crate::machine::{
    HIGH_FIRST, HIGH_FIRST_MOVED, HYPERTRANSPORT_FIRST, LEGACY_END, LOW_LEAST, Machine, Vcpu,
};
use crate::part::{Want, part};
use crate::request::Hotplug;

const PAGE: Alignment = Alignment::PAGE_4K;
const LARGE_PAGE: Alignment = Alignment::PAGE_2M;
const GIB: u64 = 1 << 30;
/// How many ends of low memory are tried.
const MOST_ENDS: usize = 128;

/// What is to be laid out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) machine: Machine,
    /// Usable bytes; whole pages.
    pub(crate) memory: u64,
    pub(crate) hotplug: Hotplug,
    pub(crate) vcpu: Vcpu,
    /// What can be addressed.
    pub(crate) limit: Span<Gpa>,
}

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
    /// Where memory above ends, in bytes from 0; where it would begin, if there is none.
    pub(crate) high_end: u64,
    /// One more than the last address that must be within reach.
    pub(crate) used_end: u64,
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

    /// Whether everything that must be within reach is.
    pub(crate) fn is_within(&self, limit: Span<Gpa>) -> bool {
        self.used_end.checked_sub(1).is_some_and(|last| last <= limit.last().get())
    }
}

pub(crate) fn bytes(span: &Span<Gpa>) -> u64 {
    span.length_u64().map_or(u64::MAX, NonZeroU64::get)
}

/// Every layout that is worth a try, the machine's own first.
pub(crate) fn layouts(asked: &Asked, areas: &[Area]) -> Vec<Layout> {
    if asked.machine.splits() {
        return split(asked, areas).into_iter().collect();
    }
    let mut ends = BTreeSet::new();
    if asked.machine.lowers() {
        for area in areas {
            let first = area.span.first().get();
            if (LOW_LEAST..HIGH_FIRST).contains(&first) {
                ends.insert(first);
                // An end above the machine's own is lowered to that by more memory: set so, it takes
                // no more.
                ends.insert(first.min(asked.machine.split_end()));
            }
        }
    }
    let own = two_pieces(asked, areas, HIGH_FIRST);
    let default = own.as_ref().map_or(0, |layout| layout.low_bytes);
    // Higher ends first: what is moved is least.
    let ends: Vec<_> = ends.into_iter().rev().filter(|end| *end < default).collect();
    // Of more regions than any host has, those in the middle are not worth the time.
    let middle = MOST_ENDS / 2..ends.len().saturating_sub(MOST_ENDS / 2);
    let ends = ends.into_iter().enumerate().filter(|(place, _)| !middle.contains(place));
    let lowered = ends.map(|(_, end)| end);
    let lowered = lowered
        .filter_map(|end| two_pieces(asked, areas, end).filter(|layout| layout.low_bytes == end));
    let mut layouts: Vec<_> = own.into_iter().collect();
    layouts.extend(lowered.map(|layout| Layout {
        lowered: true,
        moved: default.saturating_sub(layout.low_bytes),
        ..layout
    }));
    layouts
}

/// Low memory up to `at_most` and the rest above 4 GiB, with as much more as is not usable.
pub(crate) fn two_pieces(asked: &Asked, areas: &[Area], at_most: u64) -> Option<Layout> {
    // Where low memory ends depends on how much there is, and how much is needed depends on what
    // lies under areas: each end is tried with what suffices for it.
    asked.machine.low_ends(at_most).into_iter().find_map(|(low_end, least)| {
        let total = suffices(asked, areas, low_end, HIGH_FIRST)?.max(least);
        let layout = pieces(asked, total, at_most)?;
        let layout = if layout.high_first == HIGH_FIRST {
            layout
        } else {
            let above = suffices(asked, areas, low_end, HIGH_FIRST_MOVED)?.max(least);
            let moved = moves_from(asked)?.and_then(|high| low_end.checked_add(high));
            pieces(asked, above.max(moved.unwrap_or(0)), at_most)?
        };
        let total: u64 = layout.blocks.iter().map(bytes).sum();
        (layout.low_bytes == total.min(low_end)).then_some(layout)
    })
}

/// How much memory is enough, added in large pages, if low memory ends at `low_end` at the latest and
/// high memory begins at `high_first`: exactly what is asked for beside areas, and what lies in them.
fn suffices(asked: &Asked, areas: &[Area], low_end: u64, high_first: u64) -> Option<u64> {
    let mut left = asked.memory;
    let mut total: u64 = 0;
    for (first, end) in [(0, low_end), (high_first, u64::MAX)] {
        let mut at = first;
        for area in areas.iter().map(Some).chain([None]) {
            let (from, next) = match area {
                Some(area) => (area.span.first().get(), area.span.last().get().checked_add(1)),
                None => (end, None),
            };
            if next.is_some_and(|next| next <= at) {
                continue;
            }
            let free = from.min(end).saturating_sub(at);
            if free >= left {
                let total = total.checked_add(at - first)?.checked_add(left)?;
                let added = (total - asked.memory).checked_next_multiple_of(LARGE_PAGE.bytes())?;
                return asked.memory.checked_add(added);
            }
            left -= free;
            at = next.unwrap_or(end).min(end);
            if at == end {
                break;
            }
        }
        total += end - first;
    }
    None
}

/// From how much high memory on QEMU keeps HyperTransport's hole, by moving it all; `Some(None)` if it
/// does whatever there is.
#[expect(clippy::option_option, reason = "whether it can be counted, and whether there is a least")]
fn moves_from(asked: &Asked) -> Option<Option<u64>> {
    let plugged = asked.machine.plug_bytes(asked.hotplug)?.checked_next_multiple_of(GIB)?;
    let above = asked.machine.window_64_bytes().checked_add(plugged)?;
    let room = HYPERTRANSPORT_FIRST.checked_sub(HIGH_FIRST)?.checked_sub(above);
    Some(room.map(|room| room + PAGE.bytes()))
}

/// What the machine makes of so much memory.
fn pieces(asked: &Asked, total: u64, at_most: u64) -> Option<Layout> {
    let machine = asked.machine;
    let low_bytes = machine.low_bytes(total, at_most);
    let high_bytes = total - low_bytes;
    // QEMU counts memory to be plugged and the window for 64-bit base addresses in.
    let used_end = |high_first: u64| {
        let end = high_first.checked_add(high_bytes)?;
        if !machine.is_qemu() {
            return Some(if high_bytes > 0 { end } else { low_bytes });
        }
        let end = end.checked_next_multiple_of(GIB)?;
        let end = end.checked_add(machine.plug_bytes(asked.hotplug)?)?;
        end.checked_next_multiple_of(GIB)?.checked_add(machine.window_64_bytes())
    };
    let mut high_first = HIGH_FIRST;
    if machine.keeps_hypertransport(asked.vcpu) && used_end(HIGH_FIRST)? > HYPERTRANSPORT_FIRST {
        high_first = HIGH_FIRST_MOVED;
    }
    let used_end = used_end(high_first)?;
    let low = Span::from_parts(Gpa::FIRST, low_bytes)?;
    let high = Span::from_parts(Gpa::new(high_first), high_bytes);
    let blocks = [Some(low), high].into_iter().flatten().collect();
    let high_end = high_first.checked_add(high_bytes)?;
    Some(Layout { blocks, low_bytes, lowered: false, high_first, high_end, used_end, moved: 0 })
}

/// Memory anywhere but in areas, lowest first, in whole large pages where it can be.
fn split(asked: &Asked, areas: &[Area]) -> Option<Layout> {
    // The first MiB is always there, and so is what is free up to the end of its large page: what
    // areas have of the former is told to be kept off.
    let mut kept: u64 = 0;
    let mut head_end = LARGE_PAGE.bytes();
    for area in areas.iter().take_while(|area| area.span.first().get() < LARGE_PAGE.bytes()) {
        let (first, last) = (area.span.first().get(), area.span.last().get());
        kept += (last.saturating_add(1)).min(LEGACY_END).saturating_sub(first);
        if last >= LEGACY_END {
            head_end = head_end.min(first.max(LEGACY_END));
        }
    }
    let total = asked.memory.checked_add(kept.checked_next_multiple_of(LARGE_PAGE.bytes())?)?;
    let head = Span::from_parts(Gpa::FIRST, head_end.min(total))?;
    let low = Span::new(Gpa::new(LARGE_PAGE.bytes()), Gpa::new(3 * GIB - 1));
    let high = Span::new(Gpa::new(HIGH_FIRST), asked.limit.last());
    let mut free: SpanSet<Gpa> = [low, high].into_iter().flatten().collect();
    for area in areas {
        free.remove(area.span);
    }
    let want = Want::anywhere("memory", total - bytes(&head)).splittable(LARGE_PAGE);
    let rest = part(&free, &[want]).ok()?.pop()?.spans;
    let mut blocks = vec![head];
    for block in rest {
        match blocks.last_mut().and_then(|last| Some((last.join(&block)?, last))) {
            Some((joined, last)) => *last = joined,
            None => blocks.push(block),
        }
    }
    let is_low = |block: &&Span<Gpa>| block.first() < Gpa::new(HIGH_FIRST);
    let low_bytes = blocks.iter().take_while(is_low).last()?.last().get() + 1;
    let above: u64 = blocks.iter().skip_while(is_low).map(bytes).sum();
    let default = asked.memory - asked.machine.low_bytes(asked.memory, HIGH_FIRST);
    let end = blocks.last()?.last().checked_add(1)?.get();
    Some(Layout {
        low_bytes,
        lowered: false,
        high_first: HIGH_FIRST,
        high_end: end.max(HIGH_FIRST),
        used_end: end,
        moved: above.saturating_sub(default),
        blocks,
    })
}
