//! A fence: a socket a VMM connects to as if it were the backend's.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::event::{EventfdFlags, PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::counters::{Counters, State, add, set};
use crate::guards::Guard;
use crate::offences::Peer;
use crate::options::FenceOptions;
use crate::queue::notify;
use crate::refusals::BACKEND_GONE;
use crate::session::{Ended, Session};
use crate::window::check_size;

/// Stands between a VMM and one untrusted vhost-user backend.
#[derive(Debug)]
pub struct Fence {
    listener: UnixListener,
    backend: PathBuf,
    options: FenceOptions,
    counters: Arc<Counters>,
    stop: Arc<OwnedFd>,
}

/// Makes [`Fence::run`] return.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<OwnedFd>);

impl Stopper {
    /// Asks the fence to end: the VMM's connection is closed and `run` returns.
    pub fn stop(&self) {
        notify(self.0.as_ref());
    }
}

impl Fence {
    /// A fence that takes VMMs on `listener` and connects to the socket `backend` for each, one
    /// after the other.
    ///
    /// # Errors
    ///
    /// `RF0218` for a window that makes no sense.
    pub fn new(
        listener: UnixListener,
        backend: PathBuf,
        mut options: FenceOptions,
    ) -> Result<Self, Failure> {
        check_size(options.window_bytes)?;
        if !options.guards.stands(Guard::Deadlines) {
            options.message_deadline = Duration::from_secs(3600);
        }
        let stop = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Fault::new("make", "an eventfd", errno))?;
        let counters = Arc::new(Counters::default());
        set(&counters.window_bytes, options.window_bytes);
        Ok(Self { listener, backend, options, counters, stop: Arc::new(stop) })
    }

    /// Counters that can be read while the fence runs.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// A handle to end the fence with, from another thread.
    pub fn stopper(&self) -> Stopper {
        Stopper(Arc::clone(&self.stop))
    }

    /// Serves one VMM after the other until stopped. What a VMM or the backend does wrong ends, at
    /// worst, that VMM's connection; it is counted and the next is served.
    ///
    /// # Errors
    ///
    /// A fault when the listening socket fails.
    pub fn run(self) -> Result<(), Failure> {
        while self.wait_for_frontend()? {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                // It has gone away again.
                Err(_) => continue,
            };
            add(&self.counters.sessions, 1);
            let session = Session::new(
                stream,
                &self.backend,
                self.options.clone(),
                self.counters(),
                &self.stop,
            );
            match session.map(|mut session| session.run()) {
                Ok(Ok(Ended::FrontendClosed)) => {}
                Ok(Ok(Ended::Stopped)) => break,
                Ok(Err(failure)) => self.count(Peer::Vmm, failure),
                Err(failure) => self.count(Peer::Backend, failure),
            }
            self.counters.set_state(State::Waiting);
            set(&self.counters.queues, 0);
            set(&self.counters.in_flight, 0);
            set(&self.counters.queues_throttled, 0);
            set(&self.counters.window_used_bytes, 0);
        }
        Ok(())
    }

    /// False when stopped.
    fn wait_for_frontend(&self) -> Result<bool, Fault> {
        loop {
            let mut set = [
                PollFd::new(self.stop.as_ref(), PollFlags::IN),
                PollFd::new(&self.listener, PollFlags::IN),
            ];
            match poll(&mut set, None) {
                Ok(_) if !set[0].revents().is_empty() => return Ok(false),
                Ok(_) => return Ok(true),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Fault::new("wait on", "the listening socket", errno)),
            }
        }
    }

    fn count(&self, peer: Peer, failure: Failure) {
        let refusal = match failure {
            Failure::Refused(refusal) => refusal,
            Failure::Faulted(fault) => {
                Refusal::new(&BACKEND_GONE, format!("{fault}: {}", fault.io_error()))
            }
        };
        self.counters.refuse(peer, refusal);
    }
}
