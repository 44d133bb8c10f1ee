//! The time a fence goes by.
//!
//! Only quotas ask it. What they allow must be shown exactly, so a test can set the time itself.

#[cfg(any(test, feature = "unguarded"))]
use std::sync::Arc;
#[cfg(any(test, feature = "unguarded"))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tells how long ago it was made.
#[derive(Clone, Debug)]
pub struct Clock {
    since: Instant,
    #[cfg(any(test, feature = "unguarded"))]
    set: Option<Arc<AtomicU64>>,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            #[cfg(any(test, feature = "unguarded"))]
            set: None,
        }
    }
}

impl Clock {
    /// A clock that stands still, and is set to so many nanoseconds by whoever has the number.
    #[cfg(any(test, feature = "unguarded"))]
    pub fn set_by(nanoseconds: Arc<AtomicU64>) -> Self {
        Self { set: Some(nanoseconds), ..Self::default() }
    }

    /// The time since the clock was made.
    pub(crate) fn now(&self) -> Duration {
        #[cfg(any(test, feature = "unguarded"))]
        if let Some(set) = &self.set {
            return Duration::from_nanos(set.load(Ordering::Acquire));
        }
        self.since.elapsed()
    }
}
