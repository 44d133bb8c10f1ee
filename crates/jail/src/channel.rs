//! How the stages of a box tell the process that asked for it how it went.
//!
//! A pair of connected sockets: one end is the standard input of the stages, which the program
//! itself never has; the other stays with whoever started them. When that end is gone, so is who
//! started them, and the stage that still lives ends the box.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ringfence_refusal::{Failure, Fault, Refusal};
use serde::{Deserialize, Serialize};

use crate::refusals::CATALOGUE;
use crate::report::Report;

/// More than any stage has to say.
const BYTES_MAX: usize = 64 << 10;

/// What a stage says, one JSON object on a line each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Said {
    /// The box is closed, and the program is about to begin.
    Jailed(Report),
    /// Refused, with the number of the code.
    Refused { code: u16, detail: String },
    /// Something failed.
    Failed(String),
    /// How the program ended, as the kernel put it.
    Ended(i32),
}

impl From<&Failure> for Said {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => {
                let (code, detail) = (refusal.code().number, refusal.detail().to_owned());
                Self::Refused { code, detail }
            }
            Failure::Faulted(fault) => Self::Failed(format!("{fault}: {}", fault.io_error())),
        }
    }
}

/// Says it on standard input, which is the stages' end.
pub(crate) fn say(said: &Said) {
    let Ok(mut line) = serde_json::to_vec(said) else { return };
    line.push(b'\n');
    // If nobody listens any more, nobody has to know.
    let _ = rustix::net::send(std::io::stdin(), &line, rustix::net::SendFlags::NOSIGNAL);
}

/// The end that stays with who asked for the box.
#[derive(Debug)]
pub struct Listener {
    stream: UnixStream,
    heard: Vec<u8>,
}

impl Listener {
    /// Both ends; the other is to be standard input of the first stage.
    pub(crate) fn pair() -> std::io::Result<(Self, Stdio)> {
        let (stream, theirs) = UnixStream::pair()?;
        Ok((Self { stream, heard: Vec::new() }, std::os::fd::OwnedFd::from(theirs).into()))
    }

    /// Waits until the box is closed, and says what it holds.
    ///
    /// # Errors
    ///
    /// What refused or failed inside, or a fault when nothing is heard in time.
    pub fn report(&mut self, patience: Duration) -> Result<Report, Failure> {
        let fault = |error| Failure::from(Fault::new("enter", "the jail", error));
        match self.next(Instant::now() + patience).map_err(fault)? {
            Said::Jailed(report) => Ok(report),
            Said::Refused { code, detail } => {
                let code = CATALOGUE.iter().find(|known| known.number == code);
                let code = code.ok_or_else(|| fault(std::io::ErrorKind::InvalidData.into()))?;
                Err(Refusal::new(code, detail).into())
            }
            Said::Failed(reason) => Err(fault(std::io::Error::other(reason))),
            Said::Ended(_) => Err(fault(std::io::ErrorKind::InvalidData.into())),
        }
    }

    /// How the program ended, if its first stage has ended and a stage inside could still tell.
    pub fn ending(&mut self) -> Option<ExitStatus> {
        match self.next(Instant::now()) {
            Ok(Said::Ended(status)) => Some(ExitStatus::from_raw(status)),
            _ => None,
        }
    }

    fn next(&mut self, deadline: Instant) -> std::io::Result<Said> {
        loop {
            if let Some(end) = self.heard.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            if self.heard.len() > BYTES_MAX {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    let reason = "it ended before it said how it went";
                    return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, reason));
                }
                Ok(length) => self.heard.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        return Err(std::io::ErrorKind::TimedOut.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
