//! Making listening Unix sockets in the file system: for this user only, in nobody's place.

use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::fs::Mode;
use rustix::process::umask;

use crate::refusals;
use crate::runtime::check_socket_path;

/// A listening socket of ours in the file system, removed when dropped.
#[derive(Debug)]
pub(crate) struct Socket(PathBuf);

impl Socket {
    /// Listens at `path`, for this user only, replacing a socket nobody listens on.
    pub(crate) fn bind(path: &Path) -> Result<(UnixListener, Self), Failure> {
        // Known by its whole path it can be told from others of its name. In a deep folder only
        // the path as it was given may be short enough.
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let path = if check_socket_path(&whole).is_ok() { whole.as_path() } else { path };
        check_socket_path(path)?;
        make_way(path)?;
        // The socket is made with its mode; changing it afterwards would leave it open meanwhile.
        // No other thread makes files yet.
        let before = umask(Mode::RWXG | Mode::RWXO | Mode::XUSR);
        let outcome = UnixListener::bind(path);
        umask(before);
        match outcome {
            Ok(listener) => Ok((listener, Self(path.to_owned()))),
            Err(error) => Err(Fault::new("listen on", path.display().to_string(), error).into()),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Removes a socket nobody listens on.
fn make_way(path: &Path) -> Result<(), Failure> {
    let refuse = |reason: &str| {
        let detail = format!("{}: {reason}", path.display());
        Failure::from(Refusal::new(&refusals::SOMEBODY_LISTENS, detail))
    };
    let fault = |error| Failure::from(Fault::new("look at", path.display().to_string(), error));
    match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(fault(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(refuse("it is there and no socket"));
        }
        Ok(_) => {}
    }
    // To connect just to see is the last resort: whoever listens would take it for a VMM, and so
    // would the backend behind a fence.
    if is_listened_on(path) {
        return Err(refuse("somebody listens there"));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(fault)
        }
        Err(error) => Err(fault(error)),
        Ok(_) => Err(refuse("somebody listens there")),
    }
}

/// Whether the kernel knows of a listening socket with this very path.
fn is_listened_on(path: &Path) -> bool {
    const ACCEPTS_CONNECTIONS: u32 = 1 << 16;
    let sockets = std::fs::read("/proc/net/unix").unwrap_or_default();
    String::from_utf8_lossy(&sockets).lines().any(|line| {
        // Num: RefCount Protocol Flags Type St Inode Path
        let mut fields = line.split_ascii_whitespace().skip(3);
        let flags = fields.next().and_then(|flags| u32::from_str_radix(flags, 16).ok());
        flags.is_some_and(|flags| flags & ACCEPTS_CONNECTIONS != 0)
            && line.split_once(" /").is_some_and(|(_, rest)| Path::new("/").join(rest) == path)
    })
}
