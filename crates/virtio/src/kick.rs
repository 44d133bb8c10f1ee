//! Kicking a backend without being held up by it.
//!
//! A kick is an eventfd, as backends expect: some hand it on to the kernel, and libvhost-user since
//! QEMU 11 writes to it itself. But whether writing to a full one waits is up to a flag that all of
//! its holders share, so a backend can fill it, make it wait, and hang whoever kicks. It cannot be
//! kept from that, so a second thread looks on: when a kick takes longer than any kick can, it
//! empties the eventfds, which lets the first thread go on.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ringfence_refusal::Fault;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, poll};

use crate::queue::notify;

/// How often the second thread looks. A kick that it finds under way twice is stuck.
const LOOK: Duration = Duration::from_millis(100);

/// The kicks of one device's queues.
#[derive(Debug)]
pub(crate) struct Kicks {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Goes up before a kick and after it, so it is odd while one is under way.
    steps: AtomicU64,
    /// Whether a kick had to be let go since anybody asked.
    was_stuck: AtomicBool,
    is_over: AtomicBool,
    eventfds: Mutex<BTreeMap<usize, OwnedFd>>,
}

impl Shared {
    fn eventfds(&self) -> MutexGuard<'_, BTreeMap<usize, OwnedFd>> {
        self.eventfds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        let mut before = 0;
        while !self.is_over.load(Ordering::Acquire) {
            std::thread::park_timeout(LOOK);
            let now = self.steps.load(Ordering::Acquire);
            if now % 2 == 1 && now == before {
                self.was_stuck.store(true, Ordering::Release);
                self.eventfds().values().for_each(empty);
            }
            before = now;
        }
    }
}

impl Kicks {
    /// No kicks yet, and the thread that looks on.
    pub(crate) fn new() -> Result<Self, Fault> {
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        let watcher = std::thread::Builder::new()
            .name("kick watcher".into())
            .spawn(move || watched.watch())
            .map_err(|error| Fault::new("start", "a thread", error))?;
        Ok(Self { shared, watcher: Some(watcher) })
    }

    /// A new kick for queue `index`, in place of the one it had.
    pub(crate) fn make(&self, index: usize) -> Result<OwnedFd, Fault> {
        let kick = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Fault::new("make", "an eventfd", errno))?;
        let kept =
            kick.try_clone().map_err(|error| Fault::new("duplicate", "an eventfd", error))?;
        self.shared.eventfds().insert(index, kept);
        Ok(kick)
    }

    /// Kicks. True when the backend had filled the eventfd and made it wait.
    pub(crate) fn kick(&self, kick: &OwnedFd) -> bool {
        self.shared.steps.fetch_add(1, Ordering::AcqRel);
        notify(kick);
        self.shared.steps.fetch_add(1, Ordering::AcqRel);
        self.shared.was_stuck.load(Ordering::Relaxed)
            && self.shared.was_stuck.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Kicks {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(watcher) = self.watcher.take() {
            watcher.thread().unpark();
            // A backend that empties an eventfd at the very moment the watcher does can hold the
            // watcher up, so it is not waited for; it ends with the process at the latest.
            drop(watcher);
        }
    }
}

fn empty(eventfd: &OwnedFd) {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut [PollFd::new(eventfd, PollFlags::IN)], Some(&now)) == Ok(1) {
        // What matters is that it was full and no longer is.
        let _ = rustix::io::read(eventfd, &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::OFlags;

    use super::*;

    #[test]
    fn a_kick_made_to_wait_goes_on() {
        let kicks = Kicks::new().expect("a thread");
        let kick = kicks.make(0).expect("an eventfd");
        assert!(!kicks.kick(&kick));
        rustix::fs::fcntl_setfl(&kick, OFlags::empty()).expect("flags");
        rustix::io::write(&kick, &(u64::MAX - 2).to_ne_bytes()).expect("filled");
        assert!(kicks.kick(&kick), "it was let go and said so");
        assert!(!kicks.kick(&kick));
    }
}
