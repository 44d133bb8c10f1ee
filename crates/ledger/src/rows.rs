//! All mappings, by number; and those that begin at the same frame, one after another.
//!
//! Invariant `I3`: a handle names a number and how many mappings had it before: no two that
//! are there share one, and one of a mapping that is gone names nothing.
//!
//! The lowest number that is free is used next: mappings that come one after another lie one after
//! another, and so do their slots in a journal, which is no longer than it has to be.

use ringfence_refusal::Refusal;

use crate::bits::Bits;
use crate::id::{Handle, Id};
use crate::refusals::STALE;
use crate::row::Row;

pub(crate) struct Rows {
    rows: Vec<Row>,
    free: Bits,
    /// The number before and the number after, for those of which the row says that there is one.
    links: Vec<[u32; 2]>,
}

/// Numbers in a word of [`Bits`].
const WORD: usize = 64;

#[cold]
fn stale(handle: Handle) -> Refusal {
    Refusal::new(&STALE, handle.to_string())
}

#[inline]
fn index(number: u32) -> usize {
    number as usize
}

impl Rows {
    pub(crate) const fn new() -> Self {
        Self { rows: Vec::new(), free: Bits::new(), links: Vec::new() }
    }

    /// The number that the next one gets.
    #[inline]
    pub(crate) fn next(&mut self) -> u32 {
        let first = self.free.first();
        first.unwrap_or_else(|| u32::try_from(self.rows.len()).unwrap_or(u32::MAX))
    }

    /// Enters one at the number that is next.
    #[inline]
    pub(crate) fn add(&mut self, number: u32, mut row: Row) -> Handle {
        let Some(place) = self.rows.get_mut(index(number)) else {
            self.rows.push(row);
            return Handle(Id::of(number, 0));
        };
        self.free.remove(number);
        row.generation = place.generation + 1;
        *place = row;
        Handle(Id::of(number, row.generation))
    }

    #[inline]
    pub(crate) fn get(&self, handle: Handle) -> Result<&Row, Refusal> {
        let row = self.rows.get(index(handle.0.place()));
        row.filter(|row| row.is_used() && row.generation == handle.0.generation())
            .ok_or_else(|| stale(handle))
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, handle: Handle) -> Result<&mut Row, Refusal> {
        let row = self.rows.get_mut(index(handle.0.place()));
        row.filter(|row| row.is_used() && row.generation == handle.0.generation())
            .ok_or_else(|| stale(handle))
    }

    /// What has a number now.
    #[inline]
    pub(crate) fn at(&self, number: u32) -> Option<(Handle, &Row)> {
        let row = self.rows.get(index(number)).filter(|row| row.is_used())?;
        Some((Handle(Id::of(number, row.generation)), row))
    }

    #[inline]
    fn row_mut(&mut self, number: u32) -> Option<&mut Row> {
        self.rows.get_mut(index(number))
    }

    /// Takes one out, and says what it was.
    #[inline]
    pub(crate) fn remove(&mut self, handle: Handle) -> Option<Row> {
        let number = handle.0.place();
        let place = self.rows.get_mut(index(number))?;
        let row = *place;
        if !row.is_used() || row.generation != handle.0.generation() {
            return None;
        }
        place.clear();
        // A number whose generations are used up stays empty rather than name a stranger.
        if row.generation < u32::MAX {
            self.free.insert(number);
        }
        Some(row)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, &Row)> {
        (0..)
            .zip(&self.rows)
            .filter(|(_, row)| row.is_used())
            .map(|(number, row)| (Handle(Id::of(number, row.generation)), row))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Row> {
        self.rows.iter_mut().filter(|row| row.is_used())
    }

    /// Takes all `count` of a holder out but what is kept; `with` gets each number, what it was, and what
    /// [`Rows::unlink`] said. One walk from end to end.
    pub(crate) fn remove_all(
        &mut self,
        (holder, count): (u32, u64),
        mut is_kept: impl FnMut(u32, &Row) -> bool,
        mut with: impl FnMut(u32, &Row, Option<u32>),
    ) -> Vec<Handle> {
        let mut left = usize::try_from(count).unwrap_or(usize::MAX).min(self.rows.len());
        let mut gone = Vec::with_capacity(left);
        for word in 0..self.rows.len().div_ceil(WORD) {
            if left == 0 {
                break;
            }
            let mut freed = 0_u64;
            for place in word * WORD..self.rows.len().min((word + 1) * WORD) {
                let row = self.rows[place];
                if row.holder != holder || !row.is_used() {
                    continue;
                }
                left -= 1;
                let number = u32::try_from(place).expect("as many have a number");
                if is_kept(number, &row) {
                    continue;
                }
                self.rows[place].clear();
                freed |= u64::from(row.generation < u32::MAX) << (place % WORD);
                let first = self.unlink(number, &row);
                with(number, &row, first);
                gone.push(Handle(Id::of(number, row.generation)));
            }
            if freed != 0 {
                self.free.insert_word(word, freed);
            }
        }
        gone
    }

    /// Puts one before all others of its frame, the first of which is `first`.
    #[inline]
    pub(crate) fn link(&mut self, number: u32, first: u32) {
        if first != 0 {
            self.link_before(number, first - 1);
        }
    }

    #[cold]
    fn link_before(&mut self, number: u32, next: u32) {
        let most = index(number.max(next)) + 1;
        if self.links.len() < most {
            self.links.resize(most.next_power_of_two(), [0; 2]);
        }
        self.links[index(number)][1] = next;
        self.links[index(next)][0] = number;
        if let Some(row) = self.row_mut(number) {
            row.set_followed(true);
        }
        if let Some(row) = self.row_mut(next) {
            row.set_follows(true);
        }
    }

    /// Takes one, which was `row`, from among those of its frame: what comes first there now, if it
    /// came first, or 0.
    #[inline]
    pub(crate) fn unlink(&mut self, number: u32, row: &Row) -> Option<u32> {
        match (row.follows(), row.is_followed()) {
            (false, false) => Some(0),
            (follows, is_followed) => self.unlink_from(number, follows, is_followed),
        }
    }

    #[cold]
    fn unlink_from(&mut self, number: u32, follows: bool, is_followed: bool) -> Option<u32> {
        let [previous, next] = self.links[index(number)];
        if is_followed {
            self.links[index(next)][0] = previous;
            if let Some(row) = self.row_mut(next) {
                row.set_follows(follows);
            }
        }
        if !follows {
            return Some(next + 1);
        }
        self.links[index(previous)][1] = next;
        if let Some(row) = self.row_mut(previous) {
            row.set_followed(is_followed);
        }
        None
    }

    /// One and all that follow it.
    pub(crate) fn chain(&self, first: u32) -> impl Iterator<Item = (Handle, &Row)> {
        let follow = |(handle, row): &(Handle, &Row)| {
            if row.is_followed() { self.at(self.links[index(handle.0.place())][1]) } else { None }
        };
        std::iter::successors(self.at(first), follow)
    }
}
