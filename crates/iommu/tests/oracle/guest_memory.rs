//! Tables in the memory of a machine: written here, and sent there in the same order.

use ringfence_addr::{Address, Gpa, Hpa};
use ringfence_iommu::pages::{Arena, TableMemory, Tables};
use ringfence_lab::Batch;
use ringfence_refusal::Refusal;

use crate::machine::{TABLES_MOST, memory};

/// A copy that is read, and what the machine has not been sent yet.
pub(crate) struct GuestMemory {
    copy: Arena,
    unsent: Vec<(Gpa, Vec<u8>)>,
}

impl GuestMemory {
    /// Tables from `first` on, where the machine's memory is still zero.
    pub(crate) fn at(first: Hpa) -> Self {
        Self { copy: Arena::new(first, TABLES_MOST).unwrap(), unsent: Vec::new() }
    }

    /// Everything that was stored since, in order.
    pub(crate) fn send(&mut self, batch: &mut Batch) {
        for (at, bytes) in self.unsent.drain(..) {
            batch.write(at, &bytes);
        }
    }
}

impl Tables for GuestMemory {
    fn load(&self, table: Hpa, index: usize) -> u64 {
        self.copy.load(table, index)
    }
}

impl TableMemory for GuestMemory {
    fn allocate(&mut self) -> Result<Hpa, Refusal> {
        self.copy.allocate()
    }

    fn release(&mut self, tables: Vec<Hpa>) {
        self.copy.release(tables);
    }

    fn store(&mut self, table: Hpa, index: usize, entry: u64) {
        self.copy.store(table, index, entry);
        let at = memory(table).checked_add(8 * index as u64).unwrap();
        // Entry after entry of one table is one write.
        if let Some((first, bytes)) = self.unsent.last_mut()
            && first.checked_add(bytes.len() as u64) == Some(at)
        {
            return bytes.extend(entry.to_le_bytes());
        }
        self.unsent.push((at, entry.to_le_bytes().into()));
    }

    fn present(&mut self, table: Hpa) -> &mut u16 {
        self.copy.present(table)
    }
}
