//! A helper that takes away what a jailed fence leaves in the file system.
//!
//! A fence in its jail has no file system and cannot remove its own sockets. So before it enters, it
//! starts this same program once more, to wait until the fence is gone, whatever ended it, and then
//! to remove what the fence made.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio, exit};

use ringfence_refusal::Fault;

/// The first argument that says the rest is to be removed.
const MARKER: &str = "--ringfence-sweep";

/// The helper, waiting. Dropping this makes it begin, and waits until it is done.
#[derive(Debug)]
pub(crate) struct Sweeper(Child);

impl Sweeper {
    /// Starts it; it will remove the sockets `sockets`, if they are still the ones that are there
    /// now, and then the folder, if there is one.
    pub(crate) fn start(sockets: &[&Path], folder: Option<&Path>) -> Result<Self, Fault> {
        let fault = |error| Fault::new("start", "the sweeper", error);
        let mut command = Command::new("/proc/self/exe");
        command.arg(MARKER).arg(folder.unwrap_or(Path::new("")));
        for socket in sockets {
            let inode = socket.symlink_metadata().map_err(fault)?.ino();
            command.arg(inode.to_string()).arg(socket);
        }
        // What ends the fence is sent to its group, and must not end the sweeper before it sweeps.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        command.spawn().map(Self).map_err(fault)
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// Is the sweeper, if this process was started for that.
pub(crate) fn become_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(MARKER)) {
        return;
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    let folder = arguments.next();
    while let (Some(inode), Some(path)) = (arguments.next(), arguments.next()) {
        let is_same = Path::new(&path)
            .symlink_metadata()
            .is_ok_and(|now| inode.to_str() == Some(now.ino().to_string().as_str()));
        // Another may have been made in its place meanwhile.
        if is_same {
            let _ = std::fs::remove_file(path);
        }
    }
    if let Some(folder) = folder.filter(|folder| !folder.is_empty()) {
        let _ = std::fs::remove_dir_all(folder);
    }
    exit(0)
}
