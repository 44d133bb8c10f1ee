//! What one writes without a span map: an ordered map from first address to last address and value.
//!
//! It does the same work as [`ringfence_addr::SpanMap`], with the same answers, on bare numbers.

use std::collections::BTreeMap;

/// Values by spans, by hand.
#[derive(Clone, Default)]
pub(crate) struct ByHand(pub(crate) BTreeMap<u64, (u64, u32)>);

impl ByHand {
    /// The span that holds `address`, and its value.
    pub(crate) fn get(&self, address: u64) -> Option<(u64, u64, u32)> {
        let (&first, &(last, value)) = self.0.range(..=address).next_back()?;
        (address <= last).then_some((first, last, value))
    }

    fn overlaps(&self, first: u64, last: u64) -> bool {
        self.0.range(..=last).next_back().is_some_and(|(_, &(end, _))| end >= first)
    }

    /// Inserts where nothing is.
    pub(crate) fn try_insert(&mut self, first: u64, last: u64, value: u32) -> bool {
        let free = !self.overlaps(first, last);
        if free {
            self.0.insert(first, (last, value));
        }
        free
    }

    /// Inserts over whatever is there.
    pub(crate) fn insert(&mut self, first: u64, last: u64, value: u32) {
        self.remove(first, last);
        self.0.insert(first, (last, value));
    }

    /// Takes away what is there and returns the pieces.
    pub(crate) fn remove(&mut self, first: u64, last: u64) -> Vec<(u64, u64, u32)> {
        let mut pieces = Vec::new();
        if !self.overlaps(first, last) {
            return pieces;
        }
        self.cut(first);
        if let Some(above) = last.checked_add(1) {
            self.cut(above);
        }
        while let Some((&start, &(end, value))) = self.0.range(first..=last).next() {
            self.0.remove(&start);
            pieces.push((start, end, value));
        }
        pieces
    }

    fn cut(&mut self, address: u64) {
        let Some((first, last, value)) = self.get(address) else { return };
        if first < address {
            self.0.insert(first, (address - 1, value));
            self.0.insert(address, (last, value));
        }
    }
}
