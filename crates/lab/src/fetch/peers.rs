//! Programs from crates.io, built once per version by the machine's cargo.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::apt::output_of;
use super::packages::{Fetched, PEERS};
use super::unpack::sha256;

/// Builds what `known` does not have; `say` hears what is about to take a while.
pub(crate) fn build(lab: &Path, known: &[Fetched], say: &dyn Fn(&str)) -> Result<Vec<Fetched>> {
    let mut built = Vec::new();
    for &(name, version) in PEERS {
        let program = lab.join("cargo/bin").join(name);
        let before = known.iter().find(|peer| peer.name == name && peer.version == version);
        if let (Some(peer), true) = (before, program.is_file()) {
            built.push(peer.clone());
            continue;
        }
        say(&format!("building {name} {version} from crates.io (a minute or two)"));
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        output_of(
            Command::new(cargo)
                .args(["install", "--quiet", "--locked", "--force", "--root"])
                .arg(lab.join("cargo"))
                .arg("--target-dir")
                .arg(lab.join("cargo/build"))
                .arg(format!("{name}@{version}"))
                .current_dir(lab)
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_TARGET_DIR"),
        )?;
        std::fs::remove_dir_all(lab.join("cargo/build"))?;
        let sha256 = sha256(std::slice::from_ref(&program))?.remove(0);
        built.push(Fetched { name: name.to_owned(), version: version.to_owned(), sha256 });
    }
    Ok(built)
}
