//! Eventfds that a client made: signalled, and not waited for.
//!
//! One that is full would make whoever signals it wait if the client wants that, so it is looked at
//! first. A client that fills it in the moment between the look and the signal gets its way: the
//! thread that raises its interrupts waits until it empties it. It is the client's own device that
//! stands still; threads that serve several clients should not raise interrupts.

use std::os::fd::OwnedFd;

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use crate::refusals::WRONG_DESCRIPTORS;

/// `ANON_INODE_FS_MAGIC` of `linux/magic.h`: where eventfds live.
const ANONYMOUS: u64 = 0x0904_1934;

/// A client's eventfd.
#[derive(Debug)]
pub(crate) struct Eventfd(OwnedFd);

impl Eventfd {
    /// Takes what a client sent; files, sockets and pipes are not taken, as writing to them may wait.
    ///
    /// # Errors
    ///
    /// `RF1002` for what is no eventfd; a fault when it cannot be told.
    pub(crate) fn new(descriptor: OwnedFd) -> Result<Self, Failure> {
        let fault = |errno| Fault::new("look at", "an eventfd from a client", errno);
        let system = rustix::fs::fstatfs(&descriptor).map_err(fault)?;
        if u64::try_from(system.f_type) != Ok(ANONYMOUS) {
            return Err(Refusal::new(&WRONG_DESCRIPTORS, "not an eventfd").into());
        }
        let flags = rustix::fs::fcntl_getfl(&descriptor).map_err(fault)?;
        rustix::fs::fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK).map_err(fault)?;
        Ok(Self(descriptor))
    }

    /// Signals. One that is full was signalled already; one that is gone is nobody's.
    pub(crate) fn signal(&self) {
        // The client shares the flags and may have changed them.
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], Some(&now)) == Ok(1) {
            let _signalled = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }
    }
}
