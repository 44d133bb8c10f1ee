//! What it takes to repeat a failed machine by hand: commands, and the files they name.
//!
//! A machine's command names sockets, whose backends were started by commands that name more
//! sockets and files, all in scratch folders about to go. Every live scratch folder and backend is
//! known here; when a machine fails, the folders its commands reach are copied and the commands
//! rewritten to name the copies.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Scratch folders and backends of this process.
#[derive(Debug, Default)]
struct Live {
    scratches: Vec<PathBuf>,
    /// Socket and command.
    backends: BTreeMap<PathBuf, String>,
}

static LIVE: Mutex<Live> = Mutex::new(Live { scratches: Vec::new(), backends: BTreeMap::new() });

fn live() -> MutexGuard<'static, Live> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn scratch_made(path: &Path) {
    live().scratches.push(path.to_owned());
}

pub(crate) fn scratch_gone(path: &Path) {
    live().scratches.retain(|known| known != path);
}

pub(crate) fn backend_started(socket: &Path, command: String) {
    live().backends.insert(socket.to_owned(), command);
}

pub(crate) fn backend_gone(socket: &Path) {
    live().backends.remove(socket);
}

/// How to do it again.
#[derive(Debug)]
pub(crate) struct Steps {
    /// Commands to have running first, in this order.
    pub(crate) backends: Vec<String>,
    /// The machine's own.
    pub(crate) machine: String,
}

/// The commands behind `machine`; the files they need are copied into `kept`.
pub(crate) fn keep(machine: &str, kept: &Path) -> io::Result<Steps> {
    let (mut backends, scratches) = {
        let live = live();
        let mut backends = Vec::new();
        collect(&live.backends, machine, &mut backends);
        (backends, live.scratches.clone())
    };
    let mut machine = machine.to_owned();
    if kept.exists() {
        fs::remove_dir_all(kept)?;
    }
    fs::create_dir_all(kept)?;
    // Sockets come to live there too, so the names are short.
    let mut number = 0;
    for scratch in scratches {
        let before = format!("{}/", scratch.display());
        if !backends.iter().chain([&machine]).any(|command| command.contains(&before)) {
            continue;
        }
        let folder = kept.join(number.to_string());
        number += 1;
        copy_files(&scratch, &folder)?;
        let after = format!("{}/", folder.display());
        for command in backends.iter_mut().chain([&mut machine]) {
            *command = command.replace(&before, &after);
        }
    }
    Ok(Steps { backends, machine })
}

/// The backends whose sockets `command` names, after those that they name in turn.
fn collect(backends: &BTreeMap<PathBuf, String>, command: &str, found: &mut Vec<String>) {
    for (socket, behind) in backends {
        let is_named = command.contains(&*socket.to_string_lossy());
        // A backend's own command names its own socket.
        if is_named && behind != command && !found.contains(behind) {
            // The front is held while what is behind it is looked for, so that a circle ends.
            found.push(behind.clone());
            let place = found.len() - 1;
            collect(backends, behind, found);
            let front = found.remove(place);
            found.push(front);
        }
    }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_come_before_what_connects_to_them() {
        let backends = BTreeMap::from([
            ("/s/fence".into(), "fence --listen /s/fence --backend /s/disk".to_owned()),
            ("/s/disk".into(), "daemon /s/disk".to_owned()),
            ("/s/other".into(), "daemon /s/other".to_owned()),
        ]);
        let mut found = Vec::new();
        collect(&backends, "qemu path=/s/fence", &mut found);
        assert_eq!(found, ["daemon /s/disk", "fence --listen /s/fence --backend /s/disk"]);
    }
}
