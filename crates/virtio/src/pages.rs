//! The window's pages: runs handed out and taken back, with a share kept for every queue.
//!
//! A buddy allocator over 4 KiB pages with last-in-first-out free lists, so that the pages used
//! next are those still in the cache. A run is cut to the exact number of pages asked for and the
//! rest given back at once, so a request of 257 pages takes 257 and not 512.

mod reservation;

use reservation::Reservation;

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;

const NONE: u32 = u32::MAX;
const TAKEN: u8 = u8::MAX;

/// A run of consecutive pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Index of the first page.
    pub(crate) first: u32,
    /// How many; at least one.
    pub(crate) count: u32,
}

/// Which pages are free, and how many each queue has.
#[derive(Debug)]
pub(crate) struct Pages {
    /// Per page: its order if it heads a free block, else `TAKEN`.
    orders: Vec<u8>,
    /// Per page: its neighbours in the free list of its order, if it heads a free block.
    links: Vec<Link>,
    /// Per order: the block freed last.
    heads: Vec<u32>,
    free: u32,
    queues: Vec<Queue>,
    /// How many queues have a request that waits for pages.
    waiting: usize,
    reservation: Option<Reservation>,
}

/// What one queue has; a queue that is closed is kept no share.
#[derive(Clone, Copy, Debug, Default)]
struct Queue {
    open: bool,
    used: u32,
    /// While a request waits: pages others were given meanwhile.
    passed: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

impl Pages {
    /// `count` free pages for up to `queues` queues. Half of the pages are shared out evenly among
    /// the open queues and kept for them; the other half serves whoever comes first.
    pub(crate) fn new(count: u32, queues: usize) -> Self {
        let orders = count.checked_ilog2().map_or(0, |order| order as usize + 1);
        let mut pages = Self {
            orders: vec![TAKEN; count as usize],
            links: vec![Link { previous: NONE, next: NONE }; count as usize],
            heads: vec![NONE; orders],
            free: 0,
            queues: vec![Queue::default(); queues],
            waiting: 0,
            reservation: None,
        };
        if count > 0 {
            pages.release_range(0, count);
        }
        pages
    }

    /// How many pages are free.
    #[cfg(test)]
    pub(crate) fn free(&self) -> u32 {
        self.free
    }

    /// How many pages are in use.
    pub(crate) fn used(&self) -> u32 {
        self.total() - self.free
    }

    /// How many pages there are.
    pub(crate) fn total(&self) -> u32 {
        u32::try_from(self.orders.len()).expect("made from a u32")
    }

    /// Keeps a share for `queue`, or no longer.
    pub(crate) fn set_open(&mut self, queue: usize, open: bool) {
        self.queues[queue].open = open;
        self.waits_no_more(queue);
    }

    /// The share of each open queue.
    fn share(&self) -> u32 {
        let open = self.queues.iter().filter(|queue| queue.open).count();
        self.total() / 2 / u32::try_from(open.max(1)).expect("queues are few")
    }

    /// The most pages one open queue could ever have: all but the shares of the others, in one
    /// block.
    pub(crate) fn most_for_one_queue(&self) -> u32 {
        let open = self.queues.iter().filter(|queue| queue.open).count();
        let others = u32::try_from(open.saturating_sub(1)).expect("queues are few");
        let most = self.total() - others * self.share();
        // A run comes out of one block, and blocks are powers of two.
        most.min(1 << (self.heads.len().saturating_sub(1)))
    }

    /// Takes `count` consecutive pages for `queue`, or `None` when that has to wait. Whoever waits
    /// asks again for as many.
    pub(crate) fn take(&mut self, queue: usize, count: u32) -> Option<Run> {
        let found = self.take_reserved(queue, count).or_else(|| self.take_free(queue, count));
        let found = match found {
            None if self.was_passed_over(queue, count) => self.take_reserved(queue, count),
            found => found,
        };
        if found.is_some() {
            self.was_served(queue, count);
        }
        found
    }

    fn take_free(&mut self, queue: usize, count: u32) -> Option<Run> {
        if count == 0 || count > self.free.saturating_sub(self.kept_from(queue)) {
            return None;
        }
        let wanted = count.checked_next_power_of_two()?.trailing_zeros() as usize;
        let order = (wanted..self.heads.len()).find(|order| self.heads[*order] != NONE)?;
        let first = self.heads[order];
        self.unlink(first, order);
        self.free -= 1 << order;
        let spare = (1u32 << order) - count;
        if spare > 0 {
            self.release_range(first + count, spare);
        }
        self.queues[queue].used += count;
        Some(Run { first, count })
    }

    /// Gives a run back.
    pub(crate) fn give_back(&mut self, queue: usize, run: Run) {
        let used = &mut self.queues[queue].used;
        assert!(*used >= run.count, "a queue gives back more pages than it has");
        *used -= run.count;
        self.release(run);
    }

