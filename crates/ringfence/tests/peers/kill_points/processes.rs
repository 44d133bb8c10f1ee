//! Who belongs to a run, and what is left of it: processes, memory, sockets, files.
//!
//! Everything a run starts has the run's folder in its arguments, and descends from it as long as it
//! lives; either is enough to belong. Memory that processes share here is memfds, which are told
//! apart by their inodes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A process, told from a later one with the same number by when it was started.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: i32,
    started: u64,
    /// Its arguments, a space between them.
    pub(super) words: String,
}

impl Process {
    /// Whether it is there and not just waiting to be asked how it ended.
    fn lives(&self) -> bool {
        stat(self.pid).is_some_and(|now| now.started == self.started && !now.is_dead)
    }
}

struct Stat {
    parent: i32,
    started: u64,
    is_dead: bool,
}

fn stat(pid: i32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in brackets, may have anything in it.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
        is_dead: matches!(*fields.first()?, "Z" | "X"),
    })
}

fn pids() -> Result<Vec<i32>> {
    let entries = fs::read_dir("/proc").context("cannot read the list of processes")?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}

/// Processes that mention `folder`, or descend from `root` if there is one.
pub(super) fn of_run(folder: &Path, root: Option<i32>) -> Result<Vec<Process>> {
    let folder = folder.to_string_lossy();
    let own = i32::try_from(std::process::id()).ok();
    let mut parents = BTreeMap::new();
    let mut all = Vec::new();
    for pid in pids()? {
        let Some(Stat { parent, started, is_dead: false }) = stat(pid) else { continue };
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&arguments).replace('\0', " ");
        parents.insert(pid, parent);
        all.push(Process { pid, started, words });
    }
    let descends = |mut pid: i32| {
        // A process may pass its number on while this looks, so the way up is counted.
        for _ in 0..64 {
            match parents.get(&pid) {
                _ if Some(pid) == root => return true,
                Some(parent) => pid = *parent,
                None => return false,
            }
        }
        false
    };
    all.retain(|process| {
        Some(process.pid) != own && (process.words.contains(&*folder) || descends(process.pid))
    });
    Ok(all)
}

/// The memory that these processes hold descriptors of.
pub(super) fn memory_of(processes: &[Process]) -> BTreeSet<u64> {
    processes.iter().flat_map(|process| memory_held_by(process.pid)).collect()
}

fn memory_held_by(pid: i32) -> Vec<u64> {
    // Not ours to look at, or gone: holds nothing that can be seen.
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            fs::read_link(path).is_ok_and(|to| to.as_os_str().as_bytes().starts_with(b"/memfd:"))
        })
        .filter_map(|path| Some(path.metadata().ok()?.ino()))
        .collect()
}

/// What is still there of a run whose processes and memory were these.
pub(super) fn remains(
    folder: &Path,
    known: &[Process],
    memory: &BTreeSet<u64>,
) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut left: BTreeSet<Process> = of_run(folder, None)?.into_iter().collect();
    left.extend(known.iter().filter(|process| process.lives()).cloned());
    found.extend(left.iter().map(|process| format!("process {}: {}", process.pid, process.words)));
    if !memory.is_empty() {
        for pid in pids()? {
            if memory_held_by(pid).iter().any(|inode| memory.contains(inode)) {
                found.push(format!("memory of the run's, in process {pid}"));
            }
        }
    }
    let sockets = fs::read("/proc/net/unix").context("cannot read the list of Unix sockets")?;
    let sockets = String::from_utf8_lossy(&sockets).into_owned();
    let folder = folder.to_string_lossy();
    let here = sockets.lines().filter(|line| line.contains(&*folder));
    found.extend(here.map(|line| format!("open socket {line}")));
    Ok(found)
}

/// Every file and folder in `folder`, if that is there.
pub(super) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        found.extend(files_in(&path));
        found.push(path);
    }
    found
}
