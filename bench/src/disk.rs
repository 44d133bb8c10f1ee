//! The file the backend serves: on tmpfs, full of data, and without a name.
//!
//! A file made without a name cannot be left behind, however the bench ends; the backend opens it
//! through `/proc`.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::{Mode, OFlags};

const SHARED_MEMORY: &str = "/dev/shm";
const FULL_SIZE: u64 = 1 << 30;
const CHUNK: usize = 1 << 20;

/// An open file on tmpfs.
pub(crate) struct Disk {
    file: File,
    size: u64,
}

impl Disk {
    /// Makes and fills it: 1 GiB, or less (and says so) where tmpfs has less than twice that.
    pub(crate) fn fill() -> Result<Self> {
        let space = rustix::fs::statvfs(SHARED_MEMORY)
            .with_context(|| format!("cannot ask how much room {SHARED_MEMORY} has"))?;
        let half = space.f_bavail.saturating_mul(space.f_frsize) / 2;
        let size = FULL_SIZE.min(half) / CHUNK as u64 * CHUNK as u64;
        ensure!(size > 0, "{SHARED_MEMORY} has no room for a disk: {} bytes", half * 2);
        if size < FULL_SIZE {
            eprintln!("note: the file is {} MiB, as {SHARED_MEMORY} is small", size >> 20);
        }
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file: File = rustix::fs::open(SHARED_MEMORY, flags, Mode::RUSR | Mode::WUSR)
            .with_context(|| format!("cannot make a file in {SHARED_MEMORY}"))?
            .into();
        let mut words = 0x243f_6a88_85a3_08d3_u64;
        let mut chunk = vec![0; CHUNK];
        for at in (0..size).step_by(CHUNK) {
            for word in chunk.chunks_exact_mut(8) {
                words = words.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                word.copy_from_slice(&words.to_le_bytes());
            }
            file.write_all_at(&chunk, at).context("cannot fill the file")?;
        }
        Ok(Self { file, size })
    }

    /// Its size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// A path by which other processes can open it while this one runs.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }
}
