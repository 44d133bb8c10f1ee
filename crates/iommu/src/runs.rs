//! Which runs of bus addresses a kernel was told of, and when each can be taken out.
//!
//! The kernel keeps at most so many entries and takes each out whole or not at all. So neighbours that
//! are mapped together are told to it as one run, as long as they lie within one *grain* of bus
//! addresses; and a run goes when all of it was asked to go. What is asked for sooner waits: it is
//! reached until then, and counted.

use ringfence_addr::{Address as _, Alignment, Iova, Span, SpanMap, SpanSet};

use ringfence_refusal::Refusal;

use crate::domain::Piece;
use crate::memory::{self, Memory};
use crate::refusals;

/// What one kernel mapping holds.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// Kept for as long as it is mapped.
    _memory: Memory,
    /// How many of its bytes were not asked to go.
    left: u64,
}

/// The runs of one domain.
#[derive(Debug)]
pub(crate) struct Runs {
    usable: SpanSet<Iova>,
    grain: Alignment,
    entries_max: usize,
    runs: SpanMap<Iova, Run>,
    /// Spans that were asked to go, in runs that were not.
    waiting: SpanMap<Iova, ()>,
}

impl Runs {
    /// None, of which there can be so many, where it is `usable`; neighbours are joined within `grain`.
    ///
    /// The last page there is is never mapped, whatever the kernel says: Linux 6.12 maps it, and then says
    /// that it unmapped what it left mapped.
    pub(crate) fn new(usable: SpanSet<Iova>, grain: Alignment, entries_max: usize) -> Self {
        let usable = without_last_page(usable);
        Self { usable, grain, entries_max, runs: SpanMap::new(), waiting: SpanMap::new() }
    }

    /// Where it can be mapped.
    pub(crate) fn usable(&self) -> &SpanSet<Iova> {
        &self.usable
    }

    /// So many entries there can be.
    pub(crate) fn set_entries_max(&mut self, entries: usize) {
        self.entries_max = entries;
    }

