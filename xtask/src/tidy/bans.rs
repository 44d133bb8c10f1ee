//! What code does not contain, each with the reason.

use super::source::{Line, words};
use super::tree::Tree;
use super::{Check, Finding};

/// What is banned, where, and why.
struct Ban {
    pattern: &'static str,
    /// Whether tests may have it.
    tests_may: bool,
    reason: &'static str,
}

const BANS: &[Ban] = &[
    Ban { pattern: "todo!(", tests_may: false, reason: "what is not there yet is not called" },
    Ban { pattern: "unimplemented!(", tests_may: false, reason: "what is not there is not called" },
    Ban { pattern: "dbg!(", tests_may: false, reason: "it was for one afternoon" },
    Ban {
        pattern: "#[ignore",
        tests_may: false,
        reason: "a test that cannot run says so as a skip, in a harness that counts them",
    },
    Ban {
        pattern: "Range<u64>",
        tests_may: true,
        reason: "it cannot hold the last address and can be empty: use Span",
    },
    Ban {
        pattern: ".unwrap()",
        tests_may: true,
        reason: "say why it cannot fail with expect, or handle that it does",
    },
];

pub(super) const CHECK: Check =
    Check { sentence: "Code contains nothing that is banned with a reason.", find: find_bans };

fn find_bans(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.sources() {
        for line in source.lines() {
            let banned = BANS.iter().filter(|ban| !(ban.tests_may && line.is_test));
            for ban in banned.filter(|ban| has_pattern(line.code, ban.pattern)) {
                let what = format!("`{}`: {}", ban.pattern, ban.reason);
                findings.push(Finding::new(path, line.number, what));
            }
        }
    }
    findings
}

/// Whether the pattern is there and does not only end a longer name (`my_dbg!(`).
fn has_pattern(code: &str, pattern: &str) -> bool {
    code.match_indices(pattern).any(|(at, _)| {
        let continues = pattern.starts_with(char::is_alphabetic)
            && code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
        !continues
    })
}

/// Where numbers are not addresses yet, because a wire or a table says them, and why.
const WIRES: &[(&str, &str)] = &[
    ("crates/addr/", "makes addresses of numbers"),
    ("crates/tables/", "firmware tables, byte for byte"),
    ("crates/iommu/src/iommufd_sys.rs", "arguments of iommufd's calls, field for field"),
    ("crates/iommu/src/vfio_sys.rs", "arguments of VFIO's calls, field for field"),
    ("crates/vfio-user/src/wire.rs", "vfio-user messages, field for field"),
    ("crates/virtio/src/wire.rs", "vhost-user messages, field for field"),
    ("crates/virtio/src/chain.rs", "descriptors as the guest wrote them"),
];

/// Parts of names that say the number is an address.
const ADDRESS_WORDS: &[&str] =
    &["addr", "address", "base", "gpa", "gma", "hpa", "hva", "iova", "start"];

pub(super) const BARE_ADDRESSES: Check = Check {
    sentence: "An address has the type of its space; only wires listed in bans.rs have bare numbers.",
    find: |tree| find_bare_addresses(tree, WIRES),
};

fn find_bare_addresses(tree: &Tree, wires: &[(&str, &str)]) -> Vec<Finding> {
    let is_ours = |path: &str| path.starts_with("crates/") && path.contains("/src/");
    let is_wire = |path: &str| wires.iter().any(|(wire, _)| path.starts_with(wire));
    let mut findings = Vec::new();
    for (path, source) in tree.sources().filter(|(path, _)| is_ours(path) && !is_wire(path)) {
        for line in source.lines().filter(|line| !line.is_test) {
            for name in bare_addresses(&line) {
                let what = format!("`{name}: u64` is an address of which space?");
                findings.push(Finding::new(path, line.number, what));
            }
        }
    }
    findings
}

/// The names in `line` that are called an address and declared a bare number.
fn bare_addresses<'a>(line: &Line<'a>) -> Vec<&'a str> {
    let declared = line.code.match_indices(": u64").filter_map(|(at, matched)| {
        let ends = words(&line.code[at..]).next() == Some("u64")
            && !line.code[at + matched.len()..].starts_with(|next: char| next.is_alphanumeric());
        ends.then(|| words(&line.code[..at]).last()).flatten()
    });
    declared.filter(|name| name.split('_').any(|part| ADDRESS_WORDS.contains(&part))).collect()
}

/// Words that say something is not done. Built here so that this file does not contain them.
const LEFTOVER_WORDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

pub(super) const LEFTOVERS: Check = Check {
    sentence: "Nothing is left for later in the code: open work is an issue.",
    find: find_leftovers,
};

fn find_leftovers(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in tree.sources() {
        for line in source.lines() {
            for word in words(line.text).filter(|word| LEFTOVER_WORDS.contains(word)) {
                findings.push(Finding::new(path, line.number, word));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: Vec<Finding>) -> Vec<usize> {
        findings.into_iter().filter_map(|finding| finding.line).collect()
    }

    #[test]
    fn each_ban_finds_its_pattern_in_code_only() {
        for Ban { pattern, tests_may, .. } in BANS {
            let text = format!(
                "// {pattern}\nfn f() {{ \"{pattern}\" }}\n{pattern}\n#[cfg(test)]\nmod tests {{\n{pattern}\n}}\n"
            );
            let found = lines(find_bans(&Tree::of(&[("crates/a/src/lib.rs", &text)])));
            // The patterns leave brackets open, so the region of tests ends with the file.
            let expected: &[usize] = if *tests_may { &[3] } else { &[3, 6] };
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn a_longer_name_is_another() {
        let text = "my_dbg!(a);\nRangeInclusive<u64>;\nstd::ops::Range<u64>;\na.unwrap_or(b);\n";
        assert_eq!(lines(find_bans(&Tree::of(&[("a.rs", text)]))), [3]);
    }

    #[test]
    fn a_bare_address_is_found_where_addresses_have_types() {
        let text = "struct A {\n    base: u64,\n    restarts: u64,\n    start: Gpa,\n}\n\
                    fn f(size: u64, guest_addr: u64) {}\nfn g(iova_first: u64x2, addr: &u64) {}\n\
                    #[cfg(test)]\nfn h(gpa: u64) {}\n";
        let found = |path: &str| {
            let wires: &[(&str, &str)] = &[("crates/addr/", ""), ("crates/x/src/wire.rs", "")];
            lines(find_bare_addresses(&Tree::of(&[(path, text)]), wires))
        };
        assert_eq!(found("crates/x/src/lib.rs"), [2, 6]);
        assert!(found("crates/x/src/wire.rs").is_empty());
        assert!(found("crates/addr/src/lib.rs").is_empty());
        assert!(found("crates/x/tests/a.rs").is_empty());
    }

    #[test]
    fn what_is_left_for_later_is_found_in_comments_too() {
        for word in LEFTOVER_WORDS {
            let text = format!("//! The idea.\n// {word}: the rest\nlet {word}_LIST = 1;\n");
            assert_eq!(lines(find_leftovers(&Tree::of(&[("a.rs", &text)]))), [2]);
        }
    }
}
