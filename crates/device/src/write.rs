//! The one door through which the host is changed.
//!
//! A driver asked to let go of a function can take for ever: a sound card with an open stream, a
//! VM that keeps its function. So each write has a deadline. It is made by a process of its own,
//! which can be left behind where a thread could not: a process does not end before its threads do.
//! The one left behind keeps the claim's lock, so nobody works on the claim before the kernel is
//! through with it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a driver has to let go, or another to come in. Firmware that a driver loads while it
/// comes in is waited for by the kernel for up to a minute, but VFIO's drivers load none.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How often the writing process is looked at, at first and at most.
const LOOK_FIRST: Duration = Duration::from_micros(500);
const LOOK_MAX: Duration = Duration::from_millis(50);

/// What the writing process is called, by which it knows what it is.
const NAME: &str = "ringfence-host-writer";

/// Changes the host by writing to a file of the kernel's.
pub trait Writer {
    /// Writes `text` to `path` in one write. `lock` is held for as long as the kernel works on it.
    fn write(&self, path: &Path, text: &str, lock: &File) -> Result<(), WriteError>;
}

/// Why a write came to nothing.
#[derive(Debug)]
pub enum WriteError {
    /// The kernel said no.
    Failed(io::Error),
    /// The kernel has not answered within this time, and may do what was asked yet.
    Blocked(Duration),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// Writes to this host.
#[derive(Clone, Copy, Debug)]
pub struct HostWriter {
    patience: Duration,
}

impl HostWriter {
    /// Gives drivers another time than [`PATIENCE`] to answer.
    pub fn with_patience(patience: Duration) -> Self {
        Self { patience }
    }
}

impl Default for HostWriter {
    fn default() -> Self {
        Self { patience: PATIENCE }
    }
}

static MAY_BECOME: AtomicBool = AtomicBool::new(false);

/// Call this first in `main`: a process started to write does so here and ends.
pub fn become_writer_if_asked() {
    let mut arguments = std::env::args_os();
    if arguments.next().is_some_and(|name| name == NAME) {
        let (path, text) = (arguments.next(), arguments.next());
        let code = match (path, text) {
            (Some(path), Some(text)) => match write_at_once(Path::new(&path), text.as_bytes()) {
                Ok(()) => 0,
                Err(error) => error.raw_os_error().unwrap_or(io_error_number()),
            },
            _ => io_error_number(),
        };
        std::process::exit(code);
    }
    MAY_BECOME.store(true, Ordering::Relaxed);
}

fn io_error_number() -> i32 {
    rustix::io::Errno::IO.raw_os_error()
}

fn write_at_once(path: &Path, text: &[u8]) -> io::Result<()> {
    // Neither made nor cut short: the file is the kernel's.
    let mut file = File::options().write(true).open(path)?;
    // One write: the kernel takes each as a request of its own.
    if file.write(text)? == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

impl Writer for HostWriter {
    /// # Panics
    ///
    /// When `main` did not begin with [`become_writer_if_asked`].
    fn write(&self, path: &Path, text: &str, lock: &File) -> Result<(), WriteError> {
        assert!(
            MAY_BECOME.load(Ordering::Relaxed),
            "main begins with become_writer_if_asked wherever the host is written to"
        );
        let mut child = Command::new("/proc/self/exe")
            .arg0(NAME)
            .arg(path)
            .arg(text)
            .stdin(Stdio::from(lock.try_clone()?))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C at the terminal is for us, who undo what was begun.
            .process_group(0)
            .spawn()?;
        let deadline = Instant::now() + self.patience;
        let mut look = LOOK_FIRST;
        loop {
            if let Some(status) = child.try_wait()? {
                return match status.code() {
                    Some(0) => Ok(()),
                    Some(code) => Err(io::Error::from_raw_os_error(code).into()),
                    None => Err(io::Error::other("the process that wrote was killed").into()),
                };
            }
            if Instant::now() >= deadline {
                return Err(WriteError::Blocked(self.patience));
            }
            std::thread::sleep(look);
            look = (look * 2).min(LOOK_MAX);
        }
    }
}
