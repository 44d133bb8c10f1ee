//! Which crate may use which.

use super::manifest::{Manifest, manifests, short_name};
use super::tree::Tree;
use super::{Check, Finding};

/// Every crate there is or will be. A crate may use those above it, never those below.
const ORDER: &[&str] = &[
    "refusal",
    "addr",
    "tables",
    "host",
    "plan",
    "ledger",
    "iommu",
    "jail",
    "vmm",
    "vfio-user",
    "device",
    "virtio",
    "gpu",
    "ringfence",
    "guest",
    "spy",
    "lab",
    "bench",
    "fuzz",
    "xtask",
];

/// What only tests use, and the crates that are nothing but tests and automation.
const FOR_TESTS: &str = "lab";
const AUTOMATION: &[&str] = &["bench", "xtask"];

/// What nobody ships, kept beside `crates`.
const BESIDE: &[&str] = &["bench", "fuzz", "xtask"];

pub(super) const CHECK: Check = Check {
    sentence: "A crate uses only crates above it in the order of crates, and the lab only in tests.",
    find: find_edges,
};

pub(super) const NAMES: Check = Check {
    sentence: "A crate has a place in the order of crates and lives in the folder of its name.",
    find: find_names,
};

fn place(name: &str) -> Option<usize> {
    ORDER.iter().position(|entry| *entry == name)
}

fn find_edges(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests(tree) {
        let Some(user) = short_name(&manifest.package) else { continue };
        for used in &manifest.uses {
            let Some(name) = short_name(&used.package) else { continue };
            let allowed = if name == user {
                // A crate's own tests may turn its features on.
                used.for_tests
            } else if name == FOR_TESTS {
                used.for_tests || AUTOMATION.contains(&user)
            } else {
                place(name) < place(user)
            };
            if !allowed {
                let what = format!("`{user}` uses `{name}`, which is not above it");
                findings.push(Finding::new(&manifest.path, None, what));
            }
        }
    }
    findings
}

fn find_names(tree: &Tree) -> Vec<Finding> {
    let wrong = |manifest: &Manifest| {
        let Some(name) = short_name(&manifest.package) else {
            return Some(format!("`{}` should be called `ringfence-…`", manifest.package));
        };
        let folder = match BESIDE.contains(&name) {
            true => format!("{name}/Cargo.toml"),
            false => format!("crates/{name}/Cargo.toml"),
        };
        if manifest.path != folder {
            return Some(format!("`{name}` should be declared in {folder}"));
        }
        place(name).is_none().then(|| format!("`{name}` has no place in the order of crates"))
    };
    let manifests = manifests(tree);
    let wrong = manifests.iter().filter_map(|manifest| Some((manifest, wrong(manifest)?)));
    wrong.map(|(manifest, what)| Finding::new(&manifest.path, None, what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(user: &str, section: &str, used: &str) -> usize {
        let text = format!(
            "[package]\nname = \"{user}\"\n[{section}]\n{used}.workspace = true\nserde = \"1\"\n"
        );
        find_edges(&Tree::of(&[("crates/x/Cargo.toml", &text)])).len()
    }

    #[test]
    fn a_crate_uses_those_above_it_and_not_those_below() {
        assert_eq!(uses("ringfence-ledger", "dependencies", "ringfence-addr"), 0);
        assert_eq!(uses("ringfence-addr", "dependencies", "ringfence-ledger"), 1);
        assert_eq!(uses("ringfence-addr", "dev-dependencies", "ringfence-ledger"), 1);
        assert_eq!(uses("ringfence-addr", "build-dependencies", "ringfence-ledger"), 1);
        assert_eq!(uses("ringfence-addr", "target.'cfg(unix)'.dependencies", "ringfence"), 1);
        assert_eq!(uses("ringfence", "dependencies", "ringfence-virtio"), 0);
        assert_eq!(uses("ringfence-virtio", "dependencies", "ringfence"), 1);
    }

    #[test]
    fn the_lab_is_for_tests_and_automation() {
        assert_eq!(uses("ringfence-virtio", "dev-dependencies", "ringfence-lab"), 0);
        assert_eq!(uses("ringfence-virtio", "dependencies", "ringfence-lab"), 1);
        assert_eq!(uses("ringfence", "dependencies", "ringfence-lab"), 1);
        assert_eq!(uses("xtask", "dependencies", "ringfence-lab"), 0);
        assert_eq!(uses("ringfence-bench", "dependencies", "ringfence-lab"), 0);
    }

    #[test]
    fn a_renamed_dependency_is_known_by_its_package() {
        let text = "[package]\nname = \"ringfence-addr\"\n[dependencies]\n\
                    innocent = { package = \"ringfence-gpu\", path = \"../gpu\" }\n";
        assert_eq!(find_edges(&Tree::of(&[("crates/addr/Cargo.toml", text)])).len(), 1);
    }

    #[test]
    fn a_crate_is_named_as_its_folder_and_has_a_place() {
        let found = |path: &str, name: &str| {
            let text = format!("[package]\nname = \"{name}\"\n");
            find_names(&Tree::of(&[(path, &text)])).len()
        };
        assert_eq!(found("crates/addr/Cargo.toml", "ringfence-addr"), 0);
        assert_eq!(found("crates/ringfence/Cargo.toml", "ringfence"), 0);
        assert_eq!(found("xtask/Cargo.toml", "xtask"), 0);
        assert_eq!(found("crates/address/Cargo.toml", "ringfence-addr"), 1);
        assert_eq!(found("crates/addr/Cargo.toml", "addr"), 1);
        assert_eq!(found("crates/novel/Cargo.toml", "ringfence-novel"), 1);
    }
}
