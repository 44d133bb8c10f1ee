//! Which mapping each page of a bus address space belongs to.
//!
//! A tree of tables with 512 entries each, as IOMMUs have them: looking up takes as many steps as
//! there are levels, however many mappings there are, and what covers a whole table is one entry.

use ringfence_addr::{Iova, Span};

use crate::frames::FRAME_BYTES;

const TABLE_ENTRIES: usize = 512;
const ENTRIES: u64 = TABLE_ENTRIES as u64;
const BITS: u32 = 9;
/// 52 bits of page number take six levels of nine.
const LEVELS_MAX: u32 = 6;

/// A table below.
const TABLE: u32 = 1 << 31;

/// The most there can be: the rest of an entry's values are tables.
pub(crate) const MAPPINGS_MAX: u32 = TABLE - 1;

pub(crate) struct Book {
    /// The first is the root.
    tables: Vec<Table>,
    free: Vec<u32>,
    /// Of the root; the lowest is 0.
    level: u32,
}

struct Table {
    /// 0 for nothing, a table, or a mapping's number and one.
    entries: [u32; TABLE_ENTRIES],
    used: u16,
}

impl Table {
    const EMPTY: Self = Self { entries: [0; TABLE_ENTRIES], used: 0 };
}

/// Where in its table an entry is.
#[inline]
fn place(entry: u64) -> usize {
    usize::try_from(entry % ENTRIES).expect("below 512")
}

/// A run of pages.
#[derive(Clone, Copy)]
struct Pages {
    first: u64,
    last: u64,
}

impl Pages {
    fn of(span: Span<Iova>) -> Self {
        Self { first: span.first().get() / FRAME_BYTES, last: span.last().get() / FRAME_BYTES }
    }

    /// What of them each entry of a table covers, by place in it.
    fn entries(self, level: u32) -> impl Iterator<Item = (usize, Self, bool)> {
        let shift = level * BITS;
        (self.first >> shift..=self.last >> shift).map(move |entry| {
            let begin = entry << shift;
            let end = begin | ((1 << shift) - 1);
            let part = Self { first: self.first.max(begin), last: self.last.min(end) };
            let is_whole = part.first == begin && part.last == end;
            (place(entry), part, is_whole)
        })
    }
}

impl Book {
    /// An empty one for addresses of so many bits.
    pub(crate) fn new(address_bits: u32) -> Self {
        let pages = address_bits.saturating_sub(12).max(1);
        let levels = pages.div_ceil(BITS).clamp(1, LEVELS_MAX);
        Self { tables: vec![Table::EMPTY], free: Vec::new(), level: levels - 1 }
    }

    /// The number of the mapping that an address belongs to.
    #[inline]
    pub(crate) fn get(&self, address: Iova) -> Option<u32> {
        let page = address.get() / FRAME_BYTES;
        if page.checked_shr((self.level + 1) * BITS).unwrap_or(0) != 0 {
            return None;
        }
        let (mut table, mut level) = (&self.tables[0], self.level);
        loop {
            let entry = table.entries[place(page >> (level * BITS))];
            match entry {
                0 => return None,
                entry if entry & TABLE == 0 => return Some(entry - 1),
                entry => table = &self.tables[(entry & !TABLE) as usize],
            }
            // A table is never below the lowest level.
            level -= 1;
        }
    }

    /// Whether nothing of `span`, which it can hold, belongs to a mapping.
    pub(crate) fn is_free(&self, span: Span<Iova>) -> bool {
        self.is_free_in(0, self.level, Pages::of(span))
    }

    fn is_free_in(&self, table: u32, level: u32, pages: Pages) -> bool {
        let table = &self.tables[table as usize];
        table.used == 0
            || pages.entries(level).all(|(place, part, _)| match table.entries[place] {
                0 => true,
                entry if entry & TABLE == 0 => false,
                entry => self.is_free_in(entry & !TABLE, level - 1, part),
            })
    }

    /// The last address of the highest page of `span` that belongs to a mapping; `None` if all of it is
    /// free.
    pub(crate) fn last_used(&self, span: Span<Iova>) -> Option<Iova> {
        let page = self.last_used_in(0, self.level, Pages::of(span))?;
        Some(Iova::new(page * FRAME_BYTES + (FRAME_BYTES - 1)))
    }

