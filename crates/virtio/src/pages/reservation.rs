//! Room kept for a request that was passed over for too long.
//!
//! A large request needs consecutive pages, and smaller ones of other queues that come and go could
//! keep them apart for ever. When others were given a whole window's worth of pages while one
//! request waited, a range is chosen for it, the one with the fewest pages in use: what is free in
//! it, and what becomes free, is given to nobody else.

use super::{Pages, Run, TAKEN};

/// A range for one request of one queue.
#[derive(Debug)]
pub(super) struct Reservation {
    queue: usize,
    run: Run,
    /// What of it is free so far.
    pieces: Vec<Run>,
    have: u32,
}

impl Reservation {
    /// Keeps what of a range that becomes free lies within, and says how much that was and what
    /// lies before and after.
    fn keep(&mut self, range: Run) -> (u32, [Run; 2]) {
        let (first, end) = (self.run.first, self.run.first + self.run.count);
        let range_end = range.first + range.count;
        let (from, to) = (range.first.clamp(first, end), range_end.clamp(first, end));
        if from == to {
            return (0, [range, Run { first: range_end, count: 0 }]);
        }
        self.pieces.push(Run { first: from, count: to - from });
        self.have += to - from;
        let before = Run { first: range.first, count: from - range.first };
        (to - from, [before, Run { first: to, count: range_end - to }])
    }
}

impl Pages {
    /// The reserved range, if it is for such a request and all there.
    pub(super) fn take_reserved(&mut self, queue: usize, count: u32) -> Option<Run> {
        let reservation = self.reservation.as_ref().filter(|kept| kept.queue == queue)?;
        if reservation.run.count != count {
            // It waited for another request, which is no more.
            self.drop_reservation();
            return None;
        }
        // Its pages count as the queue's already, so only the others' shares remain to be seen to.
        if reservation.have < count || self.kept_from(queue) > self.free {
            return None;
        }
        self.reservation.take().map(|kept| kept.run)
    }

    /// A request of `queue` was given `count` pages; others may be waiting.
    pub(super) fn was_served(&mut self, queue: usize, count: u32) {
        if self.waiting == 0 {
            return;
        }
        self.waits_no_more(queue);
        let passed = self.queues.iter_mut().filter_map(|other| other.passed.as_mut());
        passed.for_each(|passed| *passed = passed.saturating_add(count));
    }

    /// A request of `queue` has to wait for `count` pages. True when a range was reserved for it.
    pub(super) fn was_passed_over(&mut self, queue: usize, count: u32) -> bool {
        let total = self.total();
        let passed = &mut self.queues[queue].passed;
        if passed.is_none() {
            self.waiting += 1;
        }
        let others = self.reservation.as_ref().is_some_and(|kept| kept.queue != queue);
        if *passed.get_or_insert(0) < total || others || !(1..=total).contains(&count) {
            return false;
        }
        // If it was for this request, it was the wrong choice: something in it never ends.
        *passed = Some(0);
        self.drop_reservation();
        self.reserve(queue, count);
        true
    }

    /// Forgets that `queue` waits, and what was kept for it.
    pub(super) fn waits_no_more(&mut self, queue: usize) {
        if self.queues[queue].passed.take().is_some() {
            self.waiting -= 1;
        }
        if self.reservation.as_ref().is_some_and(|kept| kept.queue == queue) {
            self.drop_reservation();
        }
    }

    /// Frees a range, but for what of it is reserved.
    pub(super) fn release(&mut self, range: Run) {
        let Some(reservation) = self.reservation.as_mut() else {
            return self.release_range(range.first, range.count);
        };
        let (kept, rest) = reservation.keep(range);
        self.queues[reservation.queue].used += kept;
        for run in rest {
            self.release_range(run.first, run.count);
        }
    }

