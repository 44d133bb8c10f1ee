//! Filling the lab: Debian packages into a root of their own, wrappers for its programs, and the
//! peers from crates.io. No root needed, nothing installed.
//!
//! A fill is one step as far as anybody can see: everything is made in a temporary folder and
//! renamed into place, and `packages.json` is written after. Without it the lab counts as empty.

pub(crate) mod apt;
mod interpreter;
pub(crate) mod packages;
mod peers;
mod sources;
pub(crate) mod unpack;
mod wrappers;

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;

pub(crate) use apt::output_of;
pub use packages::{Fetched, Record};

use crate::root::{LabRoot, place};
use packages::{ALONE, KERNELS, PROGRAMS, recipe};

/// Fills the lab with what is missing and returns it; says on standard error what takes time.
pub fn fill() -> Result<(LabRoot, Record)> {
    if std::env::consts::ARCH != "x86_64" {
        bail!("the lab runs on x86-64 Linux only; this machine is {}", std::env::consts::ARCH);
    }
    let lab = place();
    fs::create_dir_all(&lab).with_context(|| format!("cannot make {}", lab.display()))?;
    let lab = lab.canonicalize()?;
    let _lock = lock(&lab, "cargo xtask lab")?;
    let known = read_record(&lab);
    let folder = lab.to_string_lossy().into_owned();
    let is_current =
        known.as_ref().is_some_and(|record| record.is_current() && record.folder == folder);
    let mut record = match known {
        Some(record) if is_current => record,
        known => {
            let packages = fill_root(&lab)?;
            let peers = known.map_or_else(Vec::new, |record| record.peers);
            let record = Record { recipe: recipe(), folder, packages, peers };
            write_record(&lab, &record)?;
            record
        }
    };
    let peers = peers::build(&lab, &record.peers, &say)?;
    if peers != record.peers {
        record.peers = peers;
        write_record(&lab, &record)?;
    }
    Ok((LabRoot::at(&lab)?, record))
}

fn fill_root(lab: &Path) -> Result<Vec<Fetched>> {
    let started = Instant::now();
    say("fetching Debian's package lists");
    let apt = apt::Apt::update(&lab.join("apt"))?;
    let mut packages = apt.closure(PROGRAMS)?;
    for kernel in KERNELS {
        packages.extend(apt.kernel(kernel)?);
    }
    for name in ALONE {
        packages.push(apt.alone(name)?);
    }
    packages.sort_by(|one, other| one.name.cmp(&other.name));
    let archives = apt.download(&packages, |done, missing| {
        say(&format!("downloading packages, {done} of {missing}"));
    })?;
    say(&format!("unpacking {} packages", archives.len()));
    // What an interrupted fill left behind, and the old root, go with one folder.
    let temporary = lab.join("filling");
    if temporary.exists() {
        fs::remove_dir_all(&temporary)?;
    }
    let root = temporary.join("root");
    unpack::unpack(&archives, &root)?;
    wrappers::write(&temporary, &root, lab)?;
    let sums = unpack::sha256(&archives)?;
    let _ = fs::remove_file(lab.join("packages.json"));
    for name in ["root", "bin"] {
        let old = lab.join(name);
        if old.exists() {
            fs::rename(&old, temporary.join(format!("old-{name}")))?;
        }
        fs::rename(temporary.join(name), &old)?;
    }
    fs::remove_dir_all(&temporary)?;
    say(&format!("{} packages in {:.0?}", packages.len(), started.elapsed()));
    Ok(packages
        .into_iter()
        .zip(sums)
        .map(|(package, sha256)| Fetched { name: package.name, version: package.version, sha256 })
        .collect())
}

pub(crate) fn say(what: &str) {
    eprintln!("lab: {what}");
}

/// Held while filling: a second fill waits for the first.
pub(crate) fn lock(lab: &Path, command: &str) -> Result<fs::File> {
    let path = lab.join("lock");
    let file =
        fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        say(&format!("waiting for another `{command}` to finish"));
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
    }
    Ok(file)
}

/// The record of a filled lab; none if there is none that can be read.
pub(crate) fn read_record(lab: &Path) -> Option<Record> {
    serde_json::from_str(&fs::read_to_string(lab.join("packages.json")).ok()?).ok()
}

fn write_record(lab: &Path, record: &Record) -> Result<()> {
    let temporary = lab.join("packages.json.new");
    fs::write(&temporary, serde_json::to_string_pretty(record)? + "\n")?;
    fs::rename(&temporary, lab.join("packages.json"))?;
    Ok(())
}