    /// Refuses what the kernel would refuse without a reason, or let pass.
    pub(crate) fn may_map(&self, first: &Piece<Memory>, run: Span<Iova>) -> Result<(), Refusal> {
        if !run.is_aligned(Alignment::PAGE_4K) || !first.offset.is_multiple_of(4096) {
            let detail = format!("{run}, memory from {:#x} on", first.offset);
            return Err(Refusal::new(&refusals::NOT_PAGES, detail));
        }
        let length = run.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get);
        memory::check(&first.memory, first.offset, length)?;
        if !self.usable.encloses(&run) {
            let detail = format!("{run}; there are {}", self.usable);
            return Err(Refusal::new(&refusals::OUTSIDE_APERTURE, detail));
        }
        if let Some((taken, _)) = self.runs.overlapping(run).next() {
            let detail = format!("{run}: {taken} is mapped");
            return Err(Refusal::new(&refusals::ALREADY_MAPPED, detail));
        }
        if self.runs.len() >= self.entries_max {
            let detail = format!("{run}: {} are used", self.runs.len());
            return Err(Refusal::new(&refusals::NO_ENTRY, detail));
        }
        Ok(())
    }

    /// Refuses what is not exactly one run that nobody asked for.
    pub(crate) fn may_unmap(&self, span: Span<Iova>) -> Result<(), Refusal> {
        match self.runs.get_exact(span).is_some() && self.may_ask(span) {
            true => Ok(()),
            false => Err(Refusal::new(&refusals::NOT_MAPPED, span.to_string())),
        }
    }

    /// For what is added from here on.
    pub(crate) fn set_grain(&mut self, grain: Alignment) {
        self.grain = grain;
    }

    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// How many of `pieces`, from the first on, make one run, and where that run is.
    pub(crate) fn join(&self, pieces: &[Piece<Memory>]) -> Option<(usize, Span<Iova>)> {
        let (first, rest) = pieces.split_first()?;
        let (mut run, mut count) = (first.bus, 1);
        let grain = first.bus.first().align_down(self.grain);
        for piece in rest {
            let so_far = run.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get);
            let follows = run.last().checked_add(1) == Some(piece.bus.first())
                && first.offset.checked_add(so_far) == Some(piece.offset)
                && first.memory.is(&piece.memory)
                && piece.rights == first.rights
                && piece.bus.last().align_down(self.grain) == grain;
            let Some(joined) = run.join(&piece.bus).filter(|_| follows) else { break };
            (run, count) = (joined, count + 1);
        }
        Some((count, run))
    }

    pub(crate) fn add(&mut self, run: Span<Iova>, memory: Memory) {
        let left = run.length_u64().map_or(0, std::num::NonZeroU64::get);
        self.runs.insert(run, Run { _memory: memory, left });
    }

    /// Whether `span` begins and ends where pieces may, all of it is mapped, and none of it was asked to
    /// go before.
    pub(crate) fn may_ask(&self, span: Span<Iova>) -> bool {
        self.runs.covers(span) && !self.waiting.overlaps(span)
    }

    /// Takes down that `span` is to go: the runs of which nothing is left that was not asked for.
    pub(crate) fn ask(&mut self, span: Span<Iova>) -> Vec<Span<Iova>> {
        let mut complete = Vec::new();
        let over: Vec<Span<Iova>> = self.runs.overlapping(span).map(|(run, _)| run).collect();
        for run in over {
            let bytes = run.intersection(&span).and_then(|part| part.length_u64());
            if let (Some((_, it)), Some(bytes)) = (self.runs.get_mut(run.first()), bytes) {
                it.left = it.left.saturating_sub(bytes.get());
                if it.left == 0 {
                    complete.push(run);
                }
            }
        }
        self.waiting.insert(span, ());
        complete
    }

    /// Takes down that a run is gone: the spans that waited for it, and for no other.
    pub(crate) fn gone(&mut self, run: Span<Iova>) -> Vec<Span<Iova>> {
        self.runs.remove_exact(run);
        let freed: Vec<Span<Iova>> = self
            .waiting
            .overlapping(run)
            .map(|(span, ())| span)
            .filter(|span| !self.runs.overlaps(*span))
            .collect();
        for span in &freed {
            self.waiting.remove_exact(*span);
        }
        freed
    }

    /// Takes down that nobody knows what became of a run: the spans that waited for it never hear
    /// anything else. The run stays in the books.
    pub(crate) fn lost(&mut self, run: Span<Iova>) -> Vec<Span<Iova>> {
        let lost: Vec<Span<Iova>> = self.waiting.overlapping(run).map(|(span, ())| span).collect();
        for span in &lost {
            self.waiting.remove_exact(*span);
        }
        lost
    }

    /// How many bytes are mapped.
    pub(crate) fn bytes(&self) -> u128 {
        self.runs.iter().map(|(span, _)| span.length()).sum()
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.waiting.clear();
    }
}

/// All of it but the last page there is.
pub(crate) fn without_last_page(mut usable: SpanSet<Iova>) -> SpanSet<Iova> {
    usable.remove(Span::of(Iova::LAST).aligned_out(Alignment::PAGE_4K));
    usable
}

#[cfg(test)]
mod tests {
    use ringfence_addr::Rights;

    use super::*;

    fn pages(first: u64, count: u64) -> Span<Iova> {
        Span::from_parts(Iova::new(first << 12), count << 12).expect("a span")
    }

    fn runs() -> Runs {
        let usable = [pages(0, 0xf_edff), pages(0xf_ef00, 0x1000)].into_iter().collect();
        Runs::new(usable, Alignment::PAGE_2M, 3)
    }

