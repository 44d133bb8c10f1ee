//! Which pages are in the balloon, and how they stand with the account.
//!
//! A page in the balloon is *free* (the account gave it back: its memory is the host's) or *waits* (a
//! device has it mapped). What waits, waits in a block ([`Block`]) that the gate named.
//!
//! **Invariant:** nothing is discarded but what the gate called free and has not been asked to take again.
//! **Invariant:** what a guest can make this remember is bounded by `pieces_max`: a page that would be one
//! piece too many stays the guest's, and taking a page out of the middle takes the rest of its piece out.

use std::collections::VecDeque;
use std::sync::Arc;

use ringfence_addr::{Address as _, Gpa, Span, SpanMap, SpanSet};
use ringfence_refusal::Refusal;

use crate::backing::Backing;
use crate::balloon::PAGE_BYTES;
use crate::balloon::status::BalloonCounts;
use crate::give_back::{Block, GiveBack, Verdict};

/// A line has so many names of holders.
const NAMES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Pages {
    free: SpanSet<Gpa>,
    waiting: SpanSet<Gpa>,
    blocks: SpanMap<Gpa, Held>,
    pieces_max: usize,
    /// Bytes of the sets, which would have to be counted anew each time.
    free_bytes: u64,
    waiting_bytes: u64,
    pub(super) counts: BalloonCounts,
}

/// A block that has pages in the balloon.
#[derive(Clone, Debug)]
struct Held {
    standing: Standing,
    holders: Arc<[String]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It is mapped, and some of its pages wait.
    Waiting,
    /// All of its pages wait, and its holders were asked.
    Asked,
    /// Its holders were asked, and the guest started anew since: it goes back to them.
    Returning,
    /// It was given back: all of it is free.
    Given,
}

fn bytes(span: Span<Gpa>) -> u64 {
    span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get)
}

/// The part of `span` before `block`; all of it if that begins no later.
fn before(span: Span<Gpa>, block: Option<Span<Gpa>>) -> Span<Gpa> {
    let last = block.and_then(|block| block.first().checked_sub(1));
    last.and_then(|last| Span::new(span.first(), last.min(span.last()))).unwrap_or(span)
}

fn pages(span: Span<Gpa>) -> u64 {
    bytes(span) / PAGE_BYTES
}

