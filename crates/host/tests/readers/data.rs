//! Where the data of real hosts is, which nobody here wrote and which is not part of the project.

use std::path::{Path, PathBuf};

use libtest_mimic::Completion;

/// The folder, beside the folder of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/topology")
}

/// The files right in `folder` whose names end with `ending`, in order.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder of data is readable");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry is readable").path())
        .filter(|path| name(path).ends_with(ending))
        .collect();
    files.sort();
    files
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// What a test that found no data comes to: skipped, and saying so.
pub(crate) fn skipped() -> Completion {
    Completion::ignored_with(format!("no data at {}", root().display()))
}
