//! Unpacking Debian archives into one root, side by side on the processors there are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};

use super::apt::output_of;

/// Unpacks `archives` into `root`, which must not exist yet.
pub(crate) fn unpack(archives: &[PathBuf], root: &Path) -> Result<()> {
    fs::create_dir_all(root).with_context(|| format!("cannot make {}", root.display()))?;
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let handles: Vec<_> =
            (0..workers).map(|_| scope.spawn(|| unpack_some(archives, root, &next))).collect();
        handles.into_iter().try_for_each(|handle| handle.join().expect("unpacking does not panic"))
    })
}

fn unpack_some(archives: &[PathBuf], root: &Path, next: &AtomicUsize) -> Result<()> {
    loop {
        let Some(archive) = archives.get(next.fetch_add(1, Ordering::Relaxed)) else {
            return Ok(());
        };
        output_of(Command::new("dpkg-deb").arg("-x").arg(archive).arg(root))?;
    }
}

/// The SHA-256 of each file, in order.
pub(crate) fn sha256(files: &[PathBuf]) -> Result<Vec<String>> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let output = output_of(Command::new("sha256sum").arg("-b").arg("--").args(files))?;
    output
        .lines()
        .map(|line| {
            // sha256sum puts a backslash in front when it had to escape the file's name.
            let line = line.trim_start_matches('\\');
            let sum = line.get(..64).context("sha256sum printed no sum")?;
            Ok(sum.to_owned())
        })
        .collect()
}
