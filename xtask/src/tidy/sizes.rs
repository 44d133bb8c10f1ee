//! That files stay small.

use super::tree::Tree;
use super::{Check, Finding};

/// More than this is several ideas; aim for much less.
const LINES_MAX: usize = 600;

pub(super) const CHECK: Check =
    Check { sentence: "No Rust file, tests included, has more than 600 lines.", find };

fn find(tree: &Tree) -> Vec<Finding> {
    let sizes = tree.sources().map(|(path, source)| (path, source.text().lines().count()));
    let large = sizes.filter(|(_, lines)| *lines > LINES_MAX);
    large.map(|(path, lines)| Finding::new(path, None, format!("{lines} lines"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_is_found_with_its_size() {
        let found = |lines: usize| find(&Tree::of(&[("a.rs", "\n".repeat(lines).as_str())]));
        assert_eq!(found(LINES_MAX), []);
        assert_eq!(found(LINES_MAX + 1), [Finding::new("a.rs", None, "601 lines")]);
        assert!(CHECK.sentence.contains(&LINES_MAX.to_string()));
    }
}
