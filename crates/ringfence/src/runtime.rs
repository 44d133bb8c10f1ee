//! The folder where sockets of running fences are: private, one subfolder per VM, gone afterwards.
//!
//! **Invariant:** a live run holds a lock on its subfolder. The lock goes with the process, so what
//! a killed run leaves behind is recognised as left behind, and cleared by the next run.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::fs::{FlockOperation, OFlags, flock};

use crate::refusals;

/// What Linux takes as the path of a Unix socket, without the zero at its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// How often a folder is tried that another process removes, or looks at, at the same moment.
const ATTEMPTS: usize = 10;

/// How long the other process is given between two tries: `status` holds a lock for a moment.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(10);

/// Where all runs of this user have their folders. It may not exist yet.
pub(crate) fn root() -> PathBuf {
    let session = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    if let Some(session) = session.filter(|path| path.is_absolute() && path.is_dir()) {
        return session.join("ringfence");
    }
    let user = rustix::process::geteuid();
    if user.is_root() && Path::new("/run").is_dir() {
        return "/run/ringfence".into();
    }
    format!("/tmp/ringfence-{}", user.as_raw()).into()
}

/// The folder of one run, ours until dropped.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes and locks the folder for `name`, clearing what a dead run left in it.
    pub(crate) fn claim(name: &str) -> anyhow::Result<Self> {
        Self::claim_in(&root(), name)
    }

    /// As [`RunFolder::claim`], in another place than the user's.
    pub(crate) fn claim_in(root: &Path, name: &str) -> anyhow::Result<Self> {
        make_private(root).with_context(|| format!("cannot use {}", root.display()))?;
        let path = root.join(name);
        for attempt in 1..=ATTEMPTS {
            make_private(&path).with_context(|| format!("cannot use {}", path.display()))?;
            let fault = |error: rustix::io::Errno| {
                Failure::from(Fault::new("lock", path.display().to_string(), error))
            };
            let Some(lock) = open_folder(&path)? else { continue };
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) if attempt < ATTEMPTS => {
                    std::thread::sleep(BETWEEN_ATTEMPTS);
                    continue;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let detail = format!("`{name}`, in {}", path.display());
                    return Err(Refusal::new(&refusals::ALREADY_RUNS, detail).into());
                }
                Err(error) => return Err(fault(error).into()),
            }
            // The run that had it may have removed it after we opened it.
            if !same_folder(&lock, &path) {
                continue;
            }
            clear(&path).with_context(|| format!("cannot clear {}", path.display()))?;
            return Ok(Self { path, _lock: lock });
        }
        anyhow::bail!("{} is made and removed by somebody else all the time", path.display())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder in it, private like itself.
    pub(crate) fn make_folder(&self, name: &str) -> Result<PathBuf, Failure> {
        let path = self.path.join(name);
        make_private(&path)?;
        Ok(path)
    }

    /// The path of a socket in it.
    pub(crate) fn socket(&self, file_name: &str) -> Result<PathBuf, Refusal> {
        let path = self.path.join(file_name);
        check_socket_path(&path)?;
        Ok(path)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // What cannot be removed is stale, and the next run clears it.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Whether a run holds the lock of its folder.
pub(crate) fn is_live(folder: &Path) -> bool {
    let Ok(Some(handle)) = open_folder(folder) else { return false };
    flock(&handle, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

/// Refuses a path that no socket can have.
pub(crate) fn check_socket_path(path: &Path) -> Result<(), Refusal> {
    let bytes = path.as_os_str().len();
    if bytes <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    let detail =
        format!("{}: {bytes} bytes, at most {SOCKET_PATH_BYTES_MAX} are possible", path.display());
    Err(Refusal::new(&refusals::PATH_TOO_LONG, detail))
}

/// Makes a folder for us alone, or checks that the one there is.
fn make_private(path: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(Fault::new("make", path.display().to_string(), error).into());
        }
        _ => {}
    }
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        // Removed by a run that ends; whoever called tries again.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Fault::new("look at", path.display().to_string(), error).into()),
    };
    let user = rustix::process::geteuid().as_raw();
    let reason = if !metadata.is_dir() {
        "it is not a folder".to_owned()
    } else if metadata.uid() != user {
        format!("it belongs to user {}, we are user {user}", metadata.uid())
    } else if metadata.mode() & 0o077 != 0 {
        format!("its mode is {:o}, others may enter", metadata.mode() & 0o777)
    } else {
        return Ok(());
    };
    let detail = format!("{}: {reason}", path.display());
    Err(Refusal::new(&refusals::FOLDER_NOT_OURS, detail).into())
}

/// Opens a folder to lock it; `None` if it has just been removed.
fn open_folder(path: &Path) -> Result<Option<File>, Failure> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(folder) => Ok(Some(folder)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Fault::new("open", path.display().to_string(), error).into()),
    }
}

fn same_folder(handle: &File, path: &Path) -> bool {
    let identity = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    match (handle.metadata(), path.symlink_metadata()) {
        (Ok(held), Ok(there)) => identity(held) == identity(there),
        _ => false,
    }
}

fn clear(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
