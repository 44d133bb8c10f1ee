//! The memory that tables are in: what a tree of tables asks of it.

use ringfence_addr::Hpa;
use ringfence_refusal::Refusal;

/// Tables that can be read: 512 entries each, known by the frame they are in.
pub trait Tables {
    /// The entry of `table` at `index`. What is no table of this memory reads as zero, which is no
    /// entry in any format.
    ///
    /// Whoever reads an entry sees what it leads to as it was when the entry was stored
    /// (`Acquire`).
    fn load(&self, table: Hpa, index: usize) -> u64;
}

/// Tables that can be made and written.
///
/// Invariant `I13`: stores reach whoever walks the tables in the order they are made here, each
/// whole; a memory whose walker does not snoop caches writes a line back before it returns. Trees build
/// a table in full and store the entry that leads to it last.
pub trait TableMemory: Tables {
    /// A table that nothing leads to, with all entries zero.
    ///
    /// # Errors
    ///
    /// `RF0908` when there is none left.
    fn allocate(&mut self) -> Result<Hpa, Refusal>;

    /// Takes tables back that nothing leads to and no IOMMU remembers, all of them zero. Readers in this
    /// process are this memory's own business: it does not give a table out while one may be in it.
    fn release(&mut self, tables: Vec<Hpa>);

    /// Stores an entry. Whoever sees it sees everything stored before (`Release`).
    fn store(&mut self, table: Hpa, index: usize, entry: u64);

    /// Stores entries from `index` on, in order, as many as the table has room for.
    fn store_run(&mut self, table: Hpa, index: usize, entries: impl Iterator<Item = u64>) {
        entries.zip(index..super::level::ENTRIES).for_each(|(entry, index)| {
            self.store(table, index, entry);
        });
    }

    /// A counter beside each table, zero when it is allocated: how many of its entries are present.
    fn present(&mut self, table: Hpa) -> &mut u16;
}