    fn drop_reservation(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.queues[reservation.queue].used -= reservation.have;
            for piece in reservation.pieces {
                self.release_range(piece.first, piece.count);
            }
        }
    }

    fn reserve(&mut self, queue: usize, count: u32) {
        let run = self.emptiest(count);
        self.reservation = Some(Reservation { queue, run, pieces: Vec::new(), have: 0 });
        for block in self.free_blocks() {
            if block.first < run.first + run.count && run.first < block.first + block.count {
                self.unlink(block.first, block.count.ilog2() as usize);
                self.free -= block.count;
                self.release(block);
            }
        }
    }

    /// Of the ranges of `count` pages, aligned to the power of two above, the one with the most
    /// free pages.
    fn emptiest(&self, count: u32) -> Run {
        let step = count.next_power_of_two();
        let firsts = (0..=self.total() - count).step_by(step as usize);
        let mut ranges: Vec<(u32, u32)> = firsts.map(|first| (first, 0)).collect();
        for block in self.free_blocks() {
            let (begin, end) = (block.first / step, (block.first + block.count - 1) / step);
            for at in begin..=end {
                if let Some((first, free)) = ranges.get_mut(at as usize) {
                    let from = block.first.max(*first);
                    let to = (block.first + block.count).min(*first + count);
                    *free += to.saturating_sub(from);
                }
            }
        }
        let emptiest = ranges.iter().max_by_key(|(_, free)| *free);
        Run { first: emptiest.map_or(0, |(first, _)| *first), count }
    }

    fn free_blocks(&self) -> Vec<Run> {
        let mut blocks = Vec::new();
        let mut page = 0;
        while page < self.total() {
            let order = self.orders[page as usize];
            let count = if order == TAKEN { 1 } else { 1 << order };
            if order != TAKEN {
                blocks.push(Run { first: page, count });
            }
            page += count;
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn open(count: u32, queues: usize) -> Pages {
        let mut pages = Pages::new(count, queues);
        (0..queues).for_each(|queue| pages.set_open(queue, true));
        pages
    }

    /// How many small requests, of which two are always in flight, pass a large one.
    fn passed_over(pages: &mut Pages, wanted: u32, most: u32) -> Option<u32> {
        let mut small: VecDeque<Run> = (0..2).map(|_| pages.take(1, 1).expect("room")).collect();
        for step in 0..most {
            if let Some(run) = pages.take(0, wanted) {
                assert_eq!(run.count, wanted);
                pages.give_back(0, run);
                small.into_iter().for_each(|run| pages.give_back(1, run));
                return Some(step);
            }
            if let Some(run) = pages.take(1, 1) {
                small.push_back(run);
            }
            pages.give_back(1, small.pop_front().expect("at least one"));
        }
        None
    }

    #[test]
    fn small_requests_do_not_keep_a_large_one_waiting_for_ever() {
        for count in [256, 512, 4096] {
            let mut pages = open(count, 2);
            let most = pages.most_for_one_queue();
            let passed = passed_over(&mut pages, most, count * 4).expect("a large one goes");
            assert!(passed >= count, "it was passed over {passed} times only");
            assert!(pages.take(0, most).is_some(), "all is joined again");
        }
    }

    #[test]
    fn what_was_reserved_for_a_queue_that_closes_is_free_again() {
        let mut pages = open(256, 2);
        let most = pages.most_for_one_queue();
        let stays = pages.take(1, 1).expect("room");
        for _ in 0..256 {
            assert_eq!(pages.take(0, most), None);
            let run = pages.take(1, 1).expect("room");
            pages.give_back(1, run);
        }
        assert_eq!(pages.take(0, most), None);
        assert!(pages.reservation.is_some());
        pages.set_open(0, false);
        assert!(pages.reservation.is_none());
        pages.give_back(1, stays);
        assert!(pages.take(1, 256).is_some());
    }

    proptest! {
        /// Three queues against a plain map of who has which page, with requests that insist: no
        /// page twice, none lost, no share touched, all joined again.
        #[test]
        fn reservations_lose_nothing_and_touch_no_share(
            count in 24u32..200,
            steps in prop::collection::vec((0usize..3, 1u32..64, any::<bool>(), any::<prop::sample::Index>()), 1..600),
        ) {
            let mut pages = open(count, 3);
            let share = count / 2 / 3;
            let mut owner: Vec<Option<usize>> = vec![None; count as usize];
            let mut runs: Vec<(usize, Run)> = Vec::new();
            let mut insists: [u32; 3] = [0; 3];
            for (queue, wanted, take, which) in steps {
                if take {
                    if insists[queue] == 0 {
                        insists[queue] = wanted.min(pages.most_for_one_queue());
                    }
                    if let Some(run) = pages.take(queue, insists[queue]) {
                        prop_assert_eq!(run.count, insists[queue]);
                        insists[queue] = 0;
                        for page in run.first..run.first + run.count {
                            prop_assert_eq!(owner[page as usize].replace(queue), None);
                        }
                        runs.push((queue, run));
                    }
                } else if !runs.is_empty() {
                    let (queue, run) = runs.swap_remove(which.index(runs.len()));
                    for page in run.first..run.first + run.count {
                        owner[page as usize] = None;
                    }
                    pages.give_back(queue, run);
                }
                let used = |queue| {
                    let used = owner.iter().filter(|has| **has == Some(queue)).count();
                    u32::try_from(used).expect("few")
                };
                let promised: u32 = (0..3).map(|queue| used(queue).max(share)).sum();
                prop_assert!(promised <= count, "somebody has of another's share");
            }
            for (queue, run) in runs.drain(..) {
                pages.give_back(queue, run);
            }
            (0..3).for_each(|queue| pages.waits_no_more(queue));
            prop_assert_eq!(pages.free(), count);
            (1..3).for_each(|queue| pages.set_open(queue, false));
            prop_assert!(pages.take(0, 1 << count.ilog2()).is_some());
        }
    }
}
