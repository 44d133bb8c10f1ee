//! Kicking a backend without being held up by it.
//!
//! A kick is an eventfd, as backends expect: some hand it on to the kernel, and libvhost-user since
//! QEMU 11 writes to it itself. But whether writing to a full one waits is up to a flag that all of
//! its holders share, so a backend can fill it, make it wait, and hang whoever kicks. It cannot be
//! kept from that, so a second thread looks on: when a kick takes longer than any kick should, it
//! empties the eventfds that are full, which lets the first thread go on. One that is not full makes
//! nobody wait: then it is a busy machine that keeps the first thread, and nobody is to blame.

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ringfence_refusal::Fault;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::queue::notify;

/// How often the second thread looks. A kick that it finds under way twice may be stuck.
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

    /// Invariant `never-held-up`, for the one system call that a backend can make wait.
    fn watch(&self) {
        let mut before = 0;
        while !self.is_over.load(Ordering::Acquire) {
            std::thread::park_timeout(LOOK);
            before = self.look(before);
        }
    }

    /// Lets a kick go that is stuck; `before` is where the kicks were at the last look.
    fn look(&self, before: u64) -> u64 {
        let now = self.steps.load(Ordering::Acquire);
        if now % 2 == 1 && now == before {
            for eventfd in self.eventfds().values().filter(|eventfd| is_full(eventfd)) {
                self.was_stuck.store(true, Ordering::Release);
                empty(eventfd);
            }
        }
        now
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
            // Before Linux 5.8 a backend that empties an eventfd at the very moment the watcher does
            // can hold the watcher up, so it is not waited for.
            drop(watcher);
        }
    }
}

/// Whether adding one to an eventfd would wait.
fn is_full(eventfd: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(eventfd, PollFlags::OUT)], Some(&now)) == Ok(0)
}

/// Empties an eventfd whatever its flags say of waiting: the backend may empty it at the same
/// moment, and whoever reads it second must not wait for somebody to write.
fn empty(eventfd: &OwnedFd) {
    // Where there is no position, any but this one is an error.
    const NO_POSITION: u64 = u64::MAX;
    let mut bytes = [0; 8];
    let read =
        preadv2(eventfd, &mut [IoSliceMut::new(&mut bytes)], NO_POSITION, ReadWriteFlags::NOWAIT);
    match read {
        // What matters is that it was full and no longer is.
        Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
        Err(_) => empty_if_readable(eventfd),
    }
}

/// The same as well as it can be done before Linux 5.8, where a read of an eventfd cannot be told
/// not to wait.
fn empty_if_readable(eventfd: &OwnedFd) {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut [PollFd::new(eventfd, PollFlags::IN)], Some(&now)) == Ok(1) {
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

    #[test]
    fn a_kick_that_takes_long_for_no_fault_of_the_backends_is_not_taken_from_it() {
        let shared = Shared::default();
        let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        rustix::io::write(&eventfd, &1u64.to_ne_bytes()).expect("kicked");
        shared.eventfds().insert(0, eventfd.try_clone().expect("a duplicate"));
        // Under way, and not seen to get on by two looks.
        shared.steps.store(1, Ordering::Release);
        assert_eq!((shared.look(0), shared.look(1)), (1, 1));
        assert!(!shared.was_stuck.load(Ordering::Acquire));
        let mut kicks = [0; 8];
        rustix::io::read(&eventfd, &mut kicks).expect("the kick is there still");
        assert_eq!(u64::from_ne_bytes(kicks), 1);
        // The same when it is the backend's doing.
        rustix::io::write(&eventfd, &(u64::MAX - 1).to_ne_bytes()).expect("filled");
        shared.look(1);
        assert!(shared.was_stuck.load(Ordering::Acquire) && !is_full(&eventfd));
    }

    /// As if the backend had emptied it between a look and the read.
    #[test]
    fn emptying_what_was_just_emptied_does_not_wait() {
        let (done, is_done) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let eventfd = rustix::event::eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
            for _ in 0..1000 {
                empty(&eventfd);
            }
            rustix::io::write(&eventfd, &7u64.to_ne_bytes()).expect("written");
            empty(&eventfd);
            empty(&eventfd);
            let _ = done.send(());
        });
        is_done.recv_timeout(Duration::from_secs(10)).expect("the watcher would hang");
    }

    /// A backend that fills and empties the kick of one queue without end, and makes that of
    /// another wait: the watcher is held up by neither.
    #[test]
    fn a_race_for_one_kick_does_not_hang_another() {
        let kicks = Kicks::new().expect("a thread");
        let (first, second) = (kicks.make(0).expect("one"), kicks.make(1).expect("another"));
        for kick in [&first, &second] {
            rustix::fs::fcntl_setfl(kick, OFlags::empty()).expect("flags");
        }
        let backends = first.try_clone().expect("a duplicate");
        let (is_over, over) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || {
            use std::sync::mpsc::TryRecvError::Empty;
            while over.try_recv() == Err(Empty) {
                let _ = rustix::io::write(&backends, &1u64.to_ne_bytes());
                empty(&backends);
            }
        });
        for _ in 0..3 {
            rustix::io::write(&second, &(u64::MAX - 1).to_ne_bytes()).expect("filled");
            assert!(kicks.kick(&second), "it was let go and said so");
            empty(&second);
        }
        drop(is_over);
    }
}
