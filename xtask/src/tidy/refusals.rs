//! That every refusal can be looked up, says what to do, and happens in a test.

mod catalogue;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use catalogue::{Entry, entries};

use super::source::has_word;
use super::tree::Tree;
use super::{Check, Finding};

/// Where the ranges of all crates are written down.
const RANGES_FILE: &str = "crates/refusal/src/lib.rs";

pub(super) const NUMBERS: Check = Check {
    sentence: "Every refusal has a number of its own in its crate's range and is in the catalogue.",
    find: find_numbers,
};

pub(super) const WORDS: Check = Check {
    sentence: "Every refusal has a name, a sentence, a remedy and a page.",
    find: find_words,
};

pub(super) const TESTED: Check =
    Check { sentence: "Every refusal is raised in a test that names it.", find: find_untested };

/// The ranges, from the lines of a table such as "| `RF0100`–`RF0199` | `ledger` |".
fn ranges(tree: &Tree) -> BTreeMap<String, RangeInclusive<u16>> {
    let lines = tree.text(RANGES_FILE).unwrap_or_default().lines();
    let rows = lines.filter_map(|line| {
        let mut quoted = line.split('`').skip(1).step_by(2);
        let mut code = || quoted.next()?.strip_prefix("RF")?.parse::<u16>().ok();
        let range = code()?..=code()?;
        Some((quoted.next()?.to_string(), range))
    });
    rows.collect()
}

fn find_numbers(tree: &Tree) -> Vec<Finding> {
    let ranges = ranges(tree);
    let mut taken: BTreeMap<u16, &str> = BTreeMap::new();
    let mut findings = Vec::new();
    let entries = entries(tree);
    for entry in &entries {
        let Entry { path, line, crate_name, name, number, .. } = entry;
        let mut add = |what: String| findings.push(Finding::new(path, *line, what));
        if !entry.listed {
            add(format!("{name} is not in CATALOGUE"));
        }
        let Some(number) = *number else {
            add(format!("{name} has no plain number"));
            continue;
        };
        if !ranges.get(*crate_name).is_some_and(|range| range.contains(&number)) {
            add(format!("{name} is RF{number:04}, which is not in the range of `{crate_name}`"));
        }
        if let Some(other) = taken.insert(number, name) {
            add(format!("{name} is RF{number:04}, and so is {other}"));
        }
    }
    findings
}

fn find_words(tree: &Tree) -> Vec<Finding> {
    let entries = entries(tree);
    let silent = entries.iter().filter(|entry| !entry.silent.is_empty());
    silent
        .map(|entry| {
            let what = format!("{} says nothing in: {}", entry.name, entry.silent.join(", "));
            Finding::new(entry.path, entry.line, what)
        })
        .collect()
}

fn find_untested(tree: &Tree) -> Vec<Finding> {
    let entries = entries(tree);
    let untested = entries.iter().filter(|entry| {
        // A name that several catalogues have is only told apart within its crate.
        let shared = entries.iter().filter(|other| other.name == entry.name).count() > 1;
        let home = format!("crates/{}/", entry.crate_name);
        let names_it = tree.sources().filter(|(path, _)| !shared || path.starts_with(&home)).any(
            |(_, source)| {
                let mut tests = source.lines().filter(|line| line.is_test);
                tests.any(|line| has_word(line.code, entry.name))
            },
        );
        !names_it && !entry.number.is_some_and(|number| expects(tree, &format!("RF{number:04}")))
    });
    let what = |entry: &Entry<'_>| format!("no test names {}", entry.name);
    untested.map(|entry| Finding::new(entry.path, entry.line, what(entry))).collect()
}

/// Whether a test, or a file of what a test expects, has this code as it is printed.
fn expects(tree: &Tree, code: &str) -> bool {
    let in_tests = |path: &str| path.starts_with("crates/") && path.contains("/tests/");
    tree.texts().any(|(path, text)| in_tests(path) && text.contains(code))
        || tree.sources().any(|(path, source)| {
            let mut tests = source.lines().filter(|line| line.is_test);
            path.starts_with("crates/") && tests.any(|line| line.text.contains(code))
        })
}

#[cfg(test)]
mod tests;
