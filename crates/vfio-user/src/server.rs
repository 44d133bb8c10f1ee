//! Where clients connect, one after another, until somebody says stop.

use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringfence_refusal::{Failure, Fault};
use rustix::event::{EventfdFlags, PollFlags, eventfd};

use crate::device::Device;
use crate::session;

/// Ends a server from another thread; clones end the same one. Stopping is for good.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<OwnedFd>);

impl Stopper {
    /// Nothing is to stop yet.
    ///
    /// # Errors
    ///
    /// The system has no more descriptors.
    pub fn new() -> Result<Self, Fault> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Fault::new("make", "an eventfd", errno))?;
        Ok(Self(Arc::new(eventfd)))
    }

    /// Ends the server, whatever its client is at, between two calls of the device's.
    pub fn stop(&self) {
        // Nobody reads it, so it can be full at most, and then it says stop.
        let _said = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    pub(crate) fn eventfd(&self) -> &OwnedFd {
        &self.0
    }
}

/// A socket at which a device is served, to one client at a time.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    stop: Stopper,
    /// What we made and remove.
    path: Option<PathBuf>,
}

impl Server {
    /// Makes a socket and listens. It goes away with the server.
    ///
    /// # Errors
    ///
    /// Something is there already, or the system says no.
    pub fn bind(path: &Path) -> Result<Self, Fault> {
        let listener = UnixListener::bind(path)
            .map_err(|error| Fault::new("listen at", path.display().to_string(), error))?;
        let mut server = Self::new(listener)?;
        server.path = Some(path.to_owned());
        Ok(server)
    }

    /// Takes a socket that listens already; whoever made it removes it.
    ///
    /// # Errors
    ///
    /// The system has no more descriptors.
    pub fn new(listener: UnixListener) -> Result<Self, Fault> {
        listener
            .set_nonblocking(true)
            .map_err(|error| Fault::new("not wait for", "clients", error))?;
        Ok(Self { listener, stop: Stopper::new()?, path: None })
    }

    /// What ends [`Server::serve`].
    pub fn stopper(&self) -> Stopper {
        self.stop.clone()
    }

    /// Serves clients, one after another, until stopped. What is wrong with one of them is told to
    /// [`Device::refused`], and ends that one at most.
    ///
    /// # Errors
    ///
    /// The socket fails.
    pub fn serve(&self, device: &mut dyn Device) -> Result<(), Fault> {
        while self.stop.wait_for(&self.listener, PollFlags::IN)? {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Err(failure) = session::serve(stream, device, &self.stop) {
                        device.refused(&failure);
                    }
                }
                // It was there and is gone already.
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(Fault::new("accept", "a client", error)),
            }
        }
        Ok(())
    }

    /// Serves the one client at the other end of a socket until it goes or `stop` says so.
    ///
    /// # Errors
    ///
    /// The client was refused so that the connection ended, or the socket failed.
    pub fn serve_stream(
        stream: UnixStream,
        device: &mut dyn Device,
        stop: &Stopper,
    ) -> Result<(), Failure> {
        session::serve(stream, device, stop)
    }
}

fn is_passing(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), ConnectionAborted | Interrupted | WouldBlock)
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _gone = std::fs::remove_file(path);
        }
    }
}
