//! A set of small numbers, of which the lowest is found at once.
//!
//! A word has 64 of them; a word above says which words have any, and one above that the same. Three
//! levels are enough for 2^31 numbers with a short walk at the top.

const LEVELS: usize = 3;
const BITS: usize = 64;

/// Numbers that are in the set.
pub(crate) struct Bits {
    levels: [Vec<u64>; LEVELS],
    /// No word at the top has any below this one.
    lowest: usize,
}

impl Bits {
    pub(crate) const fn new() -> Self {
        Self { levels: [const { Vec::new() }; LEVELS], lowest: 0 }
    }

    #[inline]
    pub(crate) fn insert(&mut self, number: u32) {
        self.insert_word(number as usize / BITS, 1 << (number as usize % BITS));
    }

    /// Inserts what is set in `bits` of the 64 numbers from `64 * word` on.
    pub(crate) fn insert_word(&mut self, word: usize, bits: u64) {
        let top = word >> (BITS.trailing_zeros() as usize * (LEVELS - 1));
        let (mut word, mut bits) = (word, bits);
        for level in &mut self.levels {
            if level.len() <= word {
                level.resize(word + 1, 0);
            }
            let before = level[word];
            level[word] |= bits;
            if before != 0 || bits == 0 {
                return;
            }
            (word, bits) = (word / BITS, 1 << (word % BITS));
        }
        self.lowest = self.lowest.min(top);
    }

    #[inline]
    pub(crate) fn remove(&mut self, number: u32) {
        let mut at = number as usize;
        for level in &mut self.levels {
            let Some(word) = level.get_mut(at / BITS) else { return };
            *word &= !(1 << (at % BITS));
            if *word != 0 {
                return;
            }
            at /= BITS;
        }
    }

    /// The lowest number there is.
    #[inline]
    pub(crate) fn first(&mut self) -> Option<u32> {
        let top = &self.levels[LEVELS - 1];
        while *top.get(self.lowest)? == 0 {
            self.lowest += 1;
        }
        let mut at = self.lowest;
        for level in self.levels.iter().rev() {
            at = at * BITS + level.get(at)?.trailing_zeros() as usize;
        }
        u32::try_from(at).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_as_a_plain_set(steps in prop::collection::vec((0..4_u32, prop_oneof![0..200_u32, 0..600_000_u32]), 1..200)) {
            let (mut bits, mut plain) = (Bits::new(), BTreeSet::new());
            for (what, number) in steps {
                match what {
                    0 => {
                        bits.remove(number);
                        plain.remove(&number);
                    }
                    1 => {
                        bits.insert_word(number as usize / 64, 0b1001);
                        plain.extend([number / 64 * 64, number / 64 * 64 + 3]);
                    }
                    _ => {
                        bits.insert(number);
                        plain.insert(number);
                    }
                }
                prop_assert_eq!(bits.first(), plain.first().copied());
            }
            while let Some(first) = plain.pop_first() {
                prop_assert_eq!(bits.first(), Some(first));
                bits.remove(first);
            }
            prop_assert_eq!(bits.first(), None);
        }
    }
}
