//! Passing on what the processes of a run print, line by line, and remembering the last of it.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringfence_refusal::Fault;
use rustix::pipe::{PipeFlags, pipe_with};

use super::screen::Screen;
use crate::talk::printable;

/// How many lines are remembered.
const LINES_KEPT: usize = 12;

/// Where a line that does not end is cut.
const LINE_BYTES_MAX: usize = 4096;

/// How long the rest of what a dead process printed is waited for. Only a child of its own that
/// outlives it can keep the pipe open longer.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// What a process prints, passed on by a thread.
pub(super) struct Relay(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    last: VecDeque<String>,
    ended: bool,
}

impl Relay {
    /// For a process's complaints: each line is said with the name of who said it.
    pub(super) fn words(name: &str, screen: &Arc<Screen>) -> Result<(Self, OwnedFd), Fault> {
        let screen = Arc::clone(screen);
        let name = name.strip_prefix("the ").unwrap_or(name).to_owned();
        Self::start(move |line| {
            let line = String::from_utf8_lossy(line);
            screen.say(&format!("{name}: {}", printable(&line)));
        })
    }

    /// For the guest's console: each line goes where data goes.
    pub(super) fn guest_console(screen: &Arc<Screen>) -> Result<(Self, OwnedFd), Fault> {
        let screen = Arc::clone(screen);
        Self::start(move |line| screen.guest_line(line))
    }

    fn start(sink: impl Fn(&[u8]) + Send + 'static) -> Result<(Self, OwnedFd), Fault> {
        let (reader, writer) =
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| Fault::new("make", "a pipe", error))?;
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("relay".to_owned())
            .spawn(move || {
                pass_on(File::from(reader), &theirs, &sink);
                theirs.lock().ended = true;
                theirs.ended.notify_all();
            })
            .map_err(|error| Fault::new("start", "a thread", error))?;
        Ok((Self(shared), writer))
    }

    /// One more end of the same pipe, for a process that prints in two ways.
    pub(super) fn another_end(&self, end: &OwnedFd) -> Result<Stdio, Fault> {
        let copy = end.try_clone().map_err(|error| Fault::new("copy", "a pipe", error))?;
        Ok(copy.into())
    }

    /// Waits until everything has been passed on.
    pub(super) fn wait_for_end(&self) {
        let deadline = Instant::now() + END_PATIENCE;
        let mut state = self.0.lock();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.0.ended.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The last lines, oldest first.
    pub(super) fn last_lines(&self) -> Vec<String> {
        self.0.lock().last.iter().cloned().collect()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, line: &[u8]) {
        let line = printable(&String::from_utf8_lossy(line));
        let mut state = self.lock();
        if state.last.len() == LINES_KEPT {
            state.last.pop_front();
        }
        state.last.push_back(line);
    }
}

fn pass_on(mut source: impl Read, shared: &Shared, sink: &impl Fn(&[u8])) {
    let mut line = Vec::new();
    let mut piece = [0; 4096];
    let end_line = |line: &mut Vec<u8>| {
        while line.last() == Some(&b'\r') {
            line.pop();
        }
        shared.remember(line);
        sink(line);
        line.clear();
    };
    loop {
        let length = match source.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for &byte in &piece[..length] {
            if byte == b'\n' {
                end_line(&mut line);
            } else {
                line.push(byte);
                if line.len() == LINE_BYTES_MAX {
                    end_line(&mut line);
                }
            }
        }
    }
    if !line.is_empty() {
        end_line(&mut line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relayed(bytes: &[u8]) -> (Vec<String>, Vec<String>) {
        let shared = Shared::default();
        let lines = Mutex::new(Vec::new());
        pass_on(bytes, &shared, &|line: &[u8]| {
            lines.lock().expect("not poisoned").push(String::from_utf8_lossy(line).into_owned());
        });
        let last = shared.lock().last.iter().cloned().collect();
        (lines.into_inner().expect("not poisoned"), last)
    }

    #[test]
    fn lines_are_passed_on_whole_and_remembered_clean() {
        let (lines, last) = relayed(b"one\r\n\x1b[31mtwo\n\nlast");
        assert_eq!(lines, ["one", "\u{1b}[31mtwo", "", "last"]);
        assert_eq!(last, ["one", "two", "", "last"]);
    }

    #[test]
    fn neither_long_lines_nor_many_are_kept() {
        let (lines, _) = relayed(&vec![b'x'; LINE_BYTES_MAX * 2 + 1]);
        let lengths: Vec<_> = lines.iter().map(String::len).collect();
        assert_eq!(lengths, [LINE_BYTES_MAX, LINE_BYTES_MAX, 1]);
        let (lines, last) = relayed("x\n".repeat(100).as_bytes());
        assert_eq!((lines.len(), last.len()), (100, LINES_KEPT));
    }
}
