//! Folders that go away with what made them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::repeat;

/// A folder of this process's own, removed on drop.
///
/// It is short enough for a socket's path (108 bytes). What a killed process left behind is removed
/// by the next one that makes a scratch folder.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

const PREFIX: &str = "ringfence-lab-";

impl Scratch {
    /// A new, empty folder.
    pub fn new() -> Result<Self> {
        static CLEANED: Once = Once::new();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let parent = std::env::temp_dir();
        CLEANED.call_once(|| remove_orphans(&parent));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        repeat::scratch_made(&path);
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path inside.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        repeat::scratch_gone(&self.path);
        // Nobody is left to tell, and the next process tries again.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn remove_orphans(parent: &Path) {
    let Ok(entries) = parent.read_dir() else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split('-').next());
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else { continue };
        if !Path::new("/proc").join(owner.to_string()).exists() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