impl Pages {
    pub(super) fn new(pieces_max: usize) -> Self {
        Self {
            free: SpanSet::new(),
            waiting: SpanSet::new(),
            blocks: SpanMap::new(),
            pieces_max,
            free_bytes: 0,
            waiting_bytes: 0,
            counts: BalloonCounts::default(),
        }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    pub(super) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Who keeps pages waiting.
    pub(super) fn holders(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let waiting = self.blocks.iter().filter(|(_, held)| held.standing != Standing::Given);
        for name in waiting.flat_map(|(_, held)| held.holders.iter()) {
            if names.len() < NAMES_MAX && !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// Whether any page of `span` is in a block that its holders have been asked for: it cannot be had
    /// before they let go.
    pub(super) fn is_being_asked_back(&self, span: Span<Gpa>) -> bool {
        self.blocks.overlapping(span).any(|(block, held)| {
            matches!(held.standing, Standing::Asked | Standing::Returning)
                && block.intersection(&span).is_some_and(|part| self.waiting.overlaps(&part))
        })
    }

    /// The parts of `span` that are not in the balloon.
    fn news(&self, span: Span<Gpa>) -> Vec<Span<Gpa>> {
        self.free.gaps(span).flat_map(|gap| self.waiting.gaps(gap)).collect()
    }

    fn pieces(&self) -> usize {
        self.free.iter().len() + self.waiting.iter().len()
    }

    fn is_full(&self) -> bool {
        self.pieces() >= self.pieces_max
    }

    /// Whether one more piece can be remembered, or this one lies beside one that is.
    fn fits(&self, set: &SpanSet<Gpa>, span: Span<Gpa>) -> bool {
        let before = span.first().checked_sub(1).is_some_and(|before| set.contains(before));
        let after = span.last().checked_add(1).is_some_and(|after| set.contains(after));
        !self.is_full() || before || after
    }

    fn insert_free(&mut self, span: Span<Gpa>) {
        self.free.insert(span);
        self.free_bytes += bytes(span);
    }

    fn remove_free(&mut self, span: Span<Gpa>) {
        self.free.remove(span);
        self.free_bytes -= bytes(span);
    }

    fn insert_waiting(&mut self, span: Span<Gpa>) {
        self.waiting.insert(span);
        self.waiting_bytes += bytes(span);
    }

    fn remove_waiting(&mut self, span: Span<Gpa>) {
        self.waiting.remove(span);
        self.waiting_bytes -= bytes(span);
    }

    /// The guest puts pages in, and says so before it uses them again.
    pub(super) fn inflate(
        &mut self,
        span: Span<Gpa>,
        gate: &mut impl GiveBack,
        backing: &mut Backing,
    ) -> Result<(), Refusal> {
        let news = self.news(span);
        let new: u64 = news.iter().copied().map(pages).sum();
        self.counts.repeated += pages(span) - new;
        for part in news {
            self.take(part, gate, backing)?;
        }
        Ok(())
    }

    /// Takes pages that are not in the balloon; each turn of the loop has one part less to look at, or
    /// knows one block more.
    fn take(
        &mut self,
        part: Span<Gpa>,
        gate: &mut impl GiveBack,
        backing: &mut Backing,
    ) -> Result<(), Refusal> {
        let mut parts = VecDeque::from([part]);
        while let Some(part) = parts.pop_front() {
            if let Some((block, inside)) = self.known(part) {
                parts.extend(part.minus(&block).into_iter().flatten());
                self.wait(inside, block, gate, backing)?;
                continue;
            }
            if !self.fits(&self.free, part) {
                self.counts.scattered += pages(part);
                continue;
            }
            match gate.retire(part)? {
                Verdict::Free => {
                    self.insert_free(part);
                    backing.discard(part, &self.free);
                }
                Verdict::Busy(block) if self.enter(&block, part).is_some() => {
                    parts.push_front(part)
                }
                // A gate that names another block than one of these pages' makes them stay the guest's.
                Verdict::Busy(_) | Verdict::Later => self.counts.kept += pages(part),
            }
        }
        Ok(())
    }

    /// The first block known that has pages of `part`, and which.
    fn known(&self, part: Span<Gpa>) -> Option<(Span<Gpa>, Span<Gpa>)> {
        let (block, _) = self.blocks.overlapping(part).next()?;
        Some((block, block.intersection(&part)?))
    }

    /// Remembers a block that `part` has pages of, joined with those it overlaps; says what it is then.
    /// One that overlaps what is not mapped is none.
    fn enter(&mut self, block: &Block, part: Span<Gpa>) -> Option<Span<Gpa>> {
        let mut whole = block.memory;
        let known: Vec<_> = self
            .blocks
            .overlapping(whole)
            .map(|(span, held)| (span, held.standing, Arc::clone(&held.holders)))
            .collect();
        let is_mapped = known.iter().all(|(_, standing, _)| *standing == Standing::Waiting);
        if !is_mapped || !whole.overlaps(&part) || self.free.overlaps(&whole) {
            return None;
        }
        let mut names = block.holders.clone();
        for (span, _, holders) in known {
            whole = whole.join(&span)?;
            self.blocks.remove_exact(span);
            let new: Vec<String> =
                holders.iter().filter(|name| !names.contains(name)).cloned().collect();
            names.extend(new);
        }
        names.truncate(NAMES_MAX);
        // Most blocks have the same holders, whose names are kept once.
        let beside = self.blocks.iter().next_back().map(|(_, held)| Arc::clone(&held.holders));
        let holders = beside.filter(|holders| **holders == *names).unwrap_or_else(|| names.into());
        self.blocks.try_insert(whole, Held { standing: Standing::Waiting, holders }).ok()?;
        Some(whole)
    }

    /// Has pages of a block wait, and asks for the block when it is complete.
    fn wait(
        &mut self,
        inside: Span<Gpa>,
        block: Span<Gpa>,
        gate: &mut impl GiveBack,
        backing: &mut Backing,
    ) -> Result<(), Refusal> {
        if !self.fits(&self.waiting, inside) {
            self.counts.scattered += pages(inside);
            return Ok(());
        }
        self.insert_waiting(inside);
        self.ask_if_complete(block, gate, backing)
    }

    fn ask_if_complete(
        &mut self,
        block: Span<Gpa>,
        gate: &mut impl GiveBack,
        backing: &mut Backing,
    ) -> Result<(), Refusal> {
        let mut block = block;
        loop {
            let Some(held) = self.blocks.get_exact(block) else { return Ok(()) };
            if held.standing != Standing::Waiting || !self.waiting.encloses(&block) {
                return Ok(());
            }
            match gate.ask_back(block)? {
                Verdict::Free => {
                    self.counts.asked += 1;
                    self.given(block, backing);
                    return Ok(());
                }
                Verdict::Later => {
                    self.counts.asked += 1;
                    self.stand(block, Standing::Asked);
                    return Ok(());
                }
                Verdict::Busy(larger) => match self.enter(&larger, block) {
                    Some(whole) if whole != block => block = whole,
                    _ => return Ok(()),
                },
            }
        }
    }

    fn stand(&mut self, block: Span<Gpa>, standing: Standing) {
        if let Some((span, held)) = self.blocks.get_mut(block.first())
            && span == block
        {
            held.standing = standing;
        }
    }

    /// A block's holders have let go.
    fn given(&mut self, block: Span<Gpa>, backing: &mut Backing) {
        self.stand(block, Standing::Given);
        self.remove_waiting(block);
        self.insert_free(block);
        backing.discard(block, &self.free);
    }

    /// The guest takes pages out; none of them is being asked back.
    pub(super) fn deflate(
        &mut self,
        span: Span<Gpa>,
        gate: &mut impl GiveBack,
    ) -> Result<(), Refusal> {
        self.counts.strangers += self.news(span).into_iter().map(pages).sum::<u64>();
        let waiting: Vec<_> = self.waiting.overlapping(span).collect();
        for member in waiting {
            let Some(part) = member.intersection(&span) else { continue };
            let part = self.widened(part, member);
            // What is being asked back is left alone.
            let part = before(part, self.first(part, |standing| standing != Standing::Waiting));
            self.remove_waiting(part);
            self.forget_blocks_without_pages(part);
        }
        loop {
            let Some(member) = self.free.overlapping(span).next() else { return Ok(()) };
            let Some(part) = member.intersection(&span) else { return Ok(()) };
            let part = self.widened(part, member);
            let given = self.first(part, |standing| standing == Standing::Given);
            match given.filter(|block| block.contains(part.first())) {
                Some(block) => self.take_block(block, span, gate)?,
                None => {
                    let part = before(part, given);
                    gate.reuse(part)?;
                    self.remove_free(part);
                }
            }
        }
    }

    /// What to take out for `part` of a piece: where one piece more would be too many, all from there on.
    fn widened(&self, part: Span<Gpa>, member: Span<Gpa>) -> Span<Gpa> {
        let splits = part.first() != member.first() && part.last() != member.last();
        match Span::new(part.first(), member.last()) {
            Some(rest) if splits && self.is_full() => rest,
            _ => part,
        }
    }

    /// The first block of `span` that stands so.
    fn first(&self, span: Span<Gpa>, so: impl Fn(Standing) -> bool) -> Option<Span<Gpa>> {
        let mut blocks = self.blocks.overlapping(span);
        blocks.find(|(_, held)| so(held.standing)).map(|(block, _)| block)
    }

    /// Takes a block back of which the guest wants the pages of `wanted`; the others wait again.
    fn take_block(
        &mut self,
        block: Span<Gpa>,
        wanted: Span<Gpa>,
        gate: &mut impl GiveBack,
    ) -> Result<(), Refusal> {
        gate.reuse(block)?;
        self.counts.returned += 1;
        self.remove_free(block);
        self.stand(block, Standing::Waiting);
        for rest in block.minus(&wanted).into_iter().flatten() {
            if self.fits(&self.waiting, rest) {
                self.insert_waiting(rest);
            }
        }
        self.forget_blocks_without_pages(block);
        Ok(())
    }

    fn forget_blocks_without_pages(&mut self, span: Span<Gpa>) {
        let blocks = self.blocks.overlapping(span).filter(|(block, held)| {
            held.standing == Standing::Waiting && !self.waiting.overlaps(block)
        });
        for block in blocks.map(|(block, _)| block).collect::<Vec<_>>() {
            self.blocks.remove_exact(block);
        }
    }

    /// The guest puts pages in, or reports them free, and uses them again without a word: their bytes go, if
    /// nobody has them mapped, and they are its own again at once.
    pub(super) fn pass(
        &mut self,
        span: Span<Gpa>,
        gate: &mut impl GiveBack,
        backing: &mut Backing,
    ) -> Result<(), Refusal> {
        let mut parts = VecDeque::from(self.news(span));
        while let Some(part) = parts.pop_front() {
            if let Some((block, inside)) = self.known(part) {
                self.counts.kept += pages(inside);
                parts.extend(part.minus(&block).into_iter().flatten());
                continue;
            }
            match gate.retire(part)? {
                Verdict::Free => {
                    backing.discard(part, &SpanSet::from_iter([part]));
                    gate.reuse(part)?;
                    self.counts.passed += pages(part);
                }
                Verdict::Busy(Block { memory, .. }) => {
                    parts
                        .extend(part.minus(&memory).into_iter().flatten().filter(|it| *it != part));
                    self.counts.kept += memory.intersection(&part).map_or(pages(part), pages);
                }
                Verdict::Later => self.counts.kept += pages(part),
            }
        }
        Ok(())
    }

    /// Discards what was let go of, and asks about everything that waits once more.
    pub(super) fn settle(
        &mut self,
        gate: &mut impl GiveBack,
        backing: &mut Backing,
    ) -> Result<(), Refusal> {
        for block in gate.settled() {
            match self.blocks.get_exact(block).map(|held| held.standing) {
                Some(Standing::Asked) => self.given(block, backing),
                Some(Standing::Returning) => {
                    gate.reuse(block)?;
                    self.counts.returned += 1;
                    self.stand(block, Standing::Waiting);
                    self.forget_blocks_without_pages(block);
                }
                _ => {}
            }
        }
        let waiting = self.blocks.iter().filter(|(_, held)| held.standing == Standing::Waiting);
        let blocks: Vec<_> = waiting.map(|(block, _)| block).collect();
        for block in blocks {
            self.blocks.remove_exact(block);
            let members: Vec<_> = self.waiting.overlapping(block).collect();
            let parts = members.iter().filter_map(|member| member.intersection(&block));
            for part in parts.collect::<Vec<_>>() {
                self.remove_waiting(part);
                self.take(part, gate, backing)?;
            }
        }
        Ok(())
    }

    /// The guest starts anew, and has all of its pages. What cannot be taken back stays free.
    pub(super) fn reset(&mut self, gate: &mut impl GiveBack) {
        self.waiting = SpanSet::new();
        self.waiting_bytes = 0;
        let blocks: Vec<_> =
            self.blocks.iter().map(|(block, held)| (block, held.standing)).collect();
        for (block, standing) in blocks {
            match standing {
                Standing::Waiting => drop(self.blocks.remove_exact(block)),
                Standing::Asked | Standing::Returning => self.stand(block, Standing::Returning),
                Standing::Given => {
                    if gate.reuse(block).is_ok() {
                        self.counts.returned += 1;
                        self.remove_free(block);
                        self.blocks.remove_exact(block);
                    }
                }
            }
        }
        let given = self.blocks.to_set();
        for part in self.free.minus(&given).iter() {
            if gate.reuse(part).is_ok() {
                self.remove_free(part);
            }
        }
    }
}
