//! A folder that goes when the bench does.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

/// Removed with what is in it when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Makes a folder nobody else can enter.
    pub(crate) fn new() -> Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    /// The same where files are in memory, if the machine has such a place: for very many of them.
    pub(crate) fn in_memory() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { Self::below(memory) } else { Self::new() }
    }

    fn below(place: &Path) -> Result<Self> {
        // A process killed leaves its folder, and its id is given out again: ask for a new name.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let name = format!("ringfence-bench-{}-{now}", std::process::id());
        let path = place.join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // There is nobody to tell, and it holds nothing to keep.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
