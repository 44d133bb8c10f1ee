//! When a dead backend is started again, and when no more.
//!
//! The first time it is at once, as a guest waits. One that dies again without having completed a
//! request is given a little longer each time, and given up in the end: a request that is in flight,
//! or what the backend is given, is what kills it.

use std::time::{Duration, Instant};

use crate::talk;

/// The pause before the second start in a row; each that follows is four times as long.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
const PAUSE_LONGER: u32 = 4;
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// One that has listened for so long has served, whether or not there was anything to serve.
const SERVED: Duration = Duration::from_secs(10);

/// How it goes with one backend.
#[derive(Debug)]
pub(super) struct Restarts {
    in_a_row_max: u32,
    in_a_row: u32,
    /// Since when it has been listening; none if it does not yet.
    listens: Option<Instant>,
    /// How many requests the device had completed when it died last.
    completed: u64,
}

/// What to do about a death.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    StartAfter(Duration),
    GiveUp,
}

impl Restarts {
    pub(super) fn new(in_a_row_max: u32, now: Instant) -> Self {
        Self { in_a_row_max, in_a_row: 0, listens: Some(now), completed: 0 }
    }

    /// Whether the backend is started again at all.
    pub(super) fn are_wanted(&self) -> bool {
        self.in_a_row_max > 0
    }

    /// It was started again.
    pub(super) fn started(&mut self) {
        self.listens = None;
    }

    /// It has come so far as to listen.
    pub(super) fn listens(&mut self, now: Instant) {
        self.listens = Some(now);
    }

    /// It died, or could not be started; its device has completed so many requests by now.
    pub(super) fn died(&mut self, completed: u64, now: Instant) -> Next {
        let served = self.listens.is_some_and(|since| now.duration_since(since) >= SERVED);
        if completed > self.completed || served {
            self.in_a_row = 0;
        }
        self.completed = completed;
        if self.in_a_row == self.in_a_row_max {
            return Next::GiveUp;
        }
        self.in_a_row += 1;
        Next::StartAfter(match self.in_a_row {
            1 => Duration::ZERO,
            row => PAUSE_FIRST.saturating_mul(PAUSE_LONGER.saturating_pow(row - 2)).min(PAUSE_MOST),
        })
    }

    /// "4 times in a row without completing a request", once it is given up.
    pub(super) fn in_words(&self) -> String {
        let times = talk::times(u64::from(self.in_a_row) + 1);
        format!("{times} in a row without having completed a request")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(restarts: &mut Restarts, now: Instant) -> Vec<u128> {
        std::iter::from_fn(|| match restarts.died(0, now) {
            Next::StartAfter(pause) => Some(pause.as_millis()),
            Next::GiveUp => None,
        })
        .collect()
    }

    #[test]
    fn the_first_start_is_at_once_and_the_rest_back_off_until_it_is_given_up() {
        let now = Instant::now();
        let mut restarts = Restarts::new(8, now);
        assert_eq!(pauses(&mut restarts, now), [0, 10, 40, 160, 640, 2560, 5000, 5000]);
        assert_eq!(restarts.died(0, now), Next::GiveUp);
        assert_eq!(restarts.in_words(), "9 times in a row without having completed a request");
    }

    #[test]
    fn a_request_completed_or_time_served_begins_the_count_anew() {
        let now = Instant::now();
        let mut restarts = Restarts::new(1, now);
        for completed in 1..100 {
            assert_eq!(restarts.died(completed, now), Next::StartAfter(Duration::ZERO));
        }
        assert_eq!(restarts.died(99, now), Next::GiveUp);
        assert_eq!(restarts.in_words(), "twice in a row without having completed a request");
        assert_eq!(restarts.died(99, now + SERVED), Next::StartAfter(Duration::ZERO));
        restarts.listens(now + SERVED);
        assert_eq!(restarts.died(99, now + SERVED), Next::GiveUp);
    }

    #[test]
    fn one_that_does_not_listen_does_not_serve() {
        let now = Instant::now();
        let mut restarts = Restarts::new(1, now);
        assert_eq!(restarts.died(0, now), Next::StartAfter(Duration::ZERO));
        restarts.started();
        assert_eq!(restarts.died(0, now + 2 * SERVED), Next::GiveUp);
    }

    #[test]
    fn none_may_be_wanted() {
        let now = Instant::now();
        let mut restarts = Restarts::new(0, now);
        assert!(!restarts.are_wanted() && restarts.died(1, now) == Next::GiveUp);
    }
}
