//! Readers beside the writer: emulated devices that look addresses up while mappings change.
//!
//! A reader takes no lock and never waits. What it can find at an address while the writer maps,
//! unmaps, narrows or cuts a large page: what was there before the change, or what is there after it.
//! It never finds a page that was neither, because a table is complete before anything leads to it
//! (`Release` by the writer, `Acquire` by the reader), and because a table that was taken out is not
//! used for something else while a visit lasts that began before.
//!
//! What a visit found stays usable until the visit ends; whoever unmapped it knows that all readers are
//! past it once an epoch that began after the unmapping [has come](super::Epochs::has_come).

use ringfence_addr::{Hpa, Iova, Span};

use super::arena::{Arena, SharedTables};
use super::epoch::{Seat, Visit};
use super::format::Format;
use super::sync::Arc;
use super::tree::PageTables;
use super::walk::{Leaf, Leaves, lookup};

/// One thread's way of reading tables that another thread writes.
#[derive(Debug)]
pub struct Reader<F> {
    format: F,
    tables: Arc<SharedTables>,
    root: Hpa,
    seat: Seat,
}

impl<F: Format> PageTables<F, Arena> {
    /// A reader, for another thread.
    pub fn reader(&self) -> Reader<F> {
        let tables = Arc::clone(self.memory().shared());
        let seat = tables.epochs().seat();
        Reader { format: self.format().clone(), tables, root: self.root(), seat }
    }
}

impl<F: Format> Reader<F> {
    /// Begins to read: as much as belongs together, and no longer, since tables wait for it.
    #[inline]
    pub fn enter(&mut self) -> Reading<'_, F> {
        let Self { format, tables, root, seat } = self;
        Reading { format, tables, root: *root, _visit: seat.enter() }
    }
}

/// A visit to tables: what is found is true until it ends.
#[derive(Debug)]
pub struct Reading<'a, F> {
    format: &'a F,
    tables: &'a SharedTables,
    root: Hpa,
    _visit: Visit<'a>,
}

impl<F: Format> Reading<'_, F> {
    /// The page that translates `iova`.
    #[inline]
    pub fn lookup(&self, iova: Iova) -> Option<Leaf> {
        lookup(self.format, self.tables, self.root, iova)
    }

    /// All pages with addresses in `span`, ascending, each whole; not all as they were at one moment.
    pub fn leaves(&self, span: Span<Iova>) -> Leaves<'_, F, SharedTables> {
        let Self { format, tables, root, .. } = *self;
        Leaves { format, tables, root, rest: Some(span) }
    }
}
