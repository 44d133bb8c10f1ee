//! Removed, flushed, released: the order in which what an IOMMU may remember goes away.

use ringfence_addr::{Hpa, Iova, Span};

/// What an IOMMU may still believe after its tables were changed. Invariant `I7`: who changes an entry
/// that was there gets one of these, and has to do something about it.
///
/// Until it was told otherwise ([`Stale::flush`]) a device may reach what is not mapped any more, and
/// the IOMMU may walk tables that nothing leads to. Dropping this is safe: the tables it holds are
/// never used again. Nothing it speaks of may be counted as free.
#[derive(Debug)]
#[must_use = "a device may reach what was unmapped until the IOMMU is told"]
pub struct Stale {
    tree: u64,
    span: Option<Span<Iova>>,
    pages: u64,
    concerns_tables: bool,
    unlinked: Vec<Hpa>,
}

impl Stale {
    pub(crate) fn none(tree: u64) -> Self {
        Self { tree, span: None, pages: 0, concerns_tables: false, unlinked: Vec::new() }
    }

    #[inline]
    pub(crate) fn add(&mut self, span: Span<Iova>) {
        self.span = Some(match self.span {
            None => span,
            Some(before) => hull(before, span),
        });
    }

    #[inline]
    pub(crate) fn count(&mut self, pages: u64) {
        self.pages += pages;
    }

    /// An entry is no longer what it was to whoever walks through it.
    pub(crate) fn linked(&mut self) {
        self.concerns_tables = true;
    }

    pub(crate) fn unlink(&mut self, table: Hpa) {
        self.concerns_tables = true;
        self.unlinked.push(table);
    }

    /// What to invalidate: every entry that was changed lies in it, whole. Invariant `I8`: where a large
    /// page was cut that is more than was asked to be unmapped. `None`: nothing was changed that an IOMMU
    /// could remember.
    pub fn span(&self) -> Option<Span<Iova>> {
        self.span
    }

    /// How many pages of 4 KiB are mapped no more.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Whether tables were taken out or put in place of a page: then what the IOMMU remembers of
    /// entries that lead to tables has to go as well (VT-d: `IH` clear; AMD: `PDE` set).
    pub fn concerns_tables(&self) -> bool {
        self.concerns_tables
    }

    /// Both as one, for a single invalidation.
    ///
    /// # Panics
    ///
    /// When they are of two trees.
    pub fn join(mut self, other: Self) -> Self {
        assert_eq!(self.tree, other.tree, "two trees are not flushed as one");
        if let Some(span) = other.span {
            self.add(span);
        }
        self.pages += other.pages;
        self.concerns_tables |= other.concerns_tables;
        self.unlinked.extend(other.unlinked);
        self
    }

    /// Has the IOMMU forget. `invalidate` returns once the IOMMU said that it is done; it is not called
    /// when there is nothing to forget.
    ///
    /// # Errors
    ///
    /// What `invalidate` says; everything is as stale as before then (I9).
    pub fn flush<E>(
        self,
        invalidate: impl FnOnce(Span<Iova>) -> Result<(), E>,
    ) -> Result<Flushed, (Self, E)> {
        match self.span.map_or(Ok(()), invalidate) {
            Ok(()) => Ok(Flushed { tree: self.tree, pages: self.pages, unlinked: self.unlinked }),
            Err(error) => Err((self, error)),
        }
    }
}

/// What no IOMMU believes any more. Only from here can tables go back to their memory:
///
/// ```compile_fail,E0308
/// use ringfence_addr::{Hpa, Span};
/// use ringfence_iommu::pages::{AmdV1, Arena, Level, PageTables};
///
/// let mut tables = PageTables::new(AmdV1::with_levels(Level::SIX), Arena::new(Hpa::new(0), 8)?)?;
/// let stale = tables.clear(Span::whole(), |_| ())?;
/// tables.release(stale);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "its tables are not used again until they are released"]
pub struct Flushed {
    tree: u64,
    pages: u64,
    unlinked: Vec<Hpa>,
}

impl Flushed {
    /// How many pages of 4 KiB no device reaches any more by what was unmapped.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    pub(crate) fn into_tables(self) -> (u64, Vec<Hpa>) {
        (self.tree, self.unlinked)
    }
}

/// The smallest span around both.
#[inline]
fn hull(one: Span<Iova>, other: Span<Iova>) -> Span<Iova> {
    let (first, last) = (one.first().min(other.first()), one.last().max(other.last()));
    Span::new(first, last).expect("spans are in order, and so is what is around them")
}
