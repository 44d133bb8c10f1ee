//! Every key has a file in which it is wrong, and the words that say so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use expect_test::expect_file;

use crate::program::{Scratch, outcome};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn bad_files() -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder())
        .expect("the folder of configurations")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("bad-") && name.ends_with(".toml"))
        .collect();
    names.sort();
    names
}

/// What the program says of one file, with the folder it is in left out.
fn complaint(scratch: &Scratch, name: &str) -> String {
    let outcome = outcome(scratch.ringfence(&["run", name]).current_dir(folder()));
    assert_eq!(outcome.code, Some(2), "{name}: {}", outcome.stderr);
    assert_eq!(outcome.stdout, "", "{name}");
    outcome.stderr.replace(&*folder().to_string_lossy(), "[here]")
}

#[test]
fn every_bad_file_is_answered_with_the_words_beside_it() {
    let scratch = Scratch::new("bad");
    let files = bad_files();
    assert!(files.len() > 40, "only {} files", files.len());
    for name in files {
        let said = complaint(&scratch, &name);
        assert!(said.contains(&format!("{name}:")), "no place in: {said}");
        assert!(said.contains("next: "), "no next step in: {said}");
        expect_file![folder().join(name.replace(".toml", ".expected"))].assert_eq(&said);
    }
    scratch.assert_nothing_left();
}

#[test]
fn every_refusal_of_the_configuration_is_raised_by_one_of_them() {
    let mut raised = BTreeSet::new();
    for name in bad_files() {
        let expected = folder().join(name.replace(".toml", ".expected"));
        let text = std::fs::read_to_string(expected).expect("the words beside the file");
        for (at, _) in text.match_indices("RF04") {
            raised.insert(text[at..at + 6].to_owned());
        }
    }
    let all: BTreeSet<_> = (401..=411).map(|number| format!("RF{number:04}")).collect();
    assert_eq!(raised, all);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let scratch = Scratch::new("unreadable");
    let missing = outcome(&mut scratch.ringfence(&["run", "nowhere.toml"]));
    assert_eq!(missing.code, Some(5));
    assert!(missing.stderr.starts_with("error: cannot read nowhere.toml: "), "{}", missing.stderr);
    scratch.write("large.toml", &"#".repeat((1 << 20) + 1));
    let large = outcome(&mut scratch.ringfence(&["run", "large.toml"]));
    assert_eq!(large.code, Some(5));
    assert!(large.stderr.contains("larger than 1 MiB"), "{}", large.stderr);
}
