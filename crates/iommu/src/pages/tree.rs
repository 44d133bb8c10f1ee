//! A tree of page tables: map, unmap, narrow, look up.

use std::sync::atomic::{AtomicU64, Ordering};

use ringfence_addr::{Hpa, Iova, Rights, Span};
use ringfence_refusal::Refusal;

use super::edit::Edit;
use super::format::Format;
use super::level::Distance;
use super::memory::TableMemory;
use super::small::Run;
use super::stale::{Flushed, Stale};
use super::survey::{Change, Obstacle, Survey};
use super::walk::{Leaf, Leaves, lookup};
use crate::refusals;

/// Page tables of one format in one memory, and their only writer.
///
/// Each call does all it was asked or, refusing, nothing. Invariant `I14`: levels are fixed when it is
/// made.
#[derive(Debug)]
pub struct PageTables<F, M> {
    format: F,
    memory: M,
    root: Hpa,
    /// Told apart from all others of this process.
    tree: u64,
    pages: u64,
}

impl<F: Format, M: TableMemory> PageTables<F, M> {
    /// Translates nothing yet; takes one table.
    ///
    /// # Errors
    ///
    /// `RF0908` when the memory has none.
    pub fn new(format: F, mut memory: M) -> Result<Self, Refusal> {
        static TREES: AtomicU64 = AtomicU64::new(0);
        let root = memory.allocate()?;
        let tree = TREES.fetch_add(1, Ordering::Relaxed);
        Ok(Self { format, memory, root, tree, pages: 0 })
    }

    /// Where the topmost table is, which never changes: what the IOMMU is told.
    pub fn root(&self) -> Hpa {
        self.root
    }

    /// The format, and what was chosen of it.
    pub fn format(&self) -> &F {
        &self.format
    }

    /// The memory that the tables are in.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The memory that the tables are in, to have it do what is its own business.
    pub fn memory_mut(&mut self) -> &mut M {
        &mut self.memory
    }

    /// How many pages of 4 KiB are mapped, however large the entries are.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Lets devices reach, at `span`, the memory from `to` on.
    ///
    /// The largest pages are used for which both are aligned. What was mapped by one call is never
    /// joined with what was mapped by another.
    ///
    /// What it returns has something to invalidate only where the IOMMU remembers that addresses were
    /// not translated ([`Shape::caches_absent`](super::Shape::caches_absent)).
    ///
    /// # Errors
    ///
    /// `RF0902` when any of it is mapped, `RF0904` for what is no whole pages, `RF0901` and `RF0906`
    /// for what cannot be translated or reached, `RF0907` without any right, `RF0908` without tables.
    pub fn map(&mut self, span: Span<Iova>, to: Hpa, rights: Rights) -> Result<Stale, Refusal> {
        let shape = self.format.shape();
        shape.check_input(span)?;
        shape.check_output(span, to)?;
        if rights.is_empty() {
            return Err(Refusal::new(&refusals::NO_RIGHT_LEFT, span.to_string()));
        }
        let (top, caches_absent) = (shape.top, shape.caches_absent);
        let mut stale = Stale::none(self.tree);
        if caches_absent {
            stale.add(span);
        }
        if let Some(run) = Run::find(&self.format, &self.memory, self.root, span) {
            run.map(&self.format, &mut self.memory, to, rights)
                .map_err(|obstacle| refuse(span, obstacle))?;
            self.pages += u64::from(run.pages());
            return Ok(stale);
        }
        let distance = Distance::between(span.first(), to);
        let survey = Survey { format: &self.format, memory: &self.memory };
        let tables = survey
            .map(Some(self.root), top, span, distance)
            .map_err(|obstacle| refuse(span, obstacle))?;
        let spare = self.take_tables(tables)?;
        let mut edit = Edit { format: &self.format, memory: &mut self.memory, spare, stale };
        edit.map(self.root, top, span, distance, rights);
        let stale = edit.stale;
        self.pages += pages_in(span);
        Ok(stale)
    }

    /// Takes `span` away, every page of which must be mapped; of large pages, what is in `span`.
    /// `gone` is told of each piece.
    ///
    /// # Errors
    ///
    /// `RF0905` when a page is not mapped, `RF0901` and `RF0904` for what cannot be. `RF0908` when a
    /// large page is to be cut and there are no tables to cut it with; whole pages need none.
    pub fn unmap(&mut self, span: Span<Iova>, gone: impl FnMut(Leaf)) -> Result<Stale, Refusal> {
        self.change(span, Change::Unmap, gone)
    }

