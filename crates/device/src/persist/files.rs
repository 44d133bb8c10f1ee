//! Putting the files of persisted claims on the disk, and taking them away again.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use ringfence_refusal::{Failure, Fault, Refusal};

use super::boot_files::{BootFile, MARK, shared_paths};
use super::{EXTENSION, FOLDER, persisted};
use crate::refusals;
use crate::root::{Root, read};

/// Refuses if one of the files is there and is not Ringfence's: an operator's own, or a link, such as
/// the one to `/dev/null` that switches a rule or a unit off.
pub fn expect_ours(root: &Root, files: &[BootFile]) -> Result<(), Failure> {
    for file in files {
        if !is_free_or_ours(root, &file.path)? {
            return Err(Refusal::new(&refusals::NOT_OURS, format!("/{}", file.path)).into());
        }
    }
    Ok(())
}

/// Whether the file may be written. A claim is ours by the folder it is in.
fn is_free_or_ours(root: &Root, path: &str) -> Result<bool, Fault> {
    let whole = root.join(path);
    match fs::symlink_metadata(&whole) {
        Ok(found) if found.is_file() => {
            Ok(path.starts_with(FOLDER) || read(&whole)?.is_some_and(|text| is_marked(&text)))
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Fault::new("look at", whole.display().to_string(), error)),
    }
}

/// The mark is the first line, or the second below `#!`.
fn is_marked(text: &str) -> bool {
    text.lines().take(2).any(|line| line == MARK.trim_end())
}

/// Writes the files below `root`, each whole or not at all, and on the disk.
///
/// # Errors
///
/// As [`expect_ours`], before anything is written.
pub fn install(root: &Root, files: &[BootFile]) -> Result<(), Failure> {
    expect_ours(root, files)?;
    for file in files {
        let path = root.join(&file.path);
        put(&path, file).map_err(|error| Fault::new("write", path.display().to_string(), error))?;
    }
    Ok(())
}

fn put(path: &Path, file: &BootFile) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let beside = path.with_extension("new");
    // One that was left behind may be anything.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut new = File::create_new(&beside)?;
    new.set_permissions(fs::Permissions::from_mode(file.mode))?;
    new.write_all(file.text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

/// Forgets the persisted claim `name`, and tells what was removed: nothing if there was none. With
/// the last claim goes all that served them.
pub fn forget(root: &Root, name: &str) -> Result<Vec<String>, Fault> {
    // The name becomes a part of a path.
    if name.contains('/') || name.starts_with('.') {
        return Ok(Vec::new());
    }
    let mut removed = Vec::new();
    let path = format!("{FOLDER}/{name}{EXTENSION}");
    if remove(root, &path)? {
        removed.push(path);
    }
    if removed.is_empty() || !persisted(root)?.is_empty() {
        return Ok(removed);
    }
    for path in shared_paths() {
        if is_free_or_ours(root, path)? && remove(root, path)? {
            removed.push(path.to_string());
        }
    }
    Ok(removed)
}

/// Whether it was there.
fn remove(root: &Root, path: &str) -> Result<bool, Fault> {
    let path = root.join(path);
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Fault::new("remove", path.display().to_string(), error)),
    }
}