    #[test]
    fn what_the_kernel_would_let_pass_is_refused() {
        let memory = Memory::new(8 << 12).expect("memory");
        let mut runs = runs();
        let code = |outcome: Result<(), Refusal>| outcome.err().map(|refusal| refusal.code());
        let map = |runs: &Runs, piece: &Piece<Memory>| code(runs.may_map(piece, piece.bus));
        let sound = piece(&memory, 1, 2, 0);
        assert_eq!(map(&runs, &sound), None);
        let bus = Span::from_parts(Iova::new(0x1000), 0xfff).expect("a span");
        assert_eq!(map(&runs, &Piece { bus, ..sound.clone() }), Some(&refusals::NOT_PAGES));
        assert_eq!(map(&runs, &Piece { offset: 5, ..sound.clone() }), Some(&refusals::NOT_PAGES));
        assert_eq!(map(&runs, &piece(&memory, 1, 9, 0)), Some(&refusals::NOT_THERE));
        assert_eq!(map(&runs, &piece(&memory, 1, 1, 8)), Some(&refusals::NOT_THERE));
        let window = piece(&memory, 0xf_edfe, 2, 0);
        assert_eq!(map(&runs, &window), Some(&refusals::OUTSIDE_APERTURE));
        runs.add(sound.bus, memory.clone());
        assert_eq!(map(&runs, &piece(&memory, 2, 1, 0)), Some(&refusals::ALREADY_MAPPED));
        for first in [8, 16] {
            runs.add(pages(first, 1), memory.clone());
        }
        assert_eq!(map(&runs, &piece(&memory, 4, 1, 0)), Some(&refusals::NO_ENTRY));
        assert_eq!(code(runs.may_unmap(pages(2, 1))), Some(&refusals::NOT_MAPPED));
        assert_eq!(code(runs.may_unmap(sound.bus)), None);
        runs.ask(sound.bus);
        runs.gone(sound.bus);
        assert_eq!(map(&runs, &piece(&memory, 2, 1, 0)), None);
    }

    /// I18, I19: the last page of the space is never used.
    #[test]
    fn the_last_page_there_is_is_never_mapped() {
        let runs = Runs::new(SpanSet::whole(), Alignment::PAGE_2M, 3);
        let memory = Memory::new(8 << 12).expect("memory");
        let code = |first| {
            let piece = piece(&memory, first, 1, 0);
            runs.may_map(&piece, piece.bus).err().map(|refusal| refusal.code())
        };
        assert_eq!(code((1 << 52) - 1), Some(&refusals::OUTSIDE_APERTURE));
        assert_eq!(code((1 << 52) - 2), None);
    }

    fn piece(memory: &Memory, first: u64, count: u64, offset: u64) -> Piece<Memory> {
        let (bus, rights) = (pages(first, count), Rights::READ_WRITE);
        Piece { bus, memory: memory.clone(), offset: offset << 12, rights }
    }

    #[test]
    fn neighbours_within_a_grain_are_one_run() {
        let memory = Memory::new(64 << 12).expect("memory");
        let other = Memory::new(64 << 12).expect("memory");
        let runs = runs();
        let first = piece(&memory, 510, 1, 0);
        let count = |second| {
            runs.join(&[first.clone(), second]).map(|(count, run)| (count, run.length() >> 12))
        };
        assert_eq!(count(piece(&memory, 511, 1, 1)), Some((2, 2)));
        assert_eq!(count(piece(&memory, 511, 2, 1)), Some((1, 1)), "beyond the grain");
        assert_eq!(count(piece(&memory, 511, 1, 2)), Some((1, 1)), "other memory");
        assert_eq!(count(piece(&other, 511, 1, 1)), Some((1, 1)), "memory of another's");
        assert_eq!(count(piece(&memory, 509, 1, 1)), Some((1, 1)), "not behind it");
        let narrow = Piece { rights: Rights::READ, ..piece(&memory, 511, 1, 1) };
        assert_eq!(count(narrow), Some((1, 1)), "other rights");
        assert_eq!(runs.join(&[]), None);
    }

    #[test]
    fn a_run_goes_when_all_of_it_was_asked_for() {
        let memory = Memory::new(8 << 12).expect("memory");
        let mut runs = runs();
        runs.add(pages(0, 4), memory.clone());
        runs.add(pages(4, 2), memory);
        assert_eq!(runs.ask(pages(1, 2)), []);
        assert!(!runs.may_ask(pages(2, 1)), "asked for before");
        assert!(!runs.may_ask(pages(5, 2)), "not all mapped");
        assert_eq!(runs.ask(pages(3, 3)), [pages(4, 2)]);
        assert_eq!(runs.gone(pages(4, 2)), [], "some of it is in the other run");
        assert_eq!(runs.ask(pages(0, 1)), [pages(0, 4)]);
        assert_eq!(runs.gone(pages(0, 4)), [pages(0, 1), pages(1, 2), pages(3, 3)]);
        assert_eq!((runs.len(), runs.bytes()), (0, 0));
    }
}
