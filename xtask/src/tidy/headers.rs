//! That a file says its idea first.

use super::tree::Tree;
use super::{Check, Finding};

pub(super) const CHECK: Check =
    Check { sentence: "Every Rust file starts with `//!` and says its one idea there.", find };

fn find(tree: &Tree) -> Vec<Finding> {
    let says_nothing = |text: &str| {
        let first = text.lines().next().unwrap_or_default();
        // One word is a placeholder, not an idea.
        first.strip_prefix("//!").is_none_or(|idea| idea.split_whitespace().count() < 2)
    };
    let silent = tree.sources().filter(|(_, source)| says_nothing(source.text()));
    silent.map(|(path, _)| Finding::new(path, 1, "starts without its idea")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_its_idea_is_found() {
        let found = |text: &str| find(&Tree::of(&[("a.rs", text), ("README.md", "none")])).len();
        assert_eq!(found("//! Spans of addresses.\n"), 0);
        assert_eq!(found(""), 1);
        assert_eq!(found("use std::fmt;\n//! Spans of addresses.\n"), 1);
        assert_eq!(found("// Spans of addresses.\n"), 1);
        assert_eq!(found("//!\n//! Spans of addresses.\n"), 1);
        assert_eq!(found("//! placeholder\n"), 1);
    }
}
