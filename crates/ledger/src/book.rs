//! Which mapping each page of a bus address space belongs to, and where it leads.
//!
//! A tree of tables with 512 entries each, as IOMMUs have them: looking up takes as many steps as
//! there are levels, however many mappings there are, and what covers a whole table is one entry.
//! Which entries are free is kept beside them in bitmaps, by which unused addresses are chosen
//! ([`crate::room`]).

use ringfence_addr::{Iova, Span};

use crate::entry::{Lead, RESERVED, below, mapping, table};
use crate::frames::FRAME_BYTES;
use crate::room::Room;
use crate::table::{BITS, ENTRIES, TABLE_ENTRIES, Table};

/// 52 bits of page number take six levels of nine.
pub(crate) const LEVELS_MAX: u32 = 6;

/// The most there can be: the values above are for something else.
pub(crate) const MAPPINGS_MAX: u32 = crate::entry::NUMBERS_MAX;

pub(crate) struct Book {
    /// The first is the root.
    pub(crate) tables: Vec<Table>,
    free: Vec<usize>,
    /// Of the root; the lowest is 0.
    pub(crate) level: u32,
    pub(crate) room: Room,
    /// The lowest table that was used last, by its first page divided by 512: what is done about a mapping
    /// is done several times in a row.
    last: (u64, usize),
    /// The table of the level [`HIGH`] that was made or used last, by its first page divided by as many as
    /// it has: looking up begins there, in all but the largest spaces.
    high: (u64, usize),
}

/// The level above which there is one table, mostly: one has 512 GiB.
const HIGH: u32 = 2;
const HIGH_BITS: u32 = (HIGH + 1) * BITS;

/// No table begins there.
const NOWHERE: (u64, usize) = (u64::MAX, 0);

/// Where in its table an entry is.
#[inline]
fn place(entry: u64) -> usize {
    usize::try_from(entry % ENTRIES).expect("below 512")
}

/// A run of pages, by number.
#[derive(Clone, Copy)]
pub(crate) struct Pages {
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Pages {
    #[inline]
    pub(crate) fn of(span: Span<Iova>) -> Self {
        Self { first: span.first().get() / FRAME_BYTES, last: span.last().get() / FRAME_BYTES }
    }

    /// The places of the first and the last entry that have any of them.
    #[inline]
    fn places(self, level: u32) -> (usize, usize) {
        let shift = level * BITS;
        (place(self.first >> shift), place(self.last >> shift))
    }

    /// The lowest table that they are in, by its first page divided by 512, and their places, if they are
    /// a part of one.
    #[inline]
    fn part_of_one(self) -> Option<(u64, usize, usize)> {
        let (table, (first, last)) = (self.first / ENTRIES, self.places(0));
        let is_part = self.last / ENTRIES == table && last - first < TABLE_ENTRIES - 1;
        is_part.then_some((table, first, last))
    }

    /// What of them each entry of a table covers, by place in it.
    fn entries(self, level: u32) -> impl Iterator<Item = (usize, Self, bool)> {
        let shift = level * BITS;
        let (first, last) = (self.first >> shift, self.last >> shift);
        (first..=last.min(first + (ENTRIES - 1))).map(move |entry| {
            let begin = entry << shift;
            let end = begin | ((1 << shift) - 1);
            let part = Self { first: self.first.max(begin), last: self.last.min(end) };
            (place(entry), part, part.first == begin && part.last == end)
        })
    }
}

impl Book {
    /// An empty one for addresses of so many bits.
    pub(crate) fn new(address_bits: u32) -> Self {
        let pages = address_bits.saturating_sub(12).max(1);
        let level = pages.div_ceil(BITS).clamp(1, LEVELS_MAX) - 1;
        let mut book = Self {
            tables: Vec::new(),
            free: Vec::new(),
            level,
            room: Room::new(),
            last: NOWHERE,
            high: NOWHERE,
        };
        book.make(level, 0);
        book
    }

    /// The last page it can hold.
    pub(crate) fn last(&self) -> u64 {
        (1 << ((self.level + 1) * BITS)) - 1
    }

