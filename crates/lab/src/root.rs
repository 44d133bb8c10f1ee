//! The filled lab on disk, and what is where in it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{fetch, own_kernel};

/// Where the lab is or would be: `$RINGFENCE_LAB`, or `target/lab` in the workspace.
pub fn place() -> PathBuf {
    match std::env::var_os("RINGFENCE_LAB") {
        Some(folder) if !folder.is_empty() => folder.into(),
        _ => workspace().join("target/lab"),
    }
}

/// The workspace this crate was built in.
pub fn workspace() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).expect("the lab is at crates/lab in the workspace").to_owned()
}

/// The lab, or what to do about its not being there.
pub fn root() -> Result<LabRoot> {
    LabRoot::at(&place())
}

/// A filled lab.
#[derive(Debug, Clone)]
pub struct LabRoot {
    folder: PathBuf,
}

/// A kernel of the lab.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// What `uname -r` says in it.
    pub release: String,
    /// The image a VMM loads; the program itself for User-Mode Linux.
    pub image: PathBuf,
    /// The folder of its modules (`…/modules/RELEASE`).
    pub modules: PathBuf,
}

impl LabRoot {
    pub(crate) fn at(folder: &Path) -> Result<Self> {
        let Some(record) = fetch::read_record(folder) else {
            bail!("there is no lab at {}: run `cargo xtask lab`", folder.display());
        };
        if !record.is_current() {
            bail!("the lab at {} is out of date: run `cargo xtask lab`", folder.display());
        }
        let folder = folder.canonicalize()?;
        Ok(Self { folder })
    }

    /// The lab's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A program of the lab by name, to be started directly.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        for folder in ["bin", "cargo/bin"] {
            let path = self.folder.join(folder).join(name);
            if path.is_file() {
                return Ok(path);
            }
        }
        bail!("the lab at {} has no program `{name}`", self.folder.display())
    }

    /// A file of the unpacked root, by its path from there.
    pub fn file(&self, path: &str) -> Result<PathBuf> {
        let found = self.folder.join("root").join(path);
        found
            .metadata()
            .with_context(|| format!("the lab has no {}", found.display()))
            .map(|_| found)
    }

    /// The newest kernel of a series such as `6.12` or `7`; `6.12-iommufd` is one that was built here
    /// ([`crate::own_kernel`]).
    pub fn kernel(&self, series: &str) -> Result<Kernel> {
        if let Some(number) = series.strip_suffix(own_kernel::SUFFIX) {
            let all = own_kernel::modules(&self.folder);
            let is_current = |release: &str| own_kernel::is_current(&self.folder, release);
            let release = newest(&all, number, is_current);
            let release = release.with_context(|| own_kernel::missing(self, series))?;
            let modules = all.join(&release);
            return Ok(Kernel { release, image: modules.join("vmlinuz"), modules });
        }
        let all = self.file("usr/lib/modules")?;
        let release = newest(&all, series, |_| true);
        let release = release.with_context(|| format!("the lab has no kernel {series}"))?;
        let modules = all.join(&release);
        // Newer packages keep the image beside the modules.
        let image = self.file(&format!("usr/lib/modules/{release}/vmlinuz"));
        let image = image.or_else(|_| self.file(&format!("boot/vmlinuz-{release}")))?;
        Ok(Kernel { release, image, modules })
    }

    /// User-Mode Linux.
    pub fn user_mode_linux(&self) -> Result<Kernel> {
        let all = self.file("usr/lib/uml/modules")?;
        let release = all
            .read_dir()?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .max()
            .context("the lab has no modules for User-Mode Linux")?;
        Ok(Kernel { image: self.program("linux.uml")?, modules: all.join(&release), release })
    }

    /// The statically linked busybox.
    pub fn busybox(&self) -> Result<PathBuf> {
        self.file("usr/bin/busybox").or_else(|_| self.file("bin/busybox"))
    }
}

/// The newest release of a series among those whose modules are in `all`.
fn newest(all: &Path, series: &str, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
    let names = all.read_dir().ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let releases = names.filter(|release| {
        let rest = release.strip_prefix(series);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
            && is_wanted(release)
    });
    releases.max_by_key(|release| (release.len(), release.clone()))
}
