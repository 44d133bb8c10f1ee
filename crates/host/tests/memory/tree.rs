//! Directories shaped like `/`.

use std::fs;
use std::path::{Path, PathBuf};

/// A directory that goes when it is no longer needed.
pub(crate) struct Tree(pub(crate) PathBuf);

impl Tree {
    /// An empty one. Tests run at the same time, and each names its own.
    pub(crate) fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("memory-{name}"));
        if root.exists() {
            fs::remove_dir_all(&root).expect("an old tree can be removed");
        }
        Self(root)
    }

    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // What is left is removed by the next run.
        _ = fs::remove_dir_all(&self.0);
    }
}
