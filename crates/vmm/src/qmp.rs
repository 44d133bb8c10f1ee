//! A client for QMP, QEMU's control protocol: one JSON object per line over a Unix socket.
//!
//! **Invariant:** every call ends by its deadline, and what the peer sends is bounded: a line by
//! [`LINE_BYTES_MAX`], events kept by [`EVENTS_MAX`] (the oldest go first).

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringfence_refusal::{Failure, Fault, Refusal};
use serde_json::{Map, Value, json};

use crate::refusals;

/// The longest line taken from the peer.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// How many events are kept until somebody asks for them.
pub const EVENTS_MAX: usize = 256;

/// How often a socket that is not there yet is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Something that happened to the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// "SHUTDOWN", "GUEST_PANICKED", ...
    pub name: String,
    /// What QEMU says about it.
    pub data: Value,
}

/// A connection to a VMM that is ready for commands.
#[derive(Debug)]
pub struct Qmp {
    path: PathBuf,
    stream: UnixStream,
    unread: Vec<u8>,
    events: VecDeque<Event>,
}

impl Qmp {
    /// Connects to the socket at `path`, waiting for it to be there, and negotiates.
    pub fn connect(path: &Path, deadline: Instant) -> Result<Self, Failure> {
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) => {
                    let soon = [ErrorKind::NotFound, ErrorKind::ConnectionRefused];
                    if !soon.contains(&error.kind()) || Instant::now() >= deadline {
                        let fault = Fault::new("connect to", path.display().to_string(), error);
                        return Err(fault.into());
                    }
                    std::thread::sleep(RETRY);
                }
            }
        };
        let mut qmp =
            Self { path: path.to_owned(), stream, unread: Vec::new(), events: VecDeque::new() };
        let greeting = qmp.receive(deadline)?;
        if !greeting.contains_key("QMP") {
            return Err(qmp.not_understood("the first line is no greeting").into());
        }
        qmp.execute("qmp_capabilities", None, deadline)?;
        Ok(qmp)
    }

    /// Carries out a command and returns its answer. Events that come before it are kept.
    pub fn execute(
        &mut self,
        command: &str,
        arguments: Option<Value>,
        deadline: Instant,
    ) -> Result<Value, Failure> {
        let mut request = json!({ "execute": command });
        if let Some(arguments) = arguments {
            request["arguments"] = arguments;
        }
        let mut line = request.to_string();
        line.push('\n');
        let left = self.time_left(deadline)?;
        self.stream
            .set_write_timeout(Some(left))
            .and_then(|()| self.stream.write_all(line.as_bytes()))
            .map_err(|error| self.fault("send a command over", error))?;
        loop {
            let mut answer = self.receive(deadline)?;
            if let Some(result) = answer.remove("return") {
                return Ok(result);
            }
            if let Some(error) = answer.get("error") {
                let words = error["desc"].as_str().unwrap_or("no reason given");
                let detail = format!("{command}: {words}");
                return Err(Refusal::new(&refusals::QMP_COMMAND_REFUSED, detail).into());
            }
            self.keep_event(answer)?;
        }
    }

    /// Whether the machine runs, is paused, or is about to end ("running", "paused", "shutdown").
    pub fn query_status(&mut self, deadline: Instant) -> Result<String, Failure> {
        let answer = self.execute("query-status", None, deadline)?;
        match answer["status"].as_str() {
            Some(status) => Ok(status.to_owned()),
            None => Err(self.not_understood("query-status without a status").into()),
        }
    }

    /// Presses the machine's power button; the guest decides what to do about it.
    pub fn power_down(&mut self, deadline: Instant) -> Result<(), Failure> {
        self.execute("system_powerdown", None, deadline).map(drop)
    }

    /// Ends the VMM now, as pulling the plug would. It may be gone before it answers: that is what
    /// was asked for.
    pub fn quit(&mut self, deadline: Instant) -> Result<(), Failure> {
        match self.execute("quit", None, deadline) {
            Err(Failure::Faulted(fault))
                if [
                    ErrorKind::UnexpectedEof,
                    ErrorKind::ConnectionReset,
                    ErrorKind::BrokenPipe,
                ]
                .contains(&fault.io_error().kind()) =>
            {
                Ok(())
            }
            outcome => outcome.map(drop),
        }
    }

    /// The events that have come so far, oldest first.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.drain(..).collect()
    }

    /// The next event, waiting for it.
    pub fn next_event(&mut self, deadline: Instant) -> Result<Event, Failure> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let message = self.receive(deadline)?;
            self.keep_event(message)?;
        }
    }

    fn keep_event(&mut self, mut message: Map<String, Value>) -> Result<(), Failure> {
        let Some(Value::String(name)) = message.remove("event") else {
            return Err(self.not_understood("neither an answer nor an event").into());
        };
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        let data = message.remove("data").unwrap_or(Value::Null);
        self.events.push_back(Event { name, data });
        Ok(())
    }

    fn receive(&mut self, deadline: Instant) -> Result<Map<String, Value>, Failure> {
        let line = self.receive_line(deadline)?;
        serde_json::from_slice(&line)
            .map_err(|error| self.not_understood(&format!("not a JSON object: {error}")).into())
    }

    fn receive_line(&mut self, deadline: Instant) -> Result<Vec<u8>, Failure> {
        let mut searched = 0;
        let mut piece = [0; 4096];
        loop {
            if let Some(end) = self.unread[searched..].iter().position(|&byte| byte == b'\n') {
                let rest = self.unread.split_off(searched + end + 1);
                return Ok(std::mem::replace(&mut self.unread, rest));
            }
            searched = self.unread.len();
            if searched > LINE_BYTES_MAX {
                return Err(self.not_understood("a line of more than 1 MiB").into());
            }
            let left = self.time_left(deadline)?;
            let outcome = self
                .stream
                .set_read_timeout(Some(left))
                .and_then(|()| self.stream.read(&mut piece));
            match outcome {
                Ok(0) => {
                    return Err(self.fault("read from", ErrorKind::UnexpectedEof.into()).into());
                }
                Ok(length) => self.unread.extend_from_slice(&piece[..length]),
                // The clock says whether the deadline has passed; a signal may also wake us early.
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted]
                        .contains(&error.kind()) => {}
                Err(error) => return Err(self.fault("read from", error).into()),
            }
        }
    }

    fn time_left(&self, deadline: Instant) -> Result<Duration, Fault> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(self.fault("get an answer from", ErrorKind::TimedOut.into()));
        }
        Ok(left)
    }

    fn fault(&self, operation: &'static str, error: std::io::Error) -> Fault {
        Fault::new(operation, format!("the VMM at {}", self.path.display()), error)
    }

    fn not_understood(&self, what: &str) -> Refusal {
        let detail = format!("{}: {what}", self.path.display());
        Refusal::new(&refusals::QMP_NOT_UNDERSTOOD, detail)
    }
}