    fn last_used_in(&self, table: u32, level: u32, pages: Pages) -> Option<u64> {
        let table = &self.tables[table as usize];
        if table.used == 0 {
            return None;
        }
        let shift = level * BITS;
        for entry in (pages.first >> shift..=pages.last >> shift).rev() {
            let begin = entry << shift;
            let end = begin | ((1 << shift) - 1);
            let part = Pages { first: pages.first.max(begin), last: pages.last.min(end) };
            let found = match table.entries[place(entry)] {
                0 => None,
                value if value & TABLE == 0 => Some(part.last),
                value => self.last_used_in(value & !TABLE, level - 1, part),
            };
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Gives `span`, which is free, to a mapping.
    pub(crate) fn set(&mut self, span: Span<Iova>, mapping: u32) {
        debug_assert!(mapping < MAPPINGS_MAX);
        self.set_in(0, self.level, Pages::of(span), mapping + 1);
    }

    fn set_in(&mut self, table: u32, level: u32, pages: Pages, value: u32) {
        for (place, part, is_whole) in pages.entries(level) {
            let now = self.tables[table as usize].entries[place];
            if is_whole {
                debug_assert_eq!(now, 0, "it is free");
                let table = &mut self.tables[table as usize];
                table.entries[place] = value;
                table.used += 1;
                continue;
            }
            let below = if now == 0 {
                let made = self.make();
                let table = &mut self.tables[table as usize];
                table.entries[place] = made | TABLE;
                table.used += 1;
                made
            } else {
                now & !TABLE
            };
            self.set_in(below, level - 1, part, value);
        }
    }

    fn make(&mut self) -> u32 {
        if let Some(table) = self.free.pop() {
            return table;
        }
        self.tables.push(Table::EMPTY);
        u32::try_from(self.tables.len() - 1).expect("tables of two KiB: memory ends long before")
    }

    /// Takes `span`, all of which belongs to one mapping and was given as one, from it.
    pub(crate) fn clear(&mut self, span: Span<Iova>) {
        self.clear_in(0, self.level, Pages::of(span));
    }

    fn clear_in(&mut self, table: u32, level: u32, pages: Pages) {
        for (place, part, is_whole) in pages.entries(level) {
            let now = self.tables[table as usize].entries[place];
            if !is_whole {
                let below = now & !TABLE;
                self.clear_in(below, level - 1, part);
                if self.tables[below as usize].used != 0 {
                    continue;
                }
                self.free.push(below);
            }
            let table = &mut self.tables[table as usize];
            table.entries[place] = 0;
            table.used -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use ringfence_addr::Address as _;

    use super::*;

    fn span(first: u64, pages: u64) -> Option<Span<Iova>> {
        Span::from_parts(Iova::new(first.checked_mul(FRAME_BYTES)?), pages * FRAME_BYTES)
    }

    /// Pages near the bounds of tables, and the last ones there are.
    fn page(bits: u32) -> impl Strategy<Value = u64> {
        let last = (1_u64 << (bits - 12)) - 1;
        prop_oneof![
            0..2000_u64,
            (0..6_u32, 0..5_u64).prop_map(move |(level, off)| ((1_u64 << (9 * level)) + off)
                .saturating_sub(2)
                & last),
            (0..2000_u64).prop_map(move |below| last - below),
        ]
    }

    fn history() -> impl Strategy<Value = (u32, Vec<(u64, u64)>)> {
        prop_oneof![Just(39_u32), Just(48), Just(57), Just(64)].prop_flat_map(|bits| {
            let pages = prop_oneof![1..4_u64, 510..515_u64, 1..3000_u64, Just(512 * 512)];
            (Just(bits), prop::collection::vec((page(bits), pages), 1..40))
        })
    }

    proptest! {
        /// Against a map of spans: free, taken, looked up at both ends and beside, and given back.
        #[test]
        fn it_is_as_a_plain_list((bits, wishes) in history()) {
            let mut book = Book::new(bits);
            let mut plain: BTreeMap<u32, Span<Iova>> = BTreeMap::new();
            for (number, (first, pages)) in (0..).zip(wishes) {
                let Some(wish) = span(first, pages) else { continue };
                if bits < 64 && wish.last().get() >> bits != 0 {
                    continue;
                }
                let taken: Vec<u32> =
                    plain.iter().filter(|(_, it)| it.overlaps(&wish)).map(|(number, _)| *number).collect();
                prop_assert_eq!(book.is_free(wish), taken.is_empty());
                let last = taken.iter().map(|number| plain[number].last().min(wish.last())).max();
                prop_assert_eq!(book.last_used(wish), last);
                match taken.first() {
                    None => {
                        book.set(wish, number);
                        plain.insert(number, wish);
                    }
                    Some(one) => {
                        let span = plain.remove(one).expect("it is there");
                        book.clear(span);
                    }
                }
                for at in plain.values().chain([&wish]) {
                    let beside = [at.first().checked_sub(1), at.last().checked_add(1)];
                    for address in [Some(at.first()), Some(at.last())].into_iter().chain(beside).flatten() {
                        let found = plain.iter().find(|(_, it)| it.contains(address));
                        prop_assert_eq!(book.get(address), found.map(|(number, _)| *number));
                    }
                }
            }
            for span in plain.values() {
                book.clear(*span);
            }
            prop_assert_eq!(book.tables[0].used, 0);
            prop_assert_eq!(book.tables.len(), book.free.len() + 1, "a table was lost");
        }
    }
}
