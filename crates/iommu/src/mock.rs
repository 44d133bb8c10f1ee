//! A back end without an IOMMU, for tests: tables, a device that remembers all it ever saw, and failure
//! at any step that is chosen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use ringfence_addr::{Address as _, Iova, Rights, Span, SpanSet};
use ringfence_ledger::Answer;
use ringfence_refusal::{Failure, Fault};

use crate::domain::{Domain, Mapped, Piece};
use crate::memory::Backing;

/// The bytes of a page.
const PAGE: u64 = 4096;

/// Memory with a name, of which is known what was given back.
#[derive(Clone, Debug)]
pub struct MockMemory {
    name: u32,
    bytes: u64,
    discarded: Arc<Mutex<BTreeSet<u64>>>,
}

/// A page that a device finds: whose memory, which page of it, and whether it may write there.
pub type Found = (u32, u64, bool);

/// What goes wrong at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fails {
    /// It says that it failed, and did nothing.
    Cleanly,
    /// It says that it failed, and did half of it.
    HalfDone,
    /// It did half of it, and says so (unmapping), or that all is well (all else).
    Lies,
}

/// A domain that tests look into: all copies are one.
#[derive(Clone, Debug)]
pub struct Mock {
    usable: SpanSet<Iova>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tables: BTreeMap<u64, Found>,
    /// What the device saw and was not told to forget.
    remembered: BTreeSet<(u64, Found)>,
    is_fenced: bool,
    steps: u64,
    plan: BTreeMap<u64, Fails>,
    calls: Vec<&'static str>,
}

impl MockMemory {
    /// So many pages.
    pub fn new(name: u32, pages: u64) -> Self {
        Self { name, bytes: pages * PAGE, discarded: Arc::default() }
    }

    /// The pages that were given back to the system, ever.
    pub fn discarded(&self) -> BTreeSet<u64> {
        self.discarded.lock().expect("nobody panics with it").clone()
    }
}

impl Backing for MockMemory {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn discard(&self, offset: u64, length: u64) -> Result<(), Fault> {
        let pages = offset / PAGE..(offset + length) / PAGE;
        self.discarded.lock().expect("nobody panics with it").extend(pages);
        Ok(())
    }
}

impl Mock {
    /// A domain of which these addresses can be mapped.
    pub fn new(usable: SpanSet<Iova>) -> Self {
        Self { usable, state: Arc::default() }
    }

    /// One with so many pages, from address zero on.
    pub fn with_pages(pages: u64) -> Self {
        Self::new(Span::from_parts(Iova::FIRST, pages * PAGE).into_iter().collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    /// The step of this number, from now on, goes wrong. A step is a piece that is mapped, a span that is
    /// unmapped, a flush, a fence, an end of a fence, or a clearing.
    pub fn fail(&self, step: u64, how: Fails) {
        let mut state = self.state();
        let step = state.steps + step;
        state.plan.insert(step, how);
    }

    /// Nothing goes wrong from here on.
    pub fn behave(&self) {
        self.state().plan.clear();
    }

    /// How many steps were taken.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// What the device reaches: by its tables, or because it remembers.
    pub fn reached(&self) -> BTreeSet<(u64, Found)> {
        let state = self.state();
        if state.is_fenced {
            return BTreeSet::new();
        }
        let tables = state.tables.iter().map(|(page, found)| (*page, *found));
        tables.chain(state.remembered.iter().copied()).collect()
    }

    /// What was called, in order, and forgets it.
    pub fn take_calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.state().calls)
    }
}

impl State {
    fn step(&mut self, call: &'static str) -> Option<Fails> {
        if self.calls.last() != Some(&call) {
            self.calls.push(call);
        }
        self.steps += 1;
        self.plan.remove(&(self.steps - 1))
    }

    fn map(&mut self, piece: &Piece<MockMemory>, pages: u64) {
        let first = piece.bus.first().get() / PAGE;
        for page in 0..pages {
            let writes = piece.rights.allows(Rights::WRITE);
            let found = (piece.memory.name, piece.offset / PAGE + page, writes);
            self.tables.insert(first + page, found);
            self.remembered.insert((first + page, found));
        }
    }

    fn unmap(&mut self, span: Span<Iova>, pages: u64) -> u64 {
        let first = span.first().get() / PAGE;
        (first..first + pages).filter(|page| self.tables.remove(page).is_some()).count() as u64
    }