    /// Takes away whatever is mapped in `span`; `gone` is told of each piece.
    ///
    /// # Errors
    ///
    /// As of [`PageTables::unmap`], but for `RF0905`.
    pub fn clear(&mut self, span: Span<Iova>, gone: impl FnMut(Leaf)) -> Result<Stale, Refusal> {
        self.change(span, Change::Clear, gone)
    }

    /// Leaves no more than `rights` to every page of `span`, all of which must be mapped. `narrowed` is
    /// told of each piece that had more, as it was.
    ///
    /// # Errors
    ///
    /// As of [`PageTables::unmap`]; `RF0907` when a page would have no right left.
    pub fn narrow(
        &mut self,
        span: Span<Iova>,
        rights: Rights,
        narrowed: impl FnMut(Leaf),
    ) -> Result<Stale, Refusal> {
        self.change(span, Change::Narrow(rights), narrowed)
    }

    #[inline]
    fn change(
        &mut self,
        span: Span<Iova>,
        change: Change,
        mut changed: impl FnMut(Leaf),
    ) -> Result<Stale, Refusal> {
        let shape = self.format.shape();
        shape.check_input(span)?;
        let top = shape.top;
        let mut stale = Stale::none(self.tree);
        if let Some(run) = Run::find(&self.format, &self.memory, self.root, span)
            && let Some(()) =
                run.change(&self.format, &mut self.memory, change, &mut stale, &mut changed)
        {
            self.pages -= stale.pages();
            return Ok(stale);
        }
        let survey = Survey { format: &self.format, memory: &self.memory };
        let tables = survey
            .change(self.root, top, span, change)
            .map_err(|obstacle| refuse(span, obstacle))?;
        let spare = self.take_tables(tables)?;
        let mut edit = Edit { format: &self.format, memory: &mut self.memory, spare, stale };
        edit.change(self.root, top, span, change, &mut changed);
        let stale = edit.stale;
        self.pages -= stale.pages();
        Ok(stale)
    }

    /// All the tables a change takes, or none.
    fn take_tables(&mut self, count: usize) -> Result<Vec<Hpa>, Refusal> {
        let mut tables = Vec::new();
        for _ in 0..count {
            match self.memory.allocate() {
                Ok(table) => tables.push(table),
                Err(refusal) => {
                    self.memory.release(tables);
                    return Err(refusal.within(format_args!("{count} tables are needed")));
                }
            }
        }
        Ok(tables)
    }

    /// Gives the memory back the tables that nothing leads to any more and no IOMMU remembers.
    ///
    /// # Panics
    ///
    /// When they are of another tree.
    pub fn release(&mut self, flushed: Flushed) {
        let (tree, tables) = flushed.into_tables();
        assert_eq!(tree, self.tree, "tables go back to the memory they are of");
        self.memory.release(tables);
    }

    /// The page that translates `iova`, as a device would find it.
    #[inline]
    pub fn lookup(&self, iova: Iova) -> Option<Leaf> {
        lookup(&self.format, &self.memory, self.root, iova)
    }

    /// All pages with addresses in `span`, ascending, each whole.
    pub fn leaves(&self, span: Span<Iova>) -> Leaves<'_, F, M> {
        let (format, tables) = (&self.format, &self.memory);
        Leaves { format, tables, root: self.root, rest: Some(span) }
    }
}

fn pages_in(span: Span<Iova>) -> u64 {
    u64::try_from(span.length() >> 12).expect("there are 2^52 pages")
}

fn refuse(span: Span<Iova>, obstacle: Obstacle) -> Refusal {
    match obstacle {
        Obstacle::Mapped(page) => {
            Refusal::new(&refusals::ALREADY_MAPPED, format!("{span}: {page} is mapped"))
        }
        Obstacle::Missing(gap) => {
            Refusal::new(&refusals::NOT_ALL_MAPPED, format!("{span}: {gap} is not"))
        }
        Obstacle::Rightless(page, rights) => {
            Refusal::new(&refusals::NO_RIGHT_LEFT, format!("{span}: {page} is {rights}"))
        }
    }
}
