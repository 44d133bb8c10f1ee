//! Programs of this workspace that tests start.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::root::workspace;

/// Builds the program `name` of a package of this workspace, with the features it has by default
/// and no others, and says where it is.
pub fn binary(package: &str, name: &str) -> Result<PathBuf> {
    build(package, name, &[])
}

/// The same, as it would be released: for what is measured.
pub fn released_binary(package: &str, name: &str) -> Result<PathBuf> {
    build(package, name, &["--release"])
}

fn build(package: &str, name: &str, more: &[&str]) -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--package", package, "--bin", name])
        .args(more)
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace());
    let output = cargo.output().context("cannot start cargo")?;
    if !output.status.success() {
        let talk = String::from_utf8_lossy(&output.stderr);
        bail!("cannot build {name} of {package}:\n{}", talk.trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .with_context(|| format!("cargo built {name} of {package} and did not say where"))
}