    fn forget(&mut self, span: Span<Iova>) {
        let (first, last) = (span.first().get() / PAGE, span.last().get() / PAGE);
        let nothing = (0, 0, false);
        let there = self.remembered.range((first, nothing)..(last + 1, nothing));
        let stale: Vec<_> =
            there.filter(|(page, found)| self.tables.get(page) != Some(found)).copied().collect();
        for one in stale {
            self.remembered.remove(&one);
        }
    }
}

fn pages(span: Span<Iova>) -> u64 {
    u64::try_from(span.length()).unwrap_or(u64::MAX) / PAGE
}

fn failure(what: &'static str) -> Failure {
    Fault::new(what, "a mock", std::io::Error::other("chosen to fail")).into()
}

/// The answer of a step that does its work in halves.
fn halves(
    fails: Option<Fails>,
    what: &'static str,
    mut work: impl FnMut(bool),
) -> Result<(), Failure> {
    match fails {
        None => work(true),
        Some(Fails::Cleanly) => return Err(failure(what)),
        Some(Fails::HalfDone) => {
            work(false);
            return Err(failure(what));
        }
        Some(Fails::Lies) => work(false),
    }
    Ok(())
}

impl Domain<MockMemory> for Mock {
    fn usable(&self) -> &SpanSet<Iova> {
        &self.usable
    }

    fn map(&mut self, pieces: &[Piece<MockMemory>]) -> Vec<Mapped> {
        let mut state = self.state();
        let mut answers = Vec::new();
        for piece in pieces {
            let count = pages(piece.bus);
            answers.push(match state.step("map") {
                None => {
                    state.map(piece, count);
                    Mapped::Done
                }
                Some(Fails::Cleanly) => Mapped::Not(failure("map")),
                Some(Fails::HalfDone | Fails::Lies) => {
                    state.map(piece, count.div_ceil(2));
                    Mapped::Unknown(failure("map"))
                }
            });
        }
        answers
    }

    fn unmap(&mut self, spans: &[Span<Iova>], answered: &mut dyn FnMut(Span<Iova>, Answer)) {
        let mut state = self.state();
        for span in spans {
            let count = pages(*span);
            let answer = match state.step("unmap") {
                None => Answer::Bytes(state.unmap(*span, count) * PAGE),
                Some(Fails::Cleanly) => Answer::Failed,
                Some(Fails::HalfDone) => {
                    state.unmap(*span, count / 2);
                    Answer::Failed
                }
                Some(Fails::Lies) => Answer::Bytes(state.unmap(*span, count / 2) * PAGE),
            };
            answered(*span, answer);
        }
    }

    fn flush(&mut self, spans: &[Span<Iova>]) -> Result<(), Failure> {
        let mut state = self.state();
        let fails = state.step("flush").filter(|fails| *fails != Fails::Lies);
        halves(fails, "flush", |whole| {
            let count = if whole { spans.len() } else { spans.len() / 2 };
            for span in &spans[..count] {
                state.forget(*span);
            }
        })
    }

    fn fence(&mut self) -> Result<(), Failure> {
        let mut state = self.state();
        let fails = state.step("fence").filter(|fails| *fails != Fails::Lies);
        halves(fails, "fence", |_| state.is_fenced = true)
    }

    fn unfence(&mut self) -> Result<(), Failure> {
        let mut state = self.state();
        let fails = state.step("unfence").filter(|fails| *fails != Fails::Lies);
        halves(fails, "unfence", |whole| state.is_fenced = !whole)
    }

    fn clear(&mut self) -> Result<(), Failure> {
        let mut state = self.state();
        let fails = state.step("clear").filter(|fails| *fails != Fails::Lies);
        halves(fails, "clear", |whole| {
            if whole {
                state.tables.clear();
                state.remembered.clear();
            }
        })
    }

    fn probe(&mut self, address: Iova) -> Option<Option<Rights>> {
        let state = self.state();
        let found = state.tables.get(&(address.get() / PAGE)).filter(|_| !state.is_fenced);
        let rights = |writes| if writes { Rights::READ_WRITE } else { Rights::READ };
        Some(found.map(|(_, _, writes)| rights(*writes)))
    }
}
