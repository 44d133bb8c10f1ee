//! Where the data of real hosts is, which nobody here wrote and which is not part of the project.

use std::path::{Path, PathBuf};

use libtest_mimic::Completion;
use ringfence_addr::{Hpa, Span};

/// The folder, beside the folder of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data")
}

/// The files right in `folder` whose names end with `ending`: name and content, in order.
pub(crate) fn files(folder: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(root().join(folder)).expect("the folder of data is readable");
    let mut paths: Vec<_> =
        entries.map(|entry| entry.expect("an entry is readable").path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let named = paths.into_iter().filter_map(|path| Some((name(&path)?, path)));
    named
        .filter(|(name, _)| name.ends_with(ending))
        .map(|(name, path)| (name, std::fs::read(path).expect("a readable file")))
        .collect()
}

/// Real tables: file name, signature, bytes.
pub(crate) fn tables() -> Vec<(String, String, Vec<u8>)> {
    let files = files("acpi", ".bin").into_iter().chain(files("acpi-lab", ".bin"));
    let tables = files.map(|(name, bytes)| {
        let signature = String::from_utf8_lossy(&bytes[..4]).into_owned();
        (name, signature, bytes)
    });
    tables.collect()
}

pub(crate) fn span(text: &str) -> Span<Hpa> {
    text.parse().expect("a span")
}

/// What a test that found no data comes to: skipped, and saying so.
pub(crate) fn skipped() -> Completion {
    Completion::ignored_with(format!("no data at {}", root().display()))
}
