//! Asking tables what a model was asked, and counting the tables there are.

use ringfence_addr::{Hpa, Iova, Rights, Span};
use ringfence_iommu::pages::{
    Arena, ENTRIES, Entry, Format, Leaf, Level, PageTables, Stale, TableMemory,
};
use ringfence_refusal::Refusal;

use crate::model::{Operation, numbers};

/// Tables for tests, of which there are enough.
pub(crate) fn arena(tables: usize) -> Arena {
    Arena::new(Hpa::new(0), tables).unwrap()
}

/// A page of tables, as pages of the model.
pub(crate) fn pieces(leaf: &Leaf) -> impl Iterator<Item = (u64, u64, Rights)> + use<> {
    let (rights, frame) = (leaf.rights, leaf.frame.get() / 0x1000);
    numbers(leaf.pages).zip(frame..).map(move |(number, frame)| (number, frame, rights))
}

/// Pages that went, as they were.
pub(crate) type Gone = Vec<(u64, u64, Rights)>;

/// Does `operation`; returns what is stale, and the pages that were changed.
pub(crate) fn ask<F: Format, M: TableMemory>(
    tables: &mut PageTables<F, M>,
    operation: Operation,
) -> Result<(Stale, Gone), Refusal> {
    let mut changed = Gone::new();
    let see = |leaf: Leaf| changed.extend(pieces(&leaf));
    let stale = match operation {
        Operation::Map(span, to, rights) => tables.map(span, to, rights),
        Operation::Unmap(span) => tables.unmap(span, see),
        Operation::Clear(span) => tables.clear(span, see),
        Operation::Narrow(span, rights) => tables.narrow(span, rights, see),
    }?;
    Ok((stale, changed))
}

/// Has it forgotten by an IOMMU that is none.
pub(crate) fn settle<F: Format, M: TableMemory>(tables: &mut PageTables<F, M>, stale: Stale) {
    let flushed = stale.flush(|_| Ok::<_, ()>(())).unwrap();
    tables.release(flushed);
}

/// How many tables can be reached; each but the topmost has an entry.
pub(crate) fn reachable<F: Format, M: TableMemory>(tables: &PageTables<F, M>) -> usize {
    let top = tables.format().shape().top;
    count(tables, tables.root(), top)
}

fn count<F: Format, M: TableMemory>(tables: &PageTables<F, M>, table: Hpa, level: Level) -> usize {
    let (mut tables_below, mut present) = (0, 0);
    for index in 0..ENTRIES {
        let entry = tables.format().decode(tables.memory().load(table, index), level);
        present += usize::from(entry != Entry::Absent);
        if let Entry::Table(next) = entry {
            tables_below += count(tables, next, level.below().unwrap());
        }
    }
    assert!(present > 0 || table == tables.root(), "a table without entries is taken out");
    1 + tables_below
}

pub(crate) fn whole<F: Format, M>(tables: &PageTables<F, M>) -> Span<Iova>
where
    M: TableMemory,
{
    tables.format().shape().input
}
