//! How long to look at idle rings before sleeping.
//!
//! Waking a thread costs more than most requests take, so it pays to look a little longer before
//! going to sleep. But only if something comes: on a machine with fewer processors than busy
//! threads, looking keeps the very thread from running that would bring it. So the time is learnt,
//! as Linux's halt polling learns it (`drivers/cpuidle/governors/haltpoll.c`): it grows when sleep
//! turned out to be shorter than the most we would have looked, and shrinks when looking was in
//! vain.

use std::time::{Duration, Instant};

/// Where growing begins.
const FIRST: Duration = Duration::from_micros(10);

/// Looks in vain before the time is halved.
const PATIENCE: u32 = 4;

/// What has been learnt.
#[derive(Debug)]
pub(crate) struct Spin {
    most: Duration,
    now: Duration,
    in_vain: u32,
    found: bool,
}

/// One stretch of looking.
pub(crate) struct Idle {
    limit: Duration,
    since: Option<Instant>,
}

impl Spin {
    /// Looks for at most `most`; never, if zero.
    pub(crate) fn new(most: Duration) -> Self {
        Self { most, now: most.min(FIRST), in_vain: 0, found: false }
    }

    /// Begins to look.
    pub(crate) fn start(&mut self) -> Idle {
        self.found = false;
        Idle { limit: self.now, since: None }
    }

    /// Something was there to do.
    pub(crate) fn found_work(&mut self) {
        self.found = true;
    }

    /// Ends a stretch of looking.
    pub(crate) fn finish(&mut self, idle: &Idle) {
        if idle.since.is_none() {
            return;
        }
        if self.found {
            self.in_vain = 0;
        } else {
            self.in_vain += 1;
            if self.in_vain >= PATIENCE {
                self.in_vain = 0;
                self.now /= 2;
                if self.now < FIRST / 2 {
                    self.now = Duration::ZERO;
                }
            }
        }
    }

    /// A sleep ended.
    pub(crate) fn woke_after(&mut self, slept: Duration) {
        if slept <= self.most && self.now < self.most {
            self.now = (self.now * 2).clamp(FIRST.min(self.most), self.most);
        }
    }
}

impl Idle {
    /// Whether to look once more.
    pub(crate) fn goes_on(&mut self) -> bool {
        if self.limit.is_zero() {
            return false;
        }
        std::hint::spin_loop();
        self.since.get_or_insert_with(Instant::now).elapsed() < self.limit
    }
}
