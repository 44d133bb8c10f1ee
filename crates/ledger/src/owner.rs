//! What is known of an owner: its memory, and what counts it.

use std::collections::BTreeSet;

use ringfence_addr::{Alignment, Gpa, Span, SpanMap, SpanSet};
use ringfence_refusal::Refusal;

use crate::count::Count;
use crate::frames::{FRAME_BYTES, Frames, REGION_FRAMES_MAX, SHORT_FRAMES_MAX};
use crate::refusals::{COUNT_FULL, MISALIGNED};

/// A point in time, in milliseconds of whatever clock the caller has: the ledger has none.
pub type Milliseconds = u64;

/// What an owner wants back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retiring {
    pub(crate) deadline: Milliseconds,
    /// Its holders are being fenced.
    pub(crate) is_overdue: bool,
}

pub(crate) struct OwnerRecord {
    pub(crate) name: String,
    pub(crate) memory: Memory,
    /// The counts of each region of memory, made when something of it is mapped. They are few, do not
    /// overlap, and stay.
    pub(crate) regions: Vec<(Span<Gpa>, Frames)>,
    /// What the owner wants back.
    pub(crate) retiring: SpanMap<Gpa, Retiring>,
    /// What it has got back.
    pub(crate) given_back: SpanSet<Gpa>,
    /// Mappings that are not found at the frame where they begin: by the logarithm of their length,
    /// which says how far below they may begin, the address where they do, and number.
    pub(crate) long: BTreeSet<(u32, Gpa, u32)>,
}

/// What is an owner's, and the part of it that was asked for last: it is asked for again, mostly.
#[derive(Default)]
pub(crate) struct Memory {
    all: SpanSet<Gpa>,
    last: Option<Span<Gpa>>,
}

impl Memory {
    pub(crate) fn all(&self) -> &SpanSet<Gpa> {
        &self.all
    }

    pub(crate) fn insert(&mut self, span: Span<Gpa>) {
        self.all.insert(span);
        self.last = self.all.get(span.first());
    }

    pub(crate) fn remove(&mut self, span: Span<Gpa>) {
        self.all.remove(span);
        self.last = None;
    }

    #[inline]
    pub(crate) fn encloses(&mut self, span: &Span<Gpa>) -> bool {
        if self.last.is_some_and(|last| last.encloses(span)) {
            return true;
        }
        self.last = self.all.get(span.first());
        self.last.is_some_and(|last| last.encloses(span))
    }
}

