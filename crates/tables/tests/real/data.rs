//! Where the tables of real machines are, which nobody here wrote and which are not part of the project.

use std::path::{Path, PathBuf};

use libtest_mimic::Completion;
use ringfence_tables::{Finding, Table};

/// A folder beside the folder of the repository.
pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name)
}

/// What a test that found no data comes to: skipped, and saying so.
pub(crate) fn skipped(name: &str) -> Completion {
    Completion::ignored_with(format!("no data at {}", folder(name).display()))
}

/// The bytes of a file.
pub(crate) fn bytes(folder_name: &str, file: &str) -> Vec<u8> {
    std::fs::read(folder(folder_name).join(file)).expect("the data is readable")
}

/// Every table of a real machine: its file, its bytes, what was read and found.
pub(crate) fn machines() -> Vec<(String, Vec<u8>, Table, Vec<Finding>)> {
    let entries = std::fs::read_dir(folder("acpi")).expect("the folder is readable");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".bin"))
        .collect();
    names.sort();
    let read = |name: String| {
        let bytes = bytes("acpi", &name);
        let (table, findings) =
            Table::read(&bytes).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        (name, bytes, table, findings)
    };
    names.into_iter().map(read).collect()
}
