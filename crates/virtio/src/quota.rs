//! How much of its device one queue may use: requests and bytes per second.
//!
//! Each is a bucket of tokens that refills steadily and holds a second's worth, the burst: what a
//! queue that was idle for a second may use at once. A request is let through while both buckets
//! have something in them, and then takes what it costs, so a bucket may go into debt by one
//! request less one token; however large a request, it is only a matter of time. In any `t`
//! seconds, therefore, a queue gets at most `rate × (t + 1)` and one request more.
//!
//! A request costs one, and in bytes all that its buffers have room for; of the room a device did
//! not write to, the bytes are given back on completion. What is replayed to a backend's successor
//! was paid for.

use std::num::NonZeroU64;
use std::time::Duration;

use crate::clock::Clock;
use crate::counters::{Counters, add};

const NANOSECONDS: u128 = 1_000_000_000;

/// A queue that ran dry waits at least so long, and takes what came in meanwhile together.
const PAUSE_LEAST: Duration = Duration::from_millis(1);

/// What one queue may use; without a number, as much as it can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Requests per second.
    pub requests_per_second: Option<NonZeroU64>,
    /// Bytes per second, to the device and to the guest together.
    pub bytes_per_second: Option<NonZeroU64>,
}

/// Tokens, in units of a billionth, so that each rate refills by whole units per nanosecond.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: NonZeroU64,
    units: i128,
    refilled: Duration,
}

impl Bucket {
    fn full(rate: NonZeroU64) -> Self {
        Self { rate, units: Self::capacity(rate), refilled: Duration::ZERO }
    }

    /// A second's worth.
    fn capacity(rate: NonZeroU64) -> i128 {
        i128::from(rate.get()).saturating_mul(NANOSECONDS.cast_signed())
    }

    /// Puts in what has come since the last time.
    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.refilled).as_nanos().cast_signed();
        let came = passed.saturating_mul(i128::from(self.rate.get()));
        self.units = self.units.saturating_add(came).min(Self::capacity(self.rate));
        self.refilled = self.refilled.max(now);
    }

    fn take(&mut self, tokens: u64) {
        let units = i128::from(tokens).saturating_mul(NANOSECONDS.cast_signed());
        self.units = self.units.saturating_sub(units);
    }

    fn give_back(&mut self, tokens: u64) {
        let units = i128::from(tokens).saturating_mul(NANOSECONDS.cast_signed());
        self.units = self.units.saturating_add(units).min(Self::capacity(self.rate));
    }

    /// How long until there is a whole token; not at all if there is one.
    fn wait(&self) -> Duration {
        let missing = NANOSECONDS.cast_signed() - self.units;
        if missing <= 0 {
            return Duration::ZERO;
        }
        let rate = u128::from(self.rate.get());
        let nanoseconds = missing.unsigned_abs().div_ceil(rate);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// What one queue has left.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    requests: Option<Bucket>,
    bytes: Option<Bucket>,
    /// While the queue is made to wait: until when.
    until: Option<Duration>,
}

impl Meter {
    /// All of a quota.
    pub(crate) fn new(quota: Quota) -> Self {
        Self {
            requests: quota.requests_per_second.map(Bucket::full),
            bytes: quota.bytes_per_second.map(Bucket::full),
            until: None,
        }
    }

    /// Whether there is any limit, so that it matters what time it is.
    pub(crate) fn limits(&self) -> bool {
        self.requests.is_some() || self.bytes.is_some()
    }

    /// Whether a request may be taken now.
    pub(crate) fn allows(&mut self, now: Duration) -> Verdict {
        if self.until.is_some_and(|until| now < until) {
            return Verdict::Wait { begins: false };
        }
        let mut wait = Duration::ZERO;
        for bucket in [&mut self.requests, &mut self.bytes].into_iter().flatten() {
            bucket.refill(now);
            wait = wait.max(bucket.wait());
        }
        if wait.is_zero() {
            self.until = None;
            return Verdict::Take;
        }
        let begins = self.until.is_none();
        self.until = Some(now.saturating_add(wait.max(PAUSE_LEAST)));
        Verdict::Wait { begins }
    }

    /// A request of so many bytes was taken.
    pub(crate) fn take(&mut self, bytes: u64) {
        if let Some(bucket) = &mut self.requests {
            bucket.take(1);
        }
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes);
        }
    }

    /// Of a request that was taken, so many bytes were not used.
    pub(crate) fn give_back(&mut self, bytes: u64) {
        if let Some(bucket) = &mut self.bytes {
            bucket.give_back(bytes);
        }
    }

    /// How long the queue still has to wait, if it has to.
    pub(crate) fn wait(&self, now: Duration) -> Option<Duration> {
        self.until.map(|until| until.saturating_sub(now))
    }
}

/// Whether a request may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may.
    Take,
    /// Not before [`Meter::wait`] is over; whether the waiting begins with this.
    Wait { begins: bool },
}

/// The meter of a queue, with the time it goes by.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    meter: Meter,
    clock: Clock,
    is_on: bool,
}

impl Throttle {
    /// All of a quota, by `clock`.
    pub(crate) fn new(quota: Quota, clock: Clock) -> Self {
        Self { meter: Meter::new(quota), clock, is_on: false }
    }

    /// Whether a request may be taken from the guest, which has one waiting.
    pub(crate) fn admits(&mut self, counters: &Counters) -> bool {
        if !self.meter.limits() {
            return true;
        }
        match self.meter.allows(self.clock.now()) {
            Verdict::Take => true,
            Verdict::Wait { begins } => {
                self.is_on = true;
                add(&counters.throttled, u64::from(begins));
                false
            }
        }
    }

    /// A request of so many bytes was taken.
    pub(crate) fn charge(&mut self, bytes: u64) {
        self.meter.take(bytes);
    }

    /// Of a request that was taken, so many bytes were not used.
    pub(crate) fn refund(&mut self, bytes: u64) {
        self.meter.give_back(bytes);
    }

    /// Whether a request waits for the quota.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Nothing waits for the quota, until something was looked for.
    pub(crate) fn lift(&mut self) {
        self.is_on = false;
    }

    /// How long a request still waits for the quota, if one does.
    pub(crate) fn wait(&self) -> Option<Duration> {
        self.meter.wait(self.clock.now()).filter(|_| self.is_on)
    }
}

#[cfg(test)]
mod tests;
