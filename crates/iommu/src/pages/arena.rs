//! Tables in this process's own memory, which other threads may read while one writes.

use std::collections::VecDeque;

use ringfence_addr::{Address, Alignment, Hpa};
use ringfence_refusal::{Fault, Refusal};
use zerocopy::FromZeros;

use super::epoch::{Epoch, Epochs};
use super::level::ENTRIES;
use super::memory::{TableMemory, Tables};
use super::sync::{Arc, AtomicU64, Ordering};
use crate::refusals;

const TABLE_BITS: u32 = 12;
const ENTRY_BITS: u32 = 3;

/// The entries of all tables of an arena, shared with those who read.
///
/// They stay where they are as long as anybody has them, so that a reader who comes late reads an
/// entry that is not what he looks for, and never memory that is something else by now.
#[derive(Debug)]
pub struct SharedTables {
    first: Hpa,
    entries: Box<[AtomicU64]>,
    epochs: Arc<Epochs>,
}

impl SharedTables {
    /// When tables are used for something else, and when readers come and go.
    pub fn epochs(&self) -> &Arc<Epochs> {
        &self.epochs
    }

    #[inline]
    fn entry(&self, table: Hpa, index: usize) -> Option<&AtomicU64> {
        // Where a table is below the first, this is far above the last entry. Tables and entries are
        // as large as they are for every format, so that the one shift is enough.
        let number = table.get().wrapping_sub(self.first.get()) >> ENTRY_BITS;
        self.entries.get(usize::try_from(number).ok()?.wrapping_add(index))
    }
}

impl Tables for SharedTables {
    #[inline]
    fn load(&self, table: Hpa, index: usize) -> u64 {
        self.entry(table, index).map_or(0, |entry| entry.load(Ordering::Acquire))
    }
}

/// A bounded number of tables in consecutive frames, in this process's own memory.
///
/// Memory is only taken by tables that were in use; the bound is what a tree of tables can cost.
#[derive(Debug)]
pub struct Arena {
    shared: Arc<SharedTables>,
    present: Vec<u16>,
    /// How many tables were ever given out.
    begun: usize,
    free: Vec<Hpa>,
    /// Tables that readers may still be in, by the epoch that has to come for them first.
    leaving: VecDeque<(Epoch, Vec<Hpa>)>,
}

impl Arena {
    /// So many tables, the first of them in the frame `first`.
    ///
    /// # Errors
    ///
    /// The system has not as much memory, or there are no such frames.
    pub fn new(first: Hpa, tables: usize) -> Result<Self, Fault> {
        let no_room = |why: &str| {
            let object = format!("{tables} page tables from {first}");
            Fault::new("set apart", object, std::io::Error::other(why.to_owned()))
        };
        let bytes = u64::try_from(tables).ok().and_then(|tables| tables.checked_mul(4096));
        let fits = bytes.is_some_and(|bytes| first.checked_add(bytes).is_some());
        if !fits || !first.is_aligned(Alignment::PAGE_4K) {
            return Err(no_room("not frames of 4 KiB"));
        }
        let count = tables.checked_mul(ENTRIES).ok_or_else(|| no_room("too many"))?;
        // Zeroed by the system when it is first touched, not here.
        let entries = AtomicU64::new_vec_zeroed(count).map_err(|_| no_room("not enough memory"))?;
        let entries = entries.into_boxed_slice();
        let shared = SharedTables { first, entries, epochs: Arc::new(Epochs::default()) };
        Ok(Self {
            shared: Arc::new(shared),
            present: vec![0; tables],
            begun: 0,
            free: Vec::new(),
            leaving: VecDeque::new(),
        })
    }

    /// The tables, for those who only read.
    pub fn shared(&self) -> &Arc<SharedTables> {
        &self.shared
    }

    /// How many tables can be given out at once.
    pub fn capacity(&self) -> usize {
        self.present.len()
    }

    /// How many tables are in use, or cannot be used for something else yet.
    pub fn in_use(&self) -> usize {
        self.begun - self.free.len()
    }

    /// Takes over the tables that readers have left; this happens by itself before any is missing.
    pub fn reclaim(&mut self) {
        while let Some((epoch, _)) = self.leaving.front()
            && self.shared.epochs.has_come(*epoch)
        {
            self.free.extend(self.leaving.pop_front().into_iter().flat_map(|(_, tables)| tables));
        }
    }

    fn number(&self, table: Hpa) -> usize {
        let offset = table.offset_from(self.shared.first).expect("a table of this arena");
        usize::try_from(offset >> TABLE_BITS).expect("a table of this arena")
    }
}

impl Tables for Arena {
    #[inline]
    fn load(&self, table: Hpa, index: usize) -> u64 {
        self.shared.load(table, index)
    }
}

impl TableMemory for Arena {
    fn allocate(&mut self) -> Result<Hpa, Refusal> {
        if self.free.is_empty() {
            self.reclaim();
        }
        if let Some(table) = self.free.pop() {
            return Ok(table);
        }
        let fresh = u64::try_from(self.begun << TABLE_BITS).ok();
        match fresh.and_then(|offset| self.shared.first.checked_add(offset)) {
            Some(table) if self.begun < self.capacity() => {
                self.begun += 1;
                Ok(table)
            }
            _ => {
                let leaving: usize = self.leaving.iter().map(|(_, tables)| tables.len()).sum();
                let detail = format!(
                    "{} tables in use, {leaving} of them only until readers leave",
                    self.capacity()
                );
                Err(Refusal::new(&refusals::NO_TABLES, detail))
            }
        }
    }

    fn release(&mut self, tables: Vec<Hpa>) {
        if !tables.is_empty() {
            self.leaving.push_back((self.shared.epochs.advance(), tables));
        }
    }

    #[inline]
    fn store(&mut self, table: Hpa, index: usize, entry: u64) {
        let place = self.shared.entry(table, index).expect("a table of this arena");
        place.store(entry, Ordering::Release);
    }

    #[inline]
    fn store_run(&mut self, table: Hpa, index: usize, entries: impl Iterator<Item = u64>) {
        let first = self.number(table) * ENTRIES;
        let places = &self.shared.entries[first + index..first + ENTRIES];
        places.iter().zip(entries).for_each(|(place, entry)| place.store(entry, Ordering::Release));
    }

    #[inline]
    fn present(&mut self, table: Hpa) -> &mut u16 {
        let number = self.number(table);
        &mut self.present[number]
    }
}
