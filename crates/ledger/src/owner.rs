//! What is known of an owner: its memory, and what counts it.

use std::collections::BTreeMap;

use ringfence_addr::{Alignment, Gpa, Span, SpanSet};
use ringfence_refusal::Refusal;

use crate::count::Count;
use crate::frames::{FRAME_BYTES, Frames, REGION_FRAMES_MAX};
use crate::refusals::{COUNT_FULL, MISALIGNED};

/// A point in time, in milliseconds of whatever clock the caller has: the ledger has none.
pub type Milliseconds = u64;

/// What an owner wants back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retiring {
    pub(crate) span: Span<Gpa>,
    pub(crate) deadline: Milliseconds,
    /// Its holders are being fenced.
    pub(crate) is_overdue: bool,
}

pub(crate) struct OwnerRecord {
    pub(crate) name: String,
    pub(crate) memory: SpanSet<Gpa>,
    /// The counts of each region of memory, made when something of it is mapped, by its first address.
    pub(crate) frames: BTreeMap<Gpa, (Span<Gpa>, Frames)>,
    /// What the owner wants back.
    pub(crate) retiring: Vec<Retiring>,
    /// What it has got back.
    pub(crate) given_back: SpanSet<Gpa>,
    /// Mappings that may begin in one shard and reach beyond the next.
    pub(crate) long: Vec<u32>,
}

impl OwnerRecord {
    /// Whether a mapping counts any frame of `span`.
    pub(crate) fn is_busy(&self, span: Span<Gpa>) -> bool {
        self.frames.values().any(|(region, frames)| {
            region.intersection(&span).is_some_and(|part| frames.is_busy(part))
        })
    }

    /// How many frames mappings count, each once.
    pub(crate) fn charged_frames(&self) -> u64 {
        self.frames.values().map(|(_, frames)| frames.charged()).sum()
    }
}

impl OwnerRecord {
    pub(crate) fn region(&self, address: Gpa) -> Option<&(Span<Gpa>, Frames)> {
        let (_, region) = self.frames.range(..=address).next_back()?;
        region.0.contains(address).then_some(region)
    }

    pub(crate) fn region_mut(&mut self, address: Gpa) -> Option<&mut (Span<Gpa>, Frames)> {
        let (_, region) = self.frames.range_mut(..=address).next_back()?;
        region.0.contains(address).then_some(region)
    }

    pub(crate) fn is_in_one_region(&self, span: Span<Gpa>) -> bool {
        self.region(span.first()).is_some_and(|(region, _)| region.encloses(&span))
    }

    /// Makes counts for what of `span` has none.
    fn make_frames(&mut self, span: Span<Gpa>) -> Result<(), Refusal> {
        if self.is_in_one_region(span) {
            return Ok(());
        }
        for memory in self.memory.overlapping(span).collect::<Vec<_>>() {
            let counted: SpanSet<Gpa> = self.frames.values().map(|(region, _)| *region).collect();
            for gap in counted.gaps(memory).collect::<Vec<_>>() {
                let inside = gap.aligned_in(Alignment::PAGE_4K);
                let Some((region, frames)) = inside.and_then(|it| Some((it, Frames::new(it)?)))
                else {
                    let detail = format!(
                        "{gap} of {} is more than {REGION_FRAMES_MAX} frames, or no whole one",
                        self.name
                    );
                    return Err(Refusal::new(&MISALIGNED, detail));
                };
                self.frames.insert(region.first(), (region, frames));
            }
        }
        Ok(())
    }

    /// Counts one mapping more.
    pub(crate) fn count(&mut self, span: Span<Gpa>, one: Count) -> Result<(), Refusal> {
        self.make_frames(span)?;
        let parts: Vec<_> = self.parts(span).collect();
        for (done, part) in parts.iter().enumerate() {
            let Some((_, frames)) = self.region_mut(part.first()) else { continue };
            if let Err(full) = frames.add(*part, one) {
                for part in &parts[..done] {
                    if let Some((_, frames)) = self.region_mut(part.first()) {
                        frames.subtract(*part, one);
                    }
                }
                let detail = format!("the frame at {full} of {}", self.name);
                return Err(Refusal::new(&COUNT_FULL, detail));
            }
        }
        Ok(())
    }

    pub(crate) fn uncount(&mut self, span: Span<Gpa>, one: Count) {
        for part in self.parts(span).collect::<Vec<_>>() {
            if let Some((_, frames)) = self.region_mut(part.first()) {
                frames.subtract(part, one);
            }
        }
    }

    /// What of `span` each counted region has.
    fn parts(&self, span: Span<Gpa>) -> impl Iterator<Item = Span<Gpa>> + '_ {
        self.frames.values().filter_map(move |(region, _)| region.intersection(&span))
    }
}

impl OwnerRecord {
    pub(crate) fn give_back(&mut self, memory: Span<Gpa>) {
        self.memory.remove(memory);
        self.given_back.insert(memory);
    }
}
/// How many frames a span of whole ones has.
pub(crate) fn frames(span: Span<Gpa>) -> u64 {
    span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get) / FRAME_BYTES
}
