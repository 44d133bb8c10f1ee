//! What a fence has done so far, for whoever looks from another thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ringfence_refusal::Refusal;

use crate::features::Masked;
use crate::offences::{Offence, Offences, Peer};

/// What a fence is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// Listening; no VMM is connected.
    #[default]
    Waiting,
    /// A VMM is connected; no queue runs.
    Connected,
    /// Queues run.
    Running,
    /// Something was refused that ends the service of a queue until the guest resets the device.
    Stopped,
    /// The backend is gone.
    BackendGone,
    /// The backend lied or fell silent, and is not spoken to again.
    BackendDistrusted,
}

/// Running totals; every field may be read at any time.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) window_bytes: AtomicU64,
    pub(crate) window_used_bytes: AtomicU64,
    pub(crate) guest_memory_bytes: AtomicU64,
    pub(crate) unsealed_memory_bytes: AtomicU64,
    pub(crate) queues: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) in_flight: AtomicU64,
    pub(crate) bytes_to_device: AtomicU64,
    pub(crate) bytes_to_guest: AtomicU64,
    pub(crate) refusals: AtomicU64,
    pub(crate) sessions: AtomicU64,
    pub(crate) wakeups: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) throttled: AtomicU64,
    pub(crate) queues_throttled: AtomicU64,
    said: Mutex<Said>,
    /// Something was refused of another kind than before.
    new_kind: Condvar,
}

/// What is not a number.
#[derive(Debug, Default)]
struct Said {
    state: State,
    last_refusal: Option<Refusal>,
    offences: Offences,
    masked: Vec<&'static Masked>,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What the fence is doing.
    pub state: State,
    /// Bytes of the window, all that the backend can see.
    pub window_bytes: u64,
    /// Of those, bytes in use by rings and by requests in flight.
    pub window_used_bytes: u64,
    /// Bytes of guest memory, which the backend cannot see.
    pub guest_memory_bytes: u64,
    /// Of those, bytes in files that the VMM could shrink while they are in use.
    pub unsealed_memory_bytes: u64,
    /// Queues that run.
    pub queues: u64,
    /// Requests completed.
    pub requests: u64,
    /// Requests given to the backend and not completed.
    pub in_flight: u64,
    /// Bytes copied from the guest into the window.
    pub bytes_to_device: u64,
    /// Bytes copied from the window to the guest.
    pub bytes_to_guest: u64,
    /// What was refused, of either side.
    pub refusals: u64,
    /// The refusal before now.
    pub last_refusal: Option<Refusal>,
    /// Who did what of the refused, by peer and code: bounded by the catalogues, whatever comes.
    pub offences: Vec<Offence>,
    /// VMM connections served, the present one included.
    pub sessions: u64,
    /// Times the fence was woken by a notification.
    pub wakeups: u64,
    /// Times a backend died and its successor took over.
    pub reconnects: u64,
    /// Requests given to a successor again.
    pub replayed: u64,
    /// Times a queue was made to wait for its quota.
    pub throttled: u64,
    /// Queues that wait for their quota now.
    pub queues_throttled: u64,
    /// Features the backend offers that were kept from the VMM.
    pub masked: Vec<&'static Masked>,
}

impl Counters {
    /// All of them now. Each is exact; together they may straddle a step.
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let said = self.said();
        Snapshot {
            state: said.state,
            window_bytes: get(&self.window_bytes),
            window_used_bytes: get(&self.window_used_bytes),
            guest_memory_bytes: get(&self.guest_memory_bytes),
            unsealed_memory_bytes: get(&self.unsealed_memory_bytes),
            queues: get(&self.queues),
            requests: get(&self.requests),
            in_flight: get(&self.in_flight),
            bytes_to_device: get(&self.bytes_to_device),
            bytes_to_guest: get(&self.bytes_to_guest),
            refusals: get(&self.refusals),
            last_refusal: said.last_refusal.clone(),
            offences: said.offences.list(),
            sessions: get(&self.sessions),
            wakeups: get(&self.wakeups),
            reconnects: get(&self.reconnects),
            replayed: get(&self.replayed),
            throttled: get(&self.throttled),
            queues_throttled: get(&self.queues_throttled),
            masked: said.masked.clone(),
        }
    }

    /// Requests completed so far.
    pub(crate) fn completed(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) fn set_state(&self, state: State) {
        self.said().state = state;
    }

    pub(crate) fn set_masked(&self, masked: Vec<&'static Masked>) {
        self.said().masked = masked;
    }

    /// Counts a refusal of something `peer` did, unless its code says whose it is.
    pub(crate) fn refuse(&self, peer: Peer, refusal: Refusal) {
        let mut said = self.said();
        if said.offences.enter(Peer::of(&refusal, peer), &refusal) {
            self.new_kind.notify_all();
        }
        said.last_refusal = Some(refusal);
        self.refusals.fetch_add(1, Ordering::Relaxed);
    }

    /// Who did what of the refused so far, once there are other kinds of it than the `known`, or
    /// `patience` is over.
    pub fn wait_for_kind(&self, known: usize, patience: Duration) -> Vec<Offence> {
        let wait = self
            .new_kind
            .wait_timeout_while(self.said(), patience, |said| said.offences.kinds() == known);
        wait.unwrap_or_else(PoisonError::into_inner).0.offences.list()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, amount: u64) {
    if amount != 0 {
        counter.fetch_add(amount, Ordering::Relaxed);
    }
}

/// Sets a gauge.
pub(crate) fn set(gauge: &AtomicU64, value: u64) {
    gauge.store(value, Ordering::Relaxed);
}
