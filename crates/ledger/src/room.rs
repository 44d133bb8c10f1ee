//! Where in a book there is room: the choice of an unused bus address, at a cost that does not grow
//! with the number of mappings.
//!
//! Every table is in a bin by its longest run of free entries: bin `b` is for 2^b up to 2^(b+1)
//! entries. A run of `n` is taken from the lowest table in the first bin that has one for certain;
//! where there is none, from a free entry of a table above, of which a whole table below is free.
//!
//! A bin is never too low. It may be too high: taking entries does not look for the longest run that is left,
//! and giving back raises it to the run that arose. A table that turns out to have no such
//! run is put into the bin it belongs in.
//!
//! **Bound:** a page costs at most, for each level, a look at ten bins and eight words. A run costs the
//! same and a table of eight words for each time that a run was taken before and made a bin too high:
//! once for each taking, ever. Only where no table above has a free entry, which takes a space
//! that is in use from end to end, all of it is looked through, for runs that cross tables; and
//! that is not repeated until something is given back.

use crate::bits::Bits;
use crate::book::{Book, LEVELS_MAX};
use crate::entry::below;
use crate::table::{BITS, ENTRIES, TABLE_ENTRIES, Table};

const BINS: usize = 10;
/// No free entry: in no bin.
const FULL: u8 = u8::MAX;

pub(crate) struct Room {
    levels: [Bins; LEVELS_MAX as usize],
    /// What was looked for in vain since something was given back.
    hopeless: Option<Need>,
}

struct Bins {
    tables: [Bits; BINS],
    /// Which bins may have any.
    some: u16,
}

/// Pages in a row, the first of which is `offset` above a multiple of 512^`level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) pages: u64,
    pub(crate) level: u32,
    pub(crate) offset: u64,
}

impl Need {
    /// Where the first such pages are from `from` on and below `end`.
    fn fits(self, from: u64, end: u64) -> Option<u64> {
        let step = 1 << (self.level * BITS);
        let base = from / step * step + self.offset;
        let first = if base >= from { base } else { base + step };
        first.checked_add(self.pages).filter(|after| *after <= end).map(|_| first)
    }

    /// Whether there is no room for it where there is none for `other`.
    fn is_harder_than(self, other: Self) -> bool {
        let at = (self.level, self.offset);
        self.pages >= other.pages && (other.level == 0 || at == (other.level, other.offset))
    }
}

impl Bins {
    const fn new() -> Self {
        Self { tables: [const { Bits::new() }; BINS], some: 0 }
    }
}

fn number_of(table: usize) -> u32 {
    u32::try_from(table).expect("tables of four KiB: memory ends long before")
}

/// The bin of a run.
fn bin(run: usize) -> u8 {
    run.checked_ilog2().and_then(|bin| u8::try_from(bin).ok()).unwrap_or(FULL)
}

impl Room {
    pub(crate) const fn new() -> Self {
        Self { levels: [const { Bins::new() }; LEVELS_MAX as usize], hopeless: None }
    }

    fn put(&mut self, tables: &mut [Table], number: usize, bin: u8) {
        let table = &mut tables[number];
        let bins = &mut self.levels[table.level as usize];
        if let Some(bits) = bins.tables.get_mut(usize::from(table.bin)) {
            bits.remove(number_of(number));
        }
        table.bin = bin;
        if let Some(bits) = bins.tables.get_mut(usize::from(bin)) {
            bits.insert(number_of(number));
            bins.some |= 1 << bin;
        }
    }

    /// A table that is empty.
    pub(crate) fn enter(&mut self, tables: &mut [Table], number: usize) {
        tables[number].bin = FULL;
        self.put(tables, number, bin(TABLE_ENTRIES));
    }

    /// A table that is no more.
    pub(crate) fn leave(&mut self, tables: &mut [Table], number: usize) {
        self.put(tables, number, FULL);
    }

    /// Some of its entries were taken.
    #[inline]
    pub(crate) fn taken(&mut self, tables: &mut [Table], number: usize) {
        if usize::from(tables[number].used) == TABLE_ENTRIES {
            self.put(tables, number, FULL);
        }
    }

