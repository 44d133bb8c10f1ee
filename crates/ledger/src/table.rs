//! One table of a [`crate::book::Book`]: 512 entries, and which of them are taken.

pub(crate) const TABLE_ENTRIES: usize = 512;
pub(crate) const ENTRIES: u64 = TABLE_ENTRIES as u64;
/// How many bits of a page number choose an entry.
pub(crate) const BITS: u32 = 9;

const WORDS: usize = TABLE_ENTRIES / 64;

pub(crate) struct Table {
    /// 0 for nothing; else as [`crate::entry`] says.
    pub(crate) entries: [u64; TABLE_ENTRIES],
    /// Which entries are not 0.
    taken: [u64; WORDS],
    /// How many those are.
    pub(crate) used: u16,
    /// The bin of [`crate::room::Room`] that it is in.
    pub(crate) bin: u8,
    pub(crate) level: u32,
    /// The number of its first page.
    pub(crate) first: u64,
}

/// The words of a bitmap that have any of `first..=last`, and which bits of them.
fn words(first: usize, last: usize) -> impl Iterator<Item = (usize, u64)> {
    (first / 64..=last / 64).map(move |word| {
        let low = first.max(word * 64) % 64;
        let high = last.min(word * 64 + 63) % 64;
        (word, (u64::MAX >> (63 - high)) & (u64::MAX << low))
    })
}

impl Table {
    pub(crate) const fn new(level: u32, first: u64) -> Self {
        Self { entries: [0; TABLE_ENTRIES], taken: [0; WORDS], used: 0, bin: 0, level, first }
    }

    /// Notes that entries `first..=last`, which were free, are taken.
    #[inline]
    pub(crate) fn take(&mut self, first: usize, last: usize) {
        for (word, bits) in words(first, last) {
            debug_assert_eq!(self.taken[word] & bits, 0, "they are free");
            self.taken[word] |= bits;
        }
        self.used += count(first, last);
    }

    /// Notes that entries `first..=last`, which were taken, are free.
    #[inline]
    pub(crate) fn give_back(&mut self, first: usize, last: usize) {
        for (word, bits) in words(first, last) {
            debug_assert_eq!(self.taken[word] & bits, bits, "they are taken");
            self.taken[word] &= !bits;
        }
        self.used -= count(first, last);
    }

    /// Whether entries `first..=last` are all free.
    #[inline]
    pub(crate) fn is_free(&self, first: usize, last: usize) -> bool {
        words(first, last).all(|(word, bits)| self.taken[word] & bits == 0)
    }

    /// How long the run of free entries is that `first..=last`, which are free, are in.
    pub(crate) fn run_around(&self, first: usize, last: usize) -> usize {
        let below = self.next(first, true).map_or(0, |taken| taken + 1);
        let above = self.next(last, false).unwrap_or(TABLE_ENTRIES);
        above - below
    }

    /// The taken entry nearest to `place` below or above it.
    fn next(&self, place: usize, is_below: bool) -> Option<usize> {
        let word = place / 64;
        if is_below {
            let own = self.taken[word] & !(u64::MAX << (place % 64));
            let rest = self.taken[..word].iter().copied().enumerate().rev();
            let found = std::iter::once((word, own)).chain(rest).find(|(_, bits)| *bits != 0);
            return found.map(|(word, bits)| word * 64 + 63 - bits.leading_zeros() as usize);
        }
        let own = self.taken[word] & !(u64::MAX >> (63 - place % 64));
        let rest = self.taken.iter().copied().enumerate().skip(word + 1);
        let found = std::iter::once((word, own)).chain(rest).find(|(_, bits)| *bits != 0);
        found.map(|(word, bits)| word * 64 + bits.trailing_zeros() as usize)
    }

    /// Runs of free entries, ascending: the first entry and how many there are.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut from = 0;
        std::iter::from_fn(move || {
            let first = self.free_from(from)?;
            let end = self.next(first, false).unwrap_or(TABLE_ENTRIES);
            from = end;
            Some((first, end - first))
        })
    }

    /// The first free entry from `from` on.
    fn free_from(&self, from: usize) -> Option<usize> {
        let (word, bit) = (from / 64, from % 64);
        let own = (word, !*self.taken.get(word)? & (u64::MAX << bit));
        let rest = self.taken.iter().map(|bits| !bits).enumerate().skip(word + 1);
        let found = std::iter::once(own).chain(rest).find(|(_, bits)| *bits != 0);
        found.map(|(word, bits)| word * 64 + bits.trailing_zeros() as usize)
    }
}

fn count(first: usize, last: usize) -> u16 {
    u16::try_from(last - first + 1).expect("at most 512")
}
