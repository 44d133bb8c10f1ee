//! That a guard can be switched off in tests only.

use super::manifest::manifests;
use super::tree::Tree;
use super::{Check, Finding};

/// The feature that compiles the constructors without a guard.
const FEATURE: &str = "unguarded";

pub(super) const CHECK: Check = Check {
    sentence: "The feature that switches guards off is on only in tests, never by default.",
    find,
};

fn find(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in manifests(tree) {
        let asks = manifest.uses.iter().filter(|used| !used.for_tests);
        for used in asks.filter(|used| used.features.iter().any(|feature| is_it(feature))) {
            let what = format!("asks for `{FEATURE}` of `{}` outside tests", used.package);
            findings.push(Finding::new(&manifest.path, None, what));
        }
        if manifest.default_features.iter().any(|feature| is_it(feature)) {
            let what = format!("has `{FEATURE}` among its default features");
            findings.push(Finding::new(&manifest.path, None, what));
        }
    }
    let root = tree.text("Cargo.toml").and_then(|text| text.parse::<toml::Table>().ok());
    let shared = root.as_ref().and_then(|root| root.get("workspace")?.get("dependencies"));
    if shared.is_some_and(|shared| has_word(&shared.to_string(), FEATURE)) {
        findings.push(Finding::new("Cargo.toml", None, format!("`{FEATURE}` for every crate")));
    }
    findings
}

fn is_it(feature: &str) -> bool {
    has_word(feature, FEATURE)
}

fn has_word(text: &str, word: &str) -> bool {
    super::source::has_word(text, word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(manifest: &str) -> usize {
        let text = format!("[package]\nname = \"ringfence-virtio\"\n{manifest}");
        find(&Tree::of(&[("crates/virtio/Cargo.toml", &text)])).len()
    }

    #[test]
    fn tests_may_switch_guards_off_and_nobody_else() {
        let asks = "ringfence-ledger = { workspace = true, features = [\"unguarded\"] }\n";
        assert_eq!(found(&format!("[dev-dependencies]\n{asks}")), 0);
        assert_eq!(found(&format!("[dependencies]\n{asks}")), 1);
        assert_eq!(found("[features]\nunguarded = [\"ringfence-ledger/unguarded\"]\n"), 0);
        assert_eq!(found("[features]\ndefault = [\"unguarded\"]\n"), 1);
        assert_eq!(found("[features]\ndefault = [\"ringfence-ledger/unguarded\"]\n"), 1);
    }

    #[test]
    fn the_workspace_does_not_switch_guards_off_for_all() {
        let text = "[workspace.dependencies]\nx = { path = \"x\", features = [\"unguarded\"] }\n";
        assert_eq!(find(&Tree::of(&[("Cargo.toml", text)])).len(), 1);
    }
}
