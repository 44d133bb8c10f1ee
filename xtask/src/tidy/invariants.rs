//! That every invariant has a place that keeps it and a test that shows it, and every guard a test
//! that switches it off.

use std::collections::BTreeSet;

use super::source::has_word;
use super::tree::Tree;
use super::{Check, Finding};

/// Where they are written down, each under a heading that is its name.
const DOCUMENT: &str = "docs/invariants.md";

/// What a comment says before the name of one.
const MARKS: [&str; 2] = ["Invariant `", "invariant `"];

/// Where the guards are.
const GUARDS: &str = "crates/virtio/src/guards.rs";

pub(super) const CHECK: Check = Check {
    sentence: "Every invariant in docs/invariants.md is named where it is kept and where it is tested, and no other is named.",
    find: find_invariants,
};

pub(super) const GUARDED: Check =
    Check { sentence: "Every guard is switched off in a test.", find: find_guards };

fn find_invariants(tree: &Tree) -> Vec<Finding> {
    let Some(document) = tree.text(DOCUMENT) else { return Vec::new() };
    let heading = |line: &str| Some(line.strip_prefix("## `")?.strip_suffix('`')?.to_owned());
    let known: BTreeSet<String> = document.lines().filter_map(heading).collect();
    let (mut kept, mut tested) = (BTreeSet::new(), BTreeSet::new());
    let mut findings = Vec::new();
    for (path, source) in tree.sources().filter(|(path, _)| !path.starts_with("xtask/")) {
        for line in source.lines() {
            for name in named(line.text) {
                if !known.contains(name) {
                    let what = format!("`{name}` is not in {DOCUMENT}");
                    findings.push(Finding::new(path, line.number, what));
                }
                if line.is_test { &mut tested } else { &mut kept }.insert(name.to_owned());
            }
        }
    }
    for (places, what) in [(kept, "is kept nowhere"), (tested, "is shown by no test")] {
        let missing = known.difference(&places);
        findings
            .extend(missing.map(|name| Finding::new(DOCUMENT, None, format!("`{name}` {what}"))));
    }
    findings
}

/// The invariants that a line names.
fn named(line: &str) -> impl Iterator<Item = &str> {
    let comment = line.split_once("//").map_or("", |(_, comment)| comment);
    let rest = MARKS.iter().flat_map(|mark| comment.split(mark).skip(1));
    rest.filter_map(|rest| rest.split_once('`')).map(|(name, _)| name)
}

fn find_guards(tree: &Tree) -> Vec<Finding> {
    let text = tree.text(GUARDS).unwrap_or_default();
    let body = text.split_once("pub enum Guard {").and_then(|(_, rest)| rest.split_once("\n}"));
    let lines = body.map_or("", |(body, _)| body).lines().map(str::trim);
    let guards =
        lines.filter(|line| !line.starts_with("//")).filter_map(|line| line.strip_suffix(','));
    let is_tested = |guard: &str| {
        tree.sources().any(|(_, source)| {
            let mut tests = source.lines().filter(|line| line.is_test);
            tests.any(|line| line.code.contains("Guard::") && has_word(line.code, guard))
        })
    };
    let untested = guards.filter(|guard| !is_tested(guard));
    untested
        .map(|guard| Finding::new(GUARDS, None, format!("no test is without {guard}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invariant_is_named_where_it_is_kept_and_where_it_is_tested() {
        let found = |document: &str, source: &str, test: &str| {
            let files = [
                (DOCUMENT, document),
                ("crates/virtio/src/chain.rs", source),
                ("crates/virtio/tests/it/toctou.rs", test),
            ];
            find_invariants(&Tree::of(&files)).len()
        };
        let (document, line) = ("## `read-once`\n", "// Invariant `read-once`.\n");
        assert_eq!(found(document, line, line), 0);
        assert_eq!(found(document, "/// It is so: invariant `read-once`.\n", line), 0);
        assert_eq!(found(document, line, ""), 1);
        assert_eq!(found(document, "", line), 1);
        assert_eq!(found("", line, line), 2);
        assert_eq!(found("## Threads\n", "let a = \"Invariant `b`\";\n", ""), 0);
    }

    #[test]
    fn a_guard_is_switched_off_in_a_test() {
        let found = |test: &str| {
            let guards = "pub enum Guard {\n    /// One, two,\n    Memory,\n    Seals,\n}\n";
            find_guards(&Tree::of(&[(GUARDS, guards), ("crates/virtio/tests/it/a.rs", test)])).len()
        };
        assert_eq!(found("f(Guard::Memory); f(Guard::Seals)"), 0);
        assert_eq!(found("f(Guard::Memory)"), 1);
    }
}
