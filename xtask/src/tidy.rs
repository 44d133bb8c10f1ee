//! `cargo xtask tidy`: the rules of the house that a compiler does not check.
//!
//! Each check is one function over the [`Tree`] of files, and one sentence, which is also what a
//! failure says. `cargo test -p xtask` runs them on this tree, and each on a small bad one.

mod bans;
mod edges;
mod guards;
mod headers;
mod hosts;
mod invariants;
mod manifest;
mod refusals;
mod sizes;
mod source;
mod tree;
mod unsafe_code;

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tree::Tree;

/// A rule of the house.
struct Check {
    /// The rule; what a failure says.
    sentence: &'static str,
    /// Where the tree breaks it.
    find: fn(&Tree) -> Vec<Finding>,
}

/// Every check there is.
const CHECKS: &[Check] = &[
    edges::CHECK,
    edges::NAMES,
    guards::CHECK,
    unsafe_code::CHECK,
    headers::CHECK,
    sizes::CHECK,
    bans::CHECK,
    bans::BARE_ADDRESSES,
    bans::LEFTOVERS,
    hosts::CHECK,
    invariants::CHECK,
    invariants::GUARDED,
    refusals::NUMBERS,
    refusals::WORDS,
    refusals::TESTED,
];

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from one; none when it is the file as a whole.
    line: Option<usize>,
    what: String,
}

impl Finding {
    fn new(path: &str, line: impl Into<Option<usize>>, what: impl Into<String>) -> Self {
        Self { path: path.to_string(), line: line.into(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what } = self;
        match line {
            Some(line) => write!(formatter, "{path}:{line}: {what}"),
            None => write!(formatter, "{path}: {what}"),
        }
    }
}

/// Checks this workspace, and says what is untidy.
///
/// # Errors
/// The workspace is untidy, or cannot be read.
pub(crate) fn run() -> Result<()> {
    let untidy = untidy(&workspace()?);
    for line in &untidy {
        println!("{line}");
    }
    ensure!(untidy.is_empty(), "the workspace is untidy");
    println!("tidy: {} checks passed", CHECKS.len());
    Ok(())
}

fn workspace() -> Result<Tree> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask has no parent")?;
    Tree::read(root)
}

/// The sentences the tree breaks, each followed by where.
fn untidy(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    for check in CHECKS {
        let findings = (check.find)(tree);
        if !findings.is_empty() {
            lines.push(check.sentence.to_string());
            lines.extend(findings.iter().map(|finding| format!("  {finding}")));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_tidy() {
        let untidy = untidy(&workspace().expect("the workspace can be read"));
        assert!(untidy.is_empty(), "\n{}", untidy.join("\n"));
    }

    #[test]
    fn what_is_untidy_is_said_with_the_sentence_and_the_place() {
        let tree = Tree::of(&[("crates/addr/src/lib.rs", "//! The idea.\nfn f() { dbg!(1) }\n")]);
        // A tree this small lacks what other sentences want to find, too.
        let untidy = untidy(&tree);
        let said = untidy.iter().position(|line| line == bans::CHECK.sentence);
        let place = said.and_then(|said| untidy.get(said + 1)).expect("it is said, and where");
        assert!(place.starts_with("  crates/addr/src/lib.rs:2: "), "{untidy:?}");
    }

    #[test]
    fn a_sentence_is_one() {
        for Check { sentence, .. } in CHECKS {
            assert!(sentence.ends_with('.') && !sentence.contains(". "), "{sentence}");
        }
    }
}
