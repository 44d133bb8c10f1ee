//! Which host a verb is about: the one at hand, or one that was written down.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use ringfence_device::Root;
use ringfence_host::Host;
use ringfence_host::read::{self, Options, Snapshot};
use ringfence_refusal::{Failure, Fault};

use crate::talk;

/// The host at `from`, or the one at hand.
pub(crate) fn host(from: Option<&Path>, wake: bool) -> Result<Host, Failure> {
    match from {
        Some(path) => read::from_path(path),
        None => Ok(read::live(Options { wake, ..Options::default() })?),
    }
}

/// The host at `from`, or the one at hand, for questions about memory: its tables suffice.
pub(crate) fn host_memory(from: Option<&Path>) -> Result<Host, Failure> {
    let options = Options { tables_suffice: true, ..Options::default() };
    match from {
        Some(path) => read::from_path_with(path, options),
        None => Ok(read::live(options)?),
    }
}

/// The host whose `/` is at `root`.
pub(crate) fn host_at(root: &Root) -> Result<Host, Failure> {
    if *root == Root::default() { host(None, false) } else { host(Some(&root.join("")), false) }
}

/// Writes a snapshot of the host whose `/` is `root` to a new file, or to standard output if that
/// is `-`; returns the host as it was read meanwhile.
pub(crate) fn snapshot(root: &Path, file: &Path, wake: bool) -> anyhow::Result<Host> {
    let (snapshot, host) = Snapshot::take(root, Options { wake, tables_suffice: true })?;
    if file.as_os_str() == "-" {
        talk::data(snapshot.as_text())?;
        return Ok(host);
    }
    let place = || file.display().to_string();
    let mut made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .map_err(|error| Fault::new("make", place(), error))?;
    made.write_all(snapshot.as_text().as_bytes())
        .and_then(|()| made.sync_all())
        .map_err(|error| Fault::new("write", place(), error))?;
    Ok(host)
}
