//! Being asked to stop, as a descriptor that can be polled together with others.

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use ringfence_refusal::Fault;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Becomes readable, and stays so, once somebody asked us to stop.
#[derive(Debug)]
pub(crate) struct StopRequests {
    reader: UnixStream,
    writer: UnixStream,
}

impl StopRequests {
    /// From now on Ctrl-C, SIGTERM and the end of the terminal are requests instead of the end.
    pub(crate) fn listen() -> Result<Self, Fault> {
        let fault = |error| Fault::new("listen for", "signals", error);
        let (reader, writer) = UnixStream::pair().map_err(fault)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let writer = writer.try_clone().map_err(fault)?;
            signal_hook::low_level::pipe::register(signal, writer).map_err(fault)?;
        }
        Ok(Self { reader, writer })
    }

    /// A handle by which another thread can ask us to stop.
    pub(crate) fn handle(&self) -> Result<StopHandle, Fault> {
        self.writer
            .try_clone()
            .map(StopHandle)
            .map_err(|error| Fault::new("copy", "a socket", error))
    }

    /// Waits until somebody asks.
    pub(crate) fn wait(&self) -> Result<(), Fault> {
        use rustix::event::{PollFd, PollFlags, poll};
        loop {
            match poll(&mut [PollFd::new(&self.reader, PollFlags::IN)], None) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Fault::new("wait for", "signals", error)),
            }
        }
    }
}

impl AsFd for StopRequests {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// Asks the main thread to stop.
#[derive(Debug)]
pub(crate) struct StopHandle(UnixStream);

impl StopHandle {
    pub(crate) fn ask(&self) {
        // If the socket is full, it has been asked for often enough.
        let _ = (&self.0).write(b"x");
    }
}