    /// Forgets everything; the tables are kept to be used again.
    pub(crate) fn reset(&mut self) {
        self.free = (1..self.tables.len()).rev().collect();
        self.room = Room::new();
        (self.last, self.high) = (NOWHERE, NOWHERE);
        self.tables[0] = Table::new(self.level, 0);
        self.room.enter(&mut self.tables, 0);
    }

    /// The table and the place of the entry that a page is in, and its level.
    #[inline]
    fn descend(&self, page: u64) -> Option<(&Table, usize, u32)> {
        if page > self.last() {
            return None;
        }
        let (mut table, mut level) = if page >> HIGH_BITS == self.high.0 {
            (&self.tables[self.high.1], HIGH)
        } else {
            (&self.tables[0], self.level)
        };
        loop {
            let place = place(page >> (level * BITS));
            if level == 0 {
                return Some((table, place, 0));
            }
            let Some(number) = below(table.entries[place]) else {
                return Some((table, place, level));
            };
            table = &self.tables[number];
            level -= 1;
        }
    }

    /// The lowest table with this number, if there is one.
    #[inline]
    fn lowest(&mut self, wanted: u64) -> Option<usize> {
        if self.last.0 == wanted {
            return Some(self.last.1);
        }
        if wanted > self.last() / ENTRIES {
            return None;
        }
        let mut number = 0;
        for level in (1..=self.level).rev() {
            if level == HIGH {
                self.high = (wanted >> (HIGH * BITS), number);
            }
            number = below(self.tables[number].entries[place(wanted >> ((level - 1) * BITS))])?;
        }
        self.last = (wanted, number);
        Some(number)
    }

    /// The number of the mapping that an address belongs to.
    #[inline]
    pub(crate) fn get(&self, address: Iova) -> Option<u32> {
        let (table, place, _) = self.descend(address.get() / FRAME_BYTES)?;
        mapping(table.entries[place])
    }

    /// The live mapping that an address belongs to, and where its page leads.
    #[inline]
    pub(crate) fn translate(&self, address: Iova) -> Option<(u32, Lead)> {
        let page = address.get() / FRAME_BYTES;
        let (table, place, level) = self.descend(page)?;
        let within = page & ((1 << (level * BITS)) - 1);
        Lead::live(table.entries[place], within)
    }

    /// Whether nothing of `pages` belongs to a mapping or is reserved.
    #[inline]
    pub(crate) fn is_free(&mut self, pages: Pages) -> bool {
        if let Some((table, first, last)) = pages.part_of_one()
            && let Some(number) = self.lowest(table)
        {
            return self.tables[number].is_free(first, last);
        }
        pages.last <= self.last() && self.is_free_in(0, self.level, pages)
    }

    fn is_free_in(&self, table: usize, level: u32, pages: Pages) -> bool {
        let table = &self.tables[table];
        let (first, last) = pages.places(level);
        table.is_free(first, last)
            || level > 0
                && pages.entries(level).all(|(place, part, _)| match table.entries[place] {
                    0 => true,
                    entry => below(entry).is_some_and(|it| self.is_free_in(it, level - 1, part)),
                })
    }

    /// Gives `pages`, which are free, to a mapping; it is not live yet.
    #[inline]
    pub(crate) fn set(&mut self, pages: Pages, number: u32, lead: Lead) {
        debug_assert!(number < MAPPINGS_MAX);
        let (entry, step) = (lead.entry(number), lead.step());
        if let Some((table, first, last)) = pages.part_of_one()
            && let Some(number) = self.lowest(table)
        {
            return self.set_lowest(number, (first, last), entry, step);
        }
        self.set_in(0, self.level, pages, entry, step);
    }

    /// Gives `pages`, which are free, to nobody.
    pub(crate) fn reserve(&mut self, pages: Pages) {
        self.set_in(0, self.level, pages, RESERVED, 0);
    }

