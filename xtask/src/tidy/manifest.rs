//! The crates of the workspace and what they use, as their manifests say.

use toml::{Table, Value};

use super::tree::Tree;

/// A crate of ours.
pub(super) struct Manifest {
    /// Where it is declared: `crates/addr/Cargo.toml`.
    pub(super) path: String,
    /// Its package name: `ringfence-addr`.
    pub(super) package: String,
    /// What it uses.
    pub(super) uses: Vec<Use>,
    /// What is on unless someone turns it off.
    pub(super) default_features: Vec<String>,
}

/// A dependency of a crate of ours on any crate.
pub(super) struct Use {
    /// The package name of the other crate.
    pub(super) package: String,
    /// Whether only tests, examples and benchmarks use it.
    pub(super) for_tests: bool,
    /// The features asked for.
    pub(super) features: Vec<String>,
}

/// A crate's name without the prefix: `addr` for `ringfence-addr`, `ringfence` for the program.
/// `None` if it is not one of ours.
pub(super) fn short_name(package: &str) -> Option<&str> {
    match package {
        "ringfence" | "xtask" => Some(package),
        _ => package.strip_prefix("ringfence-"),
    }
}

/// Every manifest with a package; one that does not parse is cargo's to refuse.
pub(super) fn manifests(tree: &Tree) -> Vec<Manifest> {
    let files = tree.texts().filter(|(path, _)| path.rsplit('/').next() == Some("Cargo.toml"));
    files.filter_map(|(path, text)| manifest(path, &text.parse().ok()?)).collect()
}

fn manifest(path: &str, table: &Table) -> Option<Manifest> {
    let package = table.get("package")?.get("name")?.as_str()?.to_string();
    let mut uses = uses_of(table);
    for target in table.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values)
    {
        uses.extend(target.as_table().map(uses_of).unwrap_or_default());
    }
    let default_features = table.get("features").map(|features| strings(features, "default"));
    let default_features = default_features.unwrap_or_default();
    Some(Manifest { path: path.to_string(), package, uses, default_features })
}

fn uses_of(table: &Table) -> Vec<Use> {
    let kinds =
        [("dependencies", false), ("build-dependencies", false), ("dev-dependencies", true)];
    let mut uses = Vec::new();
    for (kind, for_tests) in kinds {
        let entries = table.get(kind).and_then(Value::as_table).into_iter().flatten();
        uses.extend(entries.map(|(name, value)| Use {
            package: value.get("package").and_then(Value::as_str).unwrap_or(name).to_string(),
            for_tests,
            features: strings(value, "features"),
        }));
    }
    uses
}

fn strings(value: &Value, key: &str) -> Vec<String> {
    let array = value.get(key).and_then(Value::as_array).into_iter().flatten();
    array.filter_map(|item| item.as_str().map(str::to_string)).collect()
}
