//! What was done to a graphics device, and what of it should not have been.

use std::fmt;

/// Counted accesses. Those that should not happen are [`Account::wrongs`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Entries of the page table that were written, whole or in part.
    pub entry_writes: u64,
    /// Times that translations were brought up to date.
    pub flushes: u64,
    /// Pieces of stolen memory that were written. Through mapped memory, a page counts once a flush.
    pub data_writes: u64,
    /// Reads through entries that name nothing.
    pub invalid_reads: u64,
    /// Writes through entries that name nothing, which are lost.
    pub invalid_writes: u64,
    /// Writes through entries that allow none, which are lost.
    pub read_only_writes: u64,
    /// Reads of memory that is not the device's.
    pub foreign_reads: u64,
    /// Writes to memory that is not the device's.
    pub foreign_writes: u64,
    /// Writes to WOPCM, which are lost.
    pub firmware_writes: u64,
    /// Reads of WOPCM: all ones.
    pub firmware_reads: u64,
    /// Accesses to BAR 2 where there is nothing behind it.
    pub beyond_accesses: u64,
    /// Writes to registers that are none of those that flush.
    pub register_writes: u64,
    /// Accesses to the page table that are not 4 or 8 aligned bytes, which is all the bus has.
    pub odd_accesses: u64,
    /// Accesses to BARs while the function did not decode memory, or was not in D0.
    pub undecoded: u64,
}

impl Account {
    /// What should not have happened, with how often.
    pub fn wrongs(&self) -> Vec<(&'static str, u64)> {
        let all = [
            ("reads through entries that name nothing", self.invalid_reads),
            ("writes through entries that name nothing", self.invalid_writes),
            ("writes through read-only entries", self.read_only_writes),
            ("reads of memory of others", self.foreign_reads),
            ("writes to memory of others", self.foreign_writes),
            ("writes to WOPCM", self.firmware_writes),
            ("accesses beyond what BAR 2 has", self.beyond_accesses),
            ("writes to registers", self.register_writes),
            ("odd accesses to the page table", self.odd_accesses),
            ("accesses while the function did not decode", self.undecoded),
        ];
        all.into_iter().filter(|(_, count)| *count != 0).collect()
    }

    /// What happened since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            entry_writes: self.entry_writes - before.entry_writes,
            flushes: self.flushes - before.flushes,
            data_writes: self.data_writes - before.data_writes,
            invalid_reads: self.invalid_reads - before.invalid_reads,
            invalid_writes: self.invalid_writes - before.invalid_writes,
            read_only_writes: self.read_only_writes - before.read_only_writes,
            foreign_reads: self.foreign_reads - before.foreign_reads,
            foreign_writes: self.foreign_writes - before.foreign_writes,
            firmware_writes: self.firmware_writes - before.firmware_writes,
            firmware_reads: self.firmware_reads - before.firmware_reads,
            beyond_accesses: self.beyond_accesses - before.beyond_accesses,
            register_writes: self.register_writes - before.register_writes,
            odd_accesses: self.odd_accesses - before.odd_accesses,
            undecoded: self.undecoded - before.undecoded,
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} entries, {} flushes, {} pieces of memory written",
            self.entry_writes, self.flushes, self.data_writes
        )?;
        self.wrongs()
            .into_iter()
            .try_for_each(|(what, count)| write!(formatter, "; {count} {what}"))
    }
}