    fn set_in(&mut self, number: usize, level: u32, pages: Pages, entry: u64, step: u64) {
        if level == 0 {
            return self.set_lowest(number, pages.places(0), entry, step);
        }
        for (place, part, is_whole) in pages.entries(level) {
            let entry = entry + (part.first - pages.first) * step;
            let now = self.tables[number].entries[place];
            if is_whole {
                self.tables[number].entries[place] = entry;
                self.take(number, place, place);
                continue;
            }
            let below = below(now).unwrap_or_else(|| {
                let shift = level * BITS;
                let made = self.make(level - 1, part.first >> shift << shift);
                self.tables[number].entries[place] = table(made);
                self.take(number, place, place);
                made
            });
            self.set_in(below, level - 1, part, entry, step);
        }
    }

    #[inline]
    fn set_lowest(&mut self, number: usize, (first, last): (usize, usize), entry: u64, step: u64) {
        let mut entry = entry;
        for place in &mut self.tables[number].entries[first..=last] {
            *place = entry;
            entry += step;
        }
        self.take(number, first, last);
    }

    #[cold]
    #[inline(never)]
    fn make(&mut self, level: u32, first: u64) -> usize {
        let table = Table::new(level, first);
        let number = match self.free.pop() {
            Some(number) => {
                self.tables[number] = table;
                number
            }
            None => {
                self.tables.push(table);
                self.tables.len() - 1
            }
        };
        self.room.enter(&mut self.tables, number);
        number
    }

    #[inline]
    fn take(&mut self, number: usize, first: usize, last: usize) {
        self.tables[number].take(first, last);
        self.room.taken(&mut self.tables, number);
    }

    /// Takes `pages`, all of which belong to one mapping and were given as one, from it.
    #[inline]
    pub(crate) fn clear(&mut self, pages: Pages) {
        if let Some((table, first, last)) = pages.part_of_one()
            && let Some(number) = self.lowest(table)
            && usize::from(self.tables[number].used) > last - first + 1
        {
            return self.clear_lowest(number, first, last);
        }
        self.clear_in(0, self.level, pages);
    }

    #[inline]
    fn clear_lowest(&mut self, number: usize, first: usize, last: usize) {
        self.tables[number].entries[first..=last].fill(0);
        self.give_back(number, first, last);
    }

    fn clear_in(&mut self, number: usize, level: u32, pages: Pages) {
        if level == 0 {
            let (first, last) = pages.places(0);
            return self.clear_lowest(number, first, last);
        }
        for (place, part, is_whole) in pages.entries(level) {
            let table = below(self.tables[number].entries[place]).filter(|_| !is_whole);
            if let Some(table) = table {
                self.clear_in(table, level - 1, part);
                if self.tables[table].used != 0 {
                    continue;
                }
                (self.last, self.high) = (NOWHERE, NOWHERE);
                self.room.leave(&mut self.tables, table);
                self.free.push(table);
            }
            self.tables[number].entries[place] = 0;
            self.give_back(number, place, place);
        }
    }

    #[inline]
    fn give_back(&mut self, number: usize, first: usize, last: usize) {
        self.tables[number].give_back(first, last);
        self.room.given_back(&mut self.tables, number, first, last);
    }

    /// Says whether `pages`, which belong to one mapping, lead anywhere.
    #[inline]
    pub(crate) fn set_live(&mut self, pages: Pages, is_live: bool) {
        if let Some((table, first, last)) = pages.part_of_one()
            && let Some(number) = self.lowest(table)
        {
            return self.set_live_lowest(number, (first, last), is_live);
        }
        self.set_live_in(0, self.level, pages, is_live);
    }

    #[inline]
    fn set_live_lowest(&mut self, number: usize, (first, last): (usize, usize), is_live: bool) {
        let entries = &mut self.tables[number].entries[first..=last];
        entries.iter_mut().for_each(|entry| *entry = Lead::with_live(*entry, is_live));
    }

    fn set_live_in(&mut self, number: usize, level: u32, pages: Pages, is_live: bool) {
        if level == 0 {
            return self.set_live_lowest(number, pages.places(0), is_live);
        }
        for (place, part, is_whole) in pages.entries(level) {
            let entry = &mut self.tables[number].entries[place];
            match below(*entry).filter(|_| !is_whole) {
                None => *entry = Lead::with_live(*entry, is_live),
                Some(table) => self.set_live_in(table, level - 1, part, is_live),
            }
        }
    }
}

#[cfg(test)]
mod tests;
