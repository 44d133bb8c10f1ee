//! How long to look at idle rings before sleeping.
//!
//! Waking a thread costs more than most requests take, so it pays to look a little longer before
//! going to sleep. But only if something comes, and only with time nobody else wants: on a machine
//! with fewer processors than busy threads, looking keeps the very thread from running that would
//! bring it. So between two looks the processor is offered to others (`sched_yield`: a fraction of
//! a microsecond when nobody wants it; looking without took seven times the processor time and was
//! slower in every case of the benchmark). And the time is learnt,
//! as Linux's halt polling learns it (`drivers/cpuidle/governors/haltpoll.c`): it grows when sleep
//! turned out to be shorter than the most we would have looked, and shrinks when looking was in
//! vain.

use std::time::{Duration, Instant};

/// Where growing begins.
const FIRST: Duration = Duration::from_micros(10);

/// Looks in vain before the time is halved.
const PATIENCE: u32 = 4;

/// Looks between two looks at the clock.
const LOOKS_PER_CLOCK: u32 = 16;

/// What has been learnt, and the stretch of looking under way.
#[derive(Debug)]
pub(crate) struct Spin {
    /// The longest a stretch may ever be.
    most: Duration,
    /// How long a stretch is now.
    limit: Duration,
    /// Stretches in a row that ended with nothing.
    in_vain: u32,
    /// Looks of this stretch, and when it began.
    looks: u32,
    since: Option<Instant>,
}

impl Spin {
    /// Looks for at most `most`; never, if zero.
    pub(crate) fn new(most: Duration) -> Self {
        Self { most, limit: most.min(FIRST), in_vain: 0, looks: 0, since: None }
    }

    /// There was something to do: the stretch paid, and the next begins afresh.
    pub(crate) fn found_work(&mut self) {
        if self.since.take().is_some() {
            self.in_vain = 0;
        }
        self.looks = 0;
    }

    /// There was nothing to do: whether to look once more.
    pub(crate) fn goes_on(&mut self) -> bool {
        if self.limit.is_zero() {
            return false;
        }
        rustix::thread::sched_yield();
        self.looks = self.looks.wrapping_add(1);
        if self.looks % LOOKS_PER_CLOCK != 1 {
            return true;
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() < self.limit {
            return true;
        }
        self.looked_in_vain();
        false
    }

    fn looked_in_vain(&mut self) {
        self.since = None;
        self.looks = 0;
        self.in_vain += 1;
        if self.in_vain >= PATIENCE {
            self.in_vain = 0;
            self.limit /= 2;
            if self.limit < FIRST / 2 {
                self.limit = Duration::ZERO;
            }
        }
    }

    /// A sleep ended after so long.
    pub(crate) fn woke_after(&mut self, slept: Duration) {
        if slept <= self.most && self.limit < self.most {
            self.limit = (self.limit * 2).clamp(FIRST.min(self.most), self.most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(50);

    fn look_in_vain(spin: &mut Spin) {
        while spin.goes_on() {}
    }

    #[test]
    fn looking_in_vain_is_given_up() {
        let mut spin = Spin::new(MOST);
        for _ in 0..PATIENCE * 8 {
            look_in_vain(&mut spin);
        }
        assert_eq!(spin.limit, Duration::ZERO);
        assert!(!spin.goes_on());
    }

    #[test]
    fn short_sleeps_make_it_look_again_and_no_longer_than_the_most() {
        let mut spin = Spin::new(MOST);
        spin.limit = Duration::ZERO;
        spin.woke_after(MOST * 2);
        assert_eq!(spin.limit, Duration::ZERO, "a long sleep was worth it");
        for _ in 0..10 {
            spin.woke_after(MOST);
        }
        assert_eq!(spin.limit, MOST);
    }

    #[test]
    fn a_stretch_that_pays_is_no_stretch_in_vain() {
        let mut spin = Spin::new(MOST);
        for _ in 0..PATIENCE * 8 {
            assert!(spin.goes_on());
            spin.found_work();
        }
        assert_eq!(spin.limit, FIRST);
    }

    #[test]
    fn zero_never_looks() {
        let mut spin = Spin::new(Duration::ZERO);
        spin.woke_after(Duration::ZERO);
        assert!(!spin.goes_on());
    }
}
