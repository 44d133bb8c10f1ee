//! That no file names where packages come from.
//!
//! A machine has its own registries and mirrors, configured in its own files. What is written
//! here is read on other machines, where those do not exist.

use super::tree::Tree;
use super::{Check, Finding};

/// Hosts of documents that a file may point at. Everything else after `://` is a finding.
const DOCUMENTS: &[&str] = &[
    "doc.rust-lang.org",
    "docs.kernel.org",
    "docs.oasis-open.org",
    "docs.rs",
    "json-schema.org",
    "libvirt.org",
    "uefi.org",
    "www.apache.org",
    "www.kernel.org",
    "www.qemu.org",
    "www.w3.org",
];

/// What examples and tests call a host that does not exist.
const NOWHERE: &[&str] = &["mirror", "off", "somebody"];
const NOWHERE_ENDS: &[&str] = &[".example", ".invalid"];

/// Registries and mirrors, which no file names in any form.
const REGISTRIES: &[&str] = &[
    "deb.debian.org",
    "ftp.debian.org",
    "index.crates.io",
    "pypi.org",
    "registry.npmjs.org",
    "security.debian.org",
    "snapshot.debian.org",
    "static.crates.io",
];

/// How `Cargo.lock` calls the one registry there is, wherever a machine gets it from.
const LOCKED_SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Where the lists above are.
const THIS_FILE: &str = "xtask/src/tidy/hosts.rs";

pub(super) const CHECK: Check = Check {
    sentence: "No file names a registry, a mirror, or a host that is not listed in hosts.rs.",
    find,
};

fn find(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| *path != THIS_FILE) {
        let is_lock = path.rsplit('/').next() == Some("Cargo.lock");
        for (number, line) in (1..).zip(text.lines()) {
            let line = if is_lock { line.replace(LOCKED_SOURCE, "") } else { line.to_string() };
            if let Some(host) = hosts(&line).find(|host| !may_stand(host)) {
                findings.push(Finding::new(path, number, format!("`{host}`")));
            } else if let Some(registry) = REGISTRIES.iter().find(|name| line.contains(**name)) {
                findings.push(Finding::new(path, number, format!("`{registry}`")));
            }
        }
    }
    findings
}

fn may_stand(host: &str) -> bool {
    DOCUMENTS.contains(&host)
        || NOWHERE.contains(&host)
        || NOWHERE_ENDS.iter().any(|end| host.ends_with(end))
}

/// What stands after each `://`, up to the path.
fn hosts(line: &str) -> impl Iterator<Item = &str> {
    let is_host = |letter: char| letter.is_alphanumeric() || ".-_:[]@".contains(letter);
    line.split("://").skip(1).filter_map(move |rest| {
        let host = rest.split(|letter| !is_host(letter)).next()?.trim_end_matches(['.', ':']);
        (!host.is_empty()).then_some(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, line: &str) -> usize {
        find(&Tree::of(&[(path, line)])).len()
    }

    #[test]
    fn a_host_that_is_not_listed_is_found_in_any_file() {
        assert_eq!(found("README.md", "see https://docs.rs/serde."), 0);
        assert_eq!(found("README.md", "see https://mirror.internal/debian"), 1);
        assert_eq!(found("a.toml", "proxy = \"http://10.0.0.5:8080\""), 1);
        assert_eq!(found("a.rs", "// https://docs.rs and sparse+http://cache/"), 1);
        assert_eq!(found("a.rs", "http://user:secret@somebody/"), 1);
        assert_eq!(found("a.rs", "http://mirror/ and http://mirror.example/debian"), 0);
        assert_eq!(found("a.rs", "let url = format!(\"unix://{path}\");"), 0);
    }

    #[test]
    fn a_registry_is_found_without_its_scheme() {
        for registry in REGISTRIES {
            assert_eq!(found("docs/a.md", &format!("from {registry}, say")), 1);
        }
    }

    #[test]
    fn the_lock_file_names_the_registry_as_cargo_does_and_no_mirror() {
        let line = format!("source = \"{LOCKED_SOURCE}\"");
        assert_eq!(found("Cargo.lock", &line), 0);
        assert_eq!(found("README.md", &line), 1);
        assert_eq!(found("Cargo.lock", "source = \"registry+https://10.1.2.3/index\""), 1);
    }
}
