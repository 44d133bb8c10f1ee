//! A tree of real directories: `/`, or a copy of it.

use std::borrow::Cow;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, readlinkat};
use rustix::io::Errno;

use crate::fact::Unknown;
use crate::read::registers::{Gap, Registers};

use super::{Directory, Keep, LONGEST_TABLE, LONGEST_TEXT, Miss, Tree};

/// What a read asks for at least: sysfs gives no more than a page.
const PAGE: usize = 4096;

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
    type Directory<'a> = RealDirectory;

    fn names(&self, directory: &str) -> Result<Vec<Cow<'_, str>>, Miss> {
        let entries = std::fs::read_dir(self.root.join(directory));
        let entries = entries.map_err(|error| miss(error.raw_os_error()))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<_> = names.map(Cow::Owned).collect();
        names.sort_unstable();
        Ok(names)
    }

    fn directory(&self, path: &str) -> RealDirectory {
        let path = self.root.join(path);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(CWD, &path, flags, Mode::empty()).map_err(of_errno);
        RealDirectory { path, opened }
    }
}

/// A directory, opened once: to look up the way to it for each of twenty names takes longer than
/// all else there is to do.
pub(crate) struct RealDirectory {
    path: PathBuf,
    opened: Result<OwnedFd, Miss>,
}

impl RealDirectory {
    /// Opens a regular file. A copy of a tree may hold anything; opening a pipe must not wait for
    /// somebody to write to it.
    fn open(&self, name: &str) -> Result<(OwnedFd, u64), Miss> {
        let directory = self.opened.as_ref().map_err(|miss| *miss)?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(directory, name, flags, Mode::empty()).map_err(of_errno)?;
        let status = fstat(&file).map_err(of_errno)?;
        let is_regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
        let length = u64::try_from(status.st_size).ok().filter(|_| is_regular);
        length.map(|length| (file, length)).ok_or(Miss::Failed)
    }

    fn read(&self, name: &str, most: usize) -> Result<Vec<u8>, Miss> {
        let (file, length) = self.open(name)?;
        let mut bytes = Vec::with_capacity(PAGE);
        // An attribute says that it is a page long, or nothing, and ends before; of a plain file it
        // is true, and nobody need ask whether there is more.
        while bytes.len() < most && (length == 0 || bytes.len() as u64 != length) {
            bytes.reserve(PAGE);
            match rustix::io::read(&file, spare_capacity(&mut bytes)) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(of_errno(error)),
            }
        }
        bytes.truncate(most);
        Ok(bytes)
    }
}

impl Directory for RealDirectory {
    type Registers<'a> = ConfigFile;

    fn text(&self, name: &str, keep: Keep) -> Result<Cow<'_, str>, Miss> {
        let bytes = self.read(name, LONGEST_TEXT)?;
        let text = String::from_utf8_lossy(&bytes);
        Ok(keep.of(Cow::Owned(text.trim().to_owned())))
    }

    fn link(&self, name: &str) -> Result<Cow<'_, str>, Miss> {
        let target = if name == "." {
            // A path that ends with a dot would be looked up through the link.
            readlinkat(CWD, &self.path, Vec::new())
        } else {
            readlinkat(self.opened.as_ref().map_err(|miss| *miss)?, name, Vec::new())
        };
        let target = target.map_err(of_errno)?;
        let target = target.to_str().map_err(|_| Miss::Failed)?;
        let part =
            if name == "." { target.rsplit_once("devices/") } else { target.rsplit_once('/') };
        Ok(Cow::Owned(part.map_or(target, |(_, part)| part).to_owned()))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, Miss> {
        self.read(name, LONGEST_TABLE)
    }

    fn config(&self) -> Result<ConfigFile, Miss> {
        let (file, length) = self.open("config")?;
        Ok(ConfigFile { file: file.into(), length, header: None, last: None })
    }
}

fn of_errno(error: Errno) -> Miss {
    miss(Some(error.raw_os_error()))
}

fn miss(error: Option<i32>) -> Miss {
    match error.map(Errno::from_raw_os_error) {
        Some(Errno::NOENT | Errno::NOTDIR) => Miss::Absent,
        Some(Errno::ACCESS | Errno::PERM) => Miss::Denied,
        _ => Miss::Failed,
    }
}

/// A `config` file, read piece by piece: each read of it is a read of the device.
pub(crate) struct ConfigFile {
    file: File,
    length: u64,
    header: Option<[u8; 64]>,
    /// What was read last and where: two halves of it are asked for one after the other.
    last: Option<(u16, u32)>,
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
        if let Some((_, word)) = self.last.filter(|(at, _)| *at == offset) {
            return Ok(word);
        }
        let mut bytes = [0; 4];
        match self.file.read_exact_at(&mut bytes, offset.into()) {
            Ok(()) => {
                let word = u32::from_le_bytes(bytes);
                self.last = Some((offset, word));
                Ok(word)
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.gap(offset)),
            Err(_) => Err(Gap::Unread(Unknown::NotInSource)),
        }
    }
}