    /// Pages that are free but kept for the shares of other queues.
    fn kept_from(&self, queue: usize) -> u32 {
        let share = self.share();
        let others = self.queues.iter().enumerate().filter(|(index, _)| *index != queue);
        others
            .filter(|(_, other)| other.open)
            .map(|(_, other)| share.saturating_sub(other.used))
            .sum()
    }

    /// Frees any range by its largest aligned blocks.
    fn release_range(&mut self, mut first: u32, mut count: u32) {
        while count > 0 {
            let by_alignment = if first == 0 { 31 } else { first.trailing_zeros() };
            let order = by_alignment.min(count.ilog2());
            self.release_block(first, order as usize);
            first += 1 << order;
            count -= 1 << order;
        }
    }

    /// Frees one aligned block, joined with its free buddies.
    fn release_block(&mut self, mut first: u32, mut order: usize) {
        assert_eq!(self.orders[first as usize], TAKEN, "page {first} is freed twice");
        self.free += 1 << order;
        while order + 1 < self.heads.len() {
            let buddy = first ^ (1 << order);
            let free_there = self.orders.get(buddy as usize).copied();
            if free_there.is_none_or(|there| usize::from(there) != order) {
                break;
            }
            self.unlink(buddy, order);
            first = first.min(buddy);
            order += 1;
        }
        self.link(first, order);
    }

    fn link(&mut self, first: u32, order: usize) {
        let next = std::mem::replace(&mut self.heads[order], first);
        self.links[first as usize] = Link { previous: NONE, next };
        if next != NONE {
            self.links[next as usize].previous = first;
        }
        self.orders[first as usize] = u8::try_from(order).expect("orders are below 32");
    }

    fn unlink(&mut self, first: u32, order: usize) {
        let Link { previous, next } = self.links[first as usize];
        match previous {
            NONE => self.heads[order] = next,
            previous => self.links[previous as usize].next = next,
        }
        if next != NONE {
            self.links[next as usize].previous = previous;
        }
        self.orders[first as usize] = TAKEN;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(count: u32, queues: usize) -> Pages {
        let mut pages = Pages::new(count, queues);
        (0..queues).for_each(|queue| pages.set_open(queue, true));
        pages
    }

    #[test]
    fn a_closed_queue_keeps_no_share() {
        let mut pages = open(64, 2);
        pages.set_open(1, false);
        assert!(pages.take(0, 64).is_some());
    }

    #[test]
    fn a_run_takes_no_more_than_asked() {
        let mut pages = open(1024, 1);
        let run = pages.take(0, 257).expect("room");
        assert_eq!((run.count, pages.free()), (257, 1024 - 257));
        pages.give_back(0, run);
        assert_eq!(pages.take(0, 1024), Some(Run { first: 0, count: 1024 }));
    }

    #[test]
    fn a_queue_cannot_take_the_share_of_another() {
        let mut pages = open(64, 2);
        let mut taken = 0;
        while pages.take(0, 1).is_some() {
            taken += 1;
        }
        assert_eq!(taken, 48, "all but the 16 kept for queue 1");
        for page in 0..16 {
            assert!(pages.take(1, 1).is_some(), "page {page} of the share");
        }
        assert_eq!(pages.take(1, 1), None);
    }

    #[test]
    fn what_one_queue_can_ever_have_it_can_have() {
        for (count, queues) in [(256, 1), (256, 2), (300, 3), (16384, 4), (257, 1)] {
            let mut pages = open(count, queues);
            let most = pages.most_for_one_queue();
            assert!(pages.take(0, most).is_some(), "{most} of {count} pages, {queues} queues");
        }
    }

    proptest! {
        /// Against a plain map of which page is taken: no page twice, none lost, all joined again.
        #[test]
        fn pages_are_never_handed_out_twice_nor_lost(
            count in 1u32..200,
            steps in prop::collection::vec((any::<bool>(), 1u32..40, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut pages = open(count, 1);
            let mut taken = vec![false; count as usize];
            let mut runs: Vec<Run> = Vec::new();
            for (take, wanted, which) in steps {
                if take {
                    if let Some(run) = pages.take(0, wanted) {
                        prop_assert_eq!(run.count, wanted);
                        for page in run.first..run.first + run.count {
                            prop_assert!(!std::mem::replace(&mut taken[page as usize], true));
                        }
                        runs.push(run);
                    }
                } else if !runs.is_empty() {
                    let run = runs.swap_remove(which.index(runs.len()));
                    for page in run.first..run.first + run.count {
                        taken[page as usize] = false;
                    }
                    pages.give_back(0, run);
                }
                let free = taken.iter().filter(|taken| !**taken).count();
                prop_assert_eq!(pages.free() as usize, free);
            }
            for run in runs.drain(..) {
                pages.give_back(0, run);
            }
            let largest = 1 << count.ilog2();
            prop_assert!(pages.take(0, largest).is_some());
        }
    }
}