    /// Entries `first..=last` of it were given back.
    #[inline]
    pub(crate) fn given_back(
        &mut self,
        tables: &mut [Table],
        number: usize,
        first: usize,
        last: usize,
    ) {
        self.hopeless = None;
        let table = &tables[number];
        // As high as it gets, or as high as it gets with anything taken.
        let highest = if table.used == 0 { TABLE_ENTRIES } else { TABLE_ENTRIES / 2 };
        if table.bin != FULL && table.bin >= bin(highest) {
            return;
        }
        let now = bin(table.run_around(first, last));
        if table.bin == FULL || now > table.bin {
            self.put(tables, number, now);
        }
    }
}

impl Book {
    /// The first of `pages` free pages.
    pub(crate) fn choose(&mut self, need: Need) -> Option<u64> {
        let mut entries = need.offset.checked_add(need.pages)?.div_ceil(1 << (need.level * BITS));
        let mut level = need.level;
        while entries > ENTRIES {
            (entries, level) = (entries.div_ceil(ENTRIES), level + 1);
        }
        if level <= self.level {
            let count = usize::try_from(entries).ok()?;
            if let Some(first) = self.choose_entries(level, count) {
                return Some(first + need.offset);
            }
        }
        if self.room.hopeless.is_some_and(|hopeless| need.is_harder_than(hopeless)) {
            return None;
        }
        let found = self.look_through(0, need, &mut 0);
        if found.is_none() {
            self.room.hopeless = Some(need);
        }
        found
    }

    /// The first page of so many free entries in a row of one table of this level.
    fn choose_entries(&mut self, level: u32, count: usize) -> Option<u64> {
        // The bin below has runs that are long enough, too, perhaps: it comes after those that have
        // them for certain, and before whole tables.
        let certain = count.next_power_of_two().trailing_zeros();
        let perhaps = count.ilog2();
        let places = u16::MAX << certain;
        for wanted in [places, 1 << perhaps & !places] {
            while let Some(number) = self.first_in_bins(level, wanted) {
                let table = &self.tables[number];
                let run = table.runs().find(|(_, length)| *length >= count);
                if let Some((place, _)) = run {
                    return Some(table.first + ((place as u64) << (level * BITS)));
                }
                let longest = table.runs().map(|(_, length)| length).max().unwrap_or(0);
                if bin(longest) == table.bin {
                    break;
                }
                self.room.put(&mut self.tables, number, bin(longest));
            }
        }
        if level == self.level { None } else { self.choose_entries(level + 1, 1) }
    }

    fn first_in_bins(&mut self, level: u32, wanted: u16) -> Option<usize> {
        let bins = &mut self.room.levels[level as usize];
        loop {
            let some = bins.some & wanted;
            if some == 0 {
                return None;
            }
            let place = some.trailing_zeros() as usize;
            match bins.tables[place].first() {
                Some(number) => return Some(number as usize),
                None => bins.some &= !(1 << place),
            }
        }
    }

    /// The same, wherever in the space they are: a walk through all tables, in which `from` is where the
    /// free pages begin that end where the walk is.
    fn look_through(&self, number: usize, need: Need, from: &mut u64) -> Option<u64> {
        let table = &self.tables[number];
        if table.level == 0 {
            let mut end = 0;
            for (place, length) in table.runs() {
                if place > 0 {
                    *from = table.first + place as u64;
                }
                end = place + length;
                let found = need.fits(*from, table.first + end as u64);
                if found.is_some() {
                    return found;
                }
            }
            if end < TABLE_ENTRIES {
                *from = table.first + ENTRIES;
            }
            return None;
        }
        for (place, entry) in (0_u64..).zip(table.entries) {
            let end = table.first + ((place + 1) << (table.level * BITS));
            let found = match (entry, below(entry)) {
                (0, _) => need.fits(*from, end),
                (_, Some(table)) => self.look_through(table, need, from),
                (_, None) => {
                    *from = end;
                    None
                }
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
