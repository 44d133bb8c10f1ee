//! Where `unsafe` may stand.

use super::source::has_word;
use super::tree::Tree;
use super::{Check, Finding};

/// The files that may contain it, each with the reason.
const ALLOWED: &[(&str, &str)] = &[
    ("bench/src/tables/offset_page_table.rs", "a peer whose interface asks for it"),
    ("crates/device/src/vfio_sys.rs", "the ioctls by which VFIO holds a group"),
    ("crates/iommu/src/iommufd_sys.rs", "the ioctls of iommufd"),
    ("crates/iommu/src/vfio_sys.rs", "the ioctls by which VFIO maps memory"),
];

pub(super) const CHECK: Check = Check {
    sentence: "Only the files listed in xtask/src/tidy/unsafe_code.rs contain `unsafe`.",
    find: |tree| find(tree, ALLOWED),
};

fn find(tree: &Tree, allowed: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_allowed = |path: &str| allowed.iter().any(|(listed, _)| *listed == path);
    for (path, source) in tree.sources().filter(|(path, _)| !is_allowed(path)) {
        for line in source.lines().filter(|line| has_word(line.code, "unsafe")) {
            findings.push(Finding::new(path, line.number, line.text.trim()));
        }
    }
    for (path, reason) in allowed {
        let used =
            tree.sources().any(|(at, source)| at == *path && has_word(source.code(), "unsafe"));
        if !used {
            let what = format!("is listed ({reason}) but has none: take it off the list");
            findings.push(Finding::new(path, None, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_it_is_found_and_no_mention_of_it() {
        let text = "//! No unsafe here.\nunsafe fn f() {}\nunsafe impl A for B {}\n\
                    fn g() { unsafe { f() } }\n#[unsafe(no_mangle)]\nfn h() { \"unsafe\" }\n\
                    #![deny(unsafe_code)]\nunsafe extern \"C\" {}\n";
        let tree = Tree::of(&[("crates/a/src/lib.rs", text)]);
        let lines: Vec<_> = find(&tree, &[]).into_iter().filter_map(|found| found.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 8]);
    }

    #[test]
    fn a_listed_file_may_and_must_have_it() {
        let listed: &[(&str, &str)] = &[("a.rs", "maps memory")];
        assert_eq!(find(&Tree::of(&[("a.rs", "unsafe fn f() {}")]), listed), []);
        assert_eq!(find(&Tree::of(&[("a.rs", "fn f() {}")]), listed).len(), 1);
        assert_eq!(find(&Tree::of(&[]), listed).len(), 1);
    }
}
