//! A tree of real directories: `/`, or a copy of it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::fact::Unknown;
use crate::read::registers::{Gap, Registers};

use super::{Directory, Keep, LONGEST_TABLE, LONGEST_TEXT, Miss, Tree};

/// Directories below a root.
pub(crate) struct Directories {
    root: PathBuf,
}

impl Directories {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl Tree for Directories {
    fn names(&self, directory: &str) -> Result<Vec<String>, Miss> {
        let entries = std::fs::read_dir(self.root.join(directory)).map_err(|error| miss(&error))?;
        let mut names: Vec<_> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn directory<'a>(&'a self, path: &str) -> Box<dyn Directory + 'a> {
        Box::new(RealDirectory(self.root.join(path)))
    }
}

struct RealDirectory(PathBuf);

impl Directory for RealDirectory {
    fn text(&self, name: &str, keep: Keep) -> Result<String, Miss> {
        let bytes = read(&self.0.join(name), LONGEST_TEXT)?;
        Ok(keep.of(String::from_utf8_lossy(&bytes).trim()))
    }

    fn link(&self, name: &str) -> Result<String, Miss> {
        // A path that ends with a dot would be looked up through the link.
        let path = if name == "." { self.0.clone() } else { self.0.join(name) };
        let target = std::fs::read_link(path).map_err(|error| miss(&error))?;
        let target = target.to_str().ok_or(Miss::Failed)?;
        let part =
            if name == "." { target.rsplit_once("devices/") } else { target.rsplit_once('/') };
        Ok(part.map_or(target, |(_, part)| part).to_owned())
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Miss> {
        read(&self.0.join(name), LONGEST_TABLE)
    }

    fn config(&self) -> Result<Box<dyn Registers + '_>, Miss> {
        let (file, length) = open(&self.0.join("config"))?;
        Ok(Box::new(ConfigFile { file, length, header: None }))
    }
}

/// Opens a regular file. A copy of a tree may hold anything; opening a pipe must not wait for
/// somebody to write to it.
fn open(path: &Path) -> Result<(File, u64), Miss> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| miss(&error))?;
    let metadata = file.metadata().map_err(|error| miss(&error))?;
    if metadata.is_file() { Ok((file, metadata.len())) } else { Err(Miss::Failed) }
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, Miss> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).map_err(|error| miss(&error))?;
    Ok(bytes)
}

fn miss(error: &std::io::Error) -> Miss {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Miss::Absent,
        ErrorKind::PermissionDenied => Miss::Denied,
        _ => Miss::Failed,
    }
}

/// A `config` file, read piece by piece: each read of it is a read of the device.
struct ConfigFile {
    file: File,
    length: u64,
    header: Option<[u8; 64]>,
}

impl ConfigFile {
    /// Why nothing more is at `offset`.
    fn gap(&self, offset: u16) -> Gap {
        match self.length {
            // The kernel's file is as long as config space, whoever reads it.
            length if u64::from(offset) < length => Gap::Unread(Unknown::NeedsRoot),
            256 | 4096.. => Gap::End,
            // A copy made without root.
            64 | 128 => Gap::Unread(Unknown::NeedsRoot),
            _ => Gap::Unread(Unknown::NotInSource),
        }
    }
}

impl Registers for ConfigFile {
    fn double_word(&mut self, offset: u16) -> Result<u32, Gap> {
        if self.header.is_none() && offset < 64 {
            let mut header = [0; 64];
            if self.file.read_exact_at(&mut header, 0).is_ok() {
                self.header = Some(header);
            }
        }
        let cached = self.header.as_ref().and_then(|it| it.get(usize::from(offset)..));
        if let Some(bytes) = cached.and_then(|rest| rest.first_chunk()) {
            return Ok(u32::from_le_bytes(*bytes));
        }
        let mut bytes = [0; 4];
        match self.file.read_exact_at(&mut bytes, offset.into()) {
            Ok(()) => Ok(u32::from_le_bytes(bytes)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.gap(offset)),
            Err(_) => Err(Gap::Unread(Unknown::NotInSource)),
        }
    }
}
