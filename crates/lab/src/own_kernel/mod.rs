//! Kernels with iommufd, which Debian's have not: built from Debian's source, with Debian's tools, as an
//! ordinary user and beside everything else in the lab.
//!
//! It takes minutes for each (five on two idle cores), so nothing builds them but [`fill`]; tests that
//! want one are skipped without it. A kernel is built again when Debian has a newer source or its configuration
//! (`iommufd.config`) is another one. An interrupted build is continued.

mod build;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::fetch::{apt::Apt, lock, packages::Package, say, unpack};
use crate::root::{LabRoot, place};
use tools::Tools;

/// What is on; all else is off, or as Kconfig has it by itself.
const CONFIG: &str = include_str!("iommufd.config");

/// Raise this when the way they are built changes.
const RECIPE: u32 = 1;

/// Suites whose newest kernel is built: 6.12, and one that knows `IOMMU_IOAS_MAP_FILE` (6.13).
const SUITES: &[&str] = &["trixie", "trixie-backports"];

/// How a kernel of the lab that has iommufd ends its series: `6.12-iommufd`.
pub(crate) const SUFFIX: &str = "-iommufd";

/// A kernel that was built here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    /// What `uname -r` says in it.
    pub release: String,
    /// Debian's package of the source, and its version.
    pub source: String,
    /// Bytes of the image.
    pub bytes: u64,
    /// How long it took, in seconds; of a build that was continued, its last part.
    pub seconds: u64,
    suite: String,
    recipe: String,
}

/// The kernels' folder in the lab; in it, `modules/RELEASE` as Debian's newer packages have it.
fn folder(lab: &Path) -> PathBuf {
    lab.join("iommufd")
}

/// Where those that are current have their images and lists of modules.
pub(crate) fn modules(lab: &Path) -> PathBuf {
    folder(lab).join("modules")
}

/// Whether `release` of them was built as one would be now, whatever the version of its source.
pub(crate) fn is_current(lab: &Path, release: &str) -> bool {
    record(lab, release).is_some_and(|built| built.recipe == recipe())
}

fn recipe() -> String {
    format!("{RECIPE}\n{CONFIG}")
}

fn record(lab: &Path, release: &str) -> Option<Built> {
    let path = modules(lab).join(release).join("built.json");
    serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
}

/// Builds what is missing and says on standard error how far it is.
pub fn fill() -> Result<Vec<Built>> {
    let lab = place();
    fs::create_dir_all(folder(&lab)).with_context(|| format!("cannot make {}", lab.display()))?;
    let lab = lab.canonicalize()?;
    let name = lab.to_str().filter(|name| !name.contains([' ', ':', '\'']));
    ensure!(
        name.is_some(),
        "Linux cannot be built below {}: its makefiles take no space, colon or quote in a path; set RINGFENCE_LAB to a folder without",
        lab.display()
    );
    let _lock = lock(&folder(&lab), "cargo xtask lab --iommufd")?;
    let sources = sources(&lab)?;
    let mut all = Vec::new();
    for (suite, source, archives) in sources {
        let version = format!("{} {}", source.name, source.version);
        let known = releases(&lab)?.into_iter().filter_map(|release| record(&lab, &release));
        let mut known = known.filter(|built| built.suite == suite);
        if let Some(built) = known.find(|built| built.source == version && built.recipe == recipe())
        {
            all.push(built);
            continue;
        }
        let (archive, tools) = archives.split_first().context("the source was downloaded")?;
        let tools = Tools::unpack(&folder(&lab).join("tools"), tools)?;
        let work = build::Work::begin(&folder(&lab).join("work"), &version, &recipe(), archive)?;
        let made = work.build(&tools, CONFIG)?;
        let built = Built {
            release: made.release.clone(),
            source: version,
            bytes: fs::metadata(&made.image)?.len(),
            seconds: made.seconds,
            suite: suite.to_owned(),
            recipe: recipe(),
        };
        keep(&lab, &made, &built)?;
        work.end()?;
        fs::remove_file(archive)?;
        all.push(built);
    }
    Ok(all)
}

/// A suite, its newest source, and the archives of that and of the tools.
type Source = (&'static str, Package, Vec<PathBuf>);

/// Of each suite what is to be built, all of it downloaded.
fn sources(lab: &Path) -> Result<Vec<Source>> {
    // The lists are the lab's own, whose lock is held no longer than they are needed.
    let _lock = lock(lab, "cargo xtask lab")?;
    say("fetching Debian's package lists");
    let apt = Apt::update(&lab.join("apt"))?;
    let tools = apt.closure(tools::PACKAGES)?;
    let mut sources = Vec::new();
    for suite in SUITES {
        let source = apt.source(suite)?;
        let is_built =
            releases(lab)?.into_iter().filter_map(|release| record(lab, &release)).any(|built| {
                built.source == format!("{} {}", source.name, source.version)
                    && built.recipe == recipe()
            });
        let mut packages = vec![source.clone()];
        packages.extend(tools.iter().cloned());
        let archives = if is_built {
            Vec::new()
        } else {
            apt.download(&packages, |done, missing| {
                say(&format!("downloading a kernel's source and tools, {done} of {missing}"));
            })?
        };
        sources.push((*suite, source, archives));
    }
    Ok(sources)
}

fn releases(lab: &Path) -> Result<Vec<String>> {
    let folder = modules(lab);
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let names = folder.read_dir()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.collect())
}

/// Puts a kernel where tests find it, in place of an older one of its suite.
fn keep(lab: &Path, made: &build::Made, built: &Built) -> Result<()> {
    let all = modules(lab);
    for release in releases(lab)? {
        let old = record(lab, &release);
        if old.is_none_or(|old| old.suite == built.suite || old.release == built.release) {
            fs::remove_dir_all(all.join(release))?;
        }
    }
    let folder = all.join(&built.release);
    // No modules; but this is where they would be.
    fs::create_dir_all(folder.join("kernel"))?;
    fs::copy(&made.image, folder.join("vmlinuz"))?;
    fs::copy(&made.config, folder.join("config"))?;
    fs::copy(&made.built_in, folder.join("modules.builtin"))?;
    // Last: without it there is no kernel.
    fs::write(folder.join("built.json"), serde_json::to_string_pretty(built)? + "\n")?;
    Ok(())
}

/// What to say where there is none.
pub(crate) fn missing(lab: &LabRoot, series: &str) -> String {
    format!(
        "the lab at {} has no kernel {series}: run `cargo xtask lab --iommufd` (ten minutes on two cores)",
        lab.folder().display()
    )
}

/// The one folder in `folder`.
fn only(folder: &Path) -> Result<PathBuf> {
    let mut entries: Vec<PathBuf> =
        folder.read_dir()?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    match (entries.pop(), entries.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => bail!("{} was to hold one folder", folder.display()),
    }
}