impl OwnerRecord {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            memory: Memory::default(),
            regions: Vec::new(),
            retiring: SpanMap::new(),
            given_back: SpanSet::new(),
            long: BTreeSet::new(),
        }
    }

    /// Whether a mapping counts any frame of `span`.
    pub(crate) fn is_busy(&self, span: Span<Gpa>) -> bool {
        self.regions.iter().any(|(region, frames)| {
            region.intersection(&span).is_some_and(|part| frames.is_busy(part))
        })
    }

    /// How many frames mappings count, each once.
    pub(crate) fn charged_frames(&self) -> u64 {
        self.regions.iter().map(|(_, frames)| frames.charged()).sum()
    }

    /// What counts the frame that `address` is in.
    pub(crate) fn count_of(&self, address: Gpa) -> Count {
        let region = self.regions.iter().find(|(region, _)| region.contains(address));
        region.map_or(Count::ZERO, |(_, frames)| frames.count(address))
    }

    /// The counts of the one region that has all of `span`.
    #[inline]
    pub(crate) fn frames_of(&mut self, span: Span<Gpa>) -> Option<&mut Frames> {
        let mut regions = self.regions.iter_mut();
        regions.find(|(region, _)| region.encloses(&span)).map(|(_, frames)| frames)
    }

    /// Makes counts for what of `span` has none.
    fn make_frames(&mut self, span: Span<Gpa>) -> Result<(), Refusal> {
        for memory in self.memory.all().overlapping(span).collect::<Vec<_>>() {
            let counted: SpanSet<Gpa> = self.regions.iter().map(|(region, _)| *region).collect();
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
                self.regions.push((region, frames));
            }
        }
        Ok(())
    }

    /// Counts one mapping more, and notes where it begins: the short one that was noted there
    /// before, and one, or 0.
    #[inline]
    pub(crate) fn begin(
        &mut self,
        memory: Span<Gpa>,
        one: Count,
        number: u32,
    ) -> Result<u32, Refusal> {
        let short = self.frames_of(memory).and_then(|it| it.add_short(memory, one, number + 1));
        match short {
            Some(noted) => noted.map_err(|full| self.refuse_full(full)),
            None => self.begin_long(memory, one, number),
        }
    }

    fn begin_long(&mut self, memory: Span<Gpa>, one: Count, number: u32) -> Result<u32, Refusal> {
        self.count(memory, one)?;
        if let Some(first) = self.begins_mut(memory) {
            return Ok(std::mem::replace(first, number + 1));
        }
        self.long.insert((frames(memory).ilog2(), memory.first(), number));
        Ok(0)
    }

    /// Counts one mapping less, and notes which begins there now if that is another.
    #[inline]
    pub(crate) fn end(&mut self, memory: Span<Gpa>, one: Count, number: u32, first: Option<u32>) {
        let short = self.frames_of(memory).and_then(|it| it.subtract_short(memory, one, first));
        if short.is_none() {
            self.end_long(memory, one, number, first);
        }
    }

    fn end_long(&mut self, memory: Span<Gpa>, one: Count, number: u32, first: Option<u32>) {
        // Where mappings begin is kept with the counts: it has to be changed before they are gone.
        match (self.begins_mut(memory), first) {
            (Some(begins), Some(first)) => *begins = first,
            (Some(_), None) => {}
            (None, _) => drop(self.long.remove(&(frames(memory).ilog2(), memory.first(), number))),
        }
        self.uncount(memory, one);
    }

    /// Counts one mapping more.
    fn count(&mut self, span: Span<Gpa>, one: Count) -> Result<(), Refusal> {
        let full = match self.frames_of(span) {
            Some(frames) => frames.add(span, one).err(),
            None => {
                self.make_frames(span)?;
                self.count_parts(span, one)
            }
        };
        full.map_or(Ok(()), |full| Err(self.refuse_full(full)))
    }

    #[cold]
    fn refuse_full(&self, full: Gpa) -> Refusal {
        Refusal::new(&COUNT_FULL, format!("the frame at {full} of {}", self.name))
    }

    /// Counts in every region that has a part; where a count is full, none of them is changed.
    fn count_parts(&mut self, span: Span<Gpa>, one: Count) -> Option<Gpa> {
        for place in 0..self.regions.len() {
            let (region, frames) = &mut self.regions[place];
            let Some(part) = region.intersection(&span) else { continue };
            if let Err(full) = frames.add(part, one) {
                uncount(&mut self.regions[..place], span, one);
                return Some(full);
            }
        }
        None
    }

    /// Counts one mapping less.
    fn uncount(&mut self, span: Span<Gpa>, one: Count) {
        match self.frames_of(span) {
            Some(frames) => frames.subtract(span, one),
            None => uncount(&mut self.regions, span, one),
        }
    }

    /// Where the first of the short mappings stands that begin with that memory, if it is short.
    fn begins_mut(&mut self, memory: Span<Gpa>) -> Option<&mut u32> {
        if frames(memory) > SHORT_FRAMES_MAX {
            return None;
        }
        self.frames_of(memory)?.begins_mut(memory.first())
    }

    pub(crate) fn give_back(&mut self, memory: Span<Gpa>) {
        self.memory.remove(memory);
        self.given_back.insert(memory);
    }
}

fn uncount(regions: &mut [(Span<Gpa>, Frames)], span: Span<Gpa>, one: Count) {
    for (region, frames) in regions {
        if let Some(part) = region.intersection(&span) {
            frames.subtract(part, one);
        }
    }
}

/// How many frames a span of whole ones has.
#[inline]
pub(crate) fn frames(span: Span<Gpa>) -> u64 {
    span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get) / FRAME_BYTES
}
