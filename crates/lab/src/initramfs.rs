//! A guest's first file system, built by value for every machine.
//!
//! It holds busybox under all its names, the modules asked for with what they depend on, programs of
//! ours with their libraries, files, and a script. Its `init` mounts what Linux expects, loads the
//! modules, runs the script and says on the console how that ended, as `@@ key=value` records
//! ([`crate::Console`]).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cpio::Archive;
use crate::root::{Kernel, LabRoot};
use crate::{libraries, modules};

/// What a guest starts with.
#[derive(Debug, Clone, Default)]
pub struct Initramfs {
    modules: Vec<String>,
    modules_at_hand: Vec<String>,
    binaries: Vec<PathBuf>,
    files: Vec<(String, Vec<u8>)>,
    script: String,
    hand_over: String,
    archives: Vec<Vec<u8>>,
}

impl Initramfs {
    /// One with busybox and nothing to do.
    pub fn new() -> Self {
        Self::default()
    }

    /// Loads a kernel module, and before it what it depends on.
    #[must_use]
    pub fn module(mut self, name: impl Into<String>) -> Self {
        self.modules.push(name.into());
        self
    }

    /// Has a kernel module, and what it depends on, ready to be loaded by whoever finds a use for it.
    #[must_use]
    pub(crate) fn module_at_hand(mut self, name: impl Into<String>) -> Self {
        self.modules_at_hand.push(name.into());
        self
    }

    /// Puts a program of this machine into `/bin`, and the libraries it needs where they are here.
    #[must_use]
    pub fn binary(mut self, program: impl Into<PathBuf>) -> Self {
        self.binaries.push(program.into());
        self
    }

    /// Puts a file at an absolute path.
    #[must_use]
    pub fn file(mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// Runs these lines of shell, after those given before.
    #[must_use]
    pub fn script(mut self, lines: &str) -> Self {
        self.script.push_str(lines);
        self.script.push('\n');
        self
    }

    /// Has `init` become something else by these lines of shell, after those given before, once
    /// everything is loaded; that is to run the script.
    #[must_use]
    pub(crate) fn hand_over(mut self, lines: &str) -> Self {
        self.hand_over.push_str(lines);
        self
    }

    /// Unpacks another archive over this one, as Linux does with one that follows.
    #[must_use]
    pub(crate) fn archive(mut self, archive: Vec<u8>) -> Self {
        self.archives.push(archive);
        self
    }

    /// The archive, for this kernel.
    pub fn build(&self, lab: &LabRoot, kernel: &Kernel) -> Result<Vec<u8>> {
        let mut image = Image::default();
        for folder in ["/bin", "/dev", "/etc", "/lib", "/lib/modules", "/mnt", "/proc", "/root"] {
            image.folder(folder);
        }
        for folder in ["/run", "/sys", "/tmp"] {
            image.folder(folder);
        }
        let busybox = lab.busybox()?;
        image.archive.file("/bin/busybox", 0o755, &read(&busybox)?);
        for applet in applets(&busybox)? {
            if applet != "busybox" {
                image.archive.link(&format!("/bin/{applet}"), "busybox");
            }
        }
        let mut load = String::new();
        for module in modules::with_dependencies(kernel, &self.modules)? {
            let path = format!("/lib/modules/{}.ko", module.name);
            image.archive.file(&path, 0o644, &module.object);
            load.push_str(&format!(
                "insmod {path} || {{ echo '@@ lab-failed=insmod {}'; end; }}\n",
                module.name
            ));
        }
        if !self.modules_at_hand.is_empty() {
            let folder = format!("/lib/modules/{}", kernel.release);
            image.folder(&folder);
            for (name, content) in modules::indexed(lab, kernel, &self.modules_at_hand)? {
                image.archive.file(&format!("{folder}/{name}"), 0o644, &content);
            }
        }
        let mut needed = BTreeSet::new();
        for binary in &self.binaries {
            let name = binary.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("{} has no name", binary.display()))?;
            image.archive.file(&format!("/bin/{name}"), 0o755, &read(binary)?);
            needed.extend(libraries::of(binary)?);
        }
        for library in &needed {
            let path = library.to_str().context("a library's name is text")?;
            image.parents(path);
            image.archive.file(path, 0o755, &read(library)?);
        }
        for (path, content) in &self.files {
            if !path.starts_with('/') {
                bail!("a guest's file must have an absolute path, not `{path}`");
            }
            image.parents(path);
            image.archive.file(path, 0o755, content);
        }
        let init = INIT.replace("LOAD-MODULES\n", &load).replace("HAND-OVER\n", &self.hand_over);
        image.archive.file("/init", 0o755, init.as_bytes());
        image.archive.file("/script", 0o755, self.script.as_bytes());
        let mut bytes = image.archive.finish();
        for archive in &self.archives {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes.extend(archive);
        }
        Ok(bytes)
    }
}

/// The script's own standard input is the console, so that a test can talk to it.
const INIT: &str = "\
#!/bin/busybox sh
export PATH=/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null || mount -t tmpfs dev /dev && mdev -s
mount -t tmpfs tmp /tmp
end() { sync; poweroff -f; sleep 60; }
LOAD-MODULES
HAND-OVER
echo \"@@ lab-ready=$(uname -r)\"
sh /script
echo \"@@ lab-exit=$?\"
end
";

#[derive(Default)]
struct Image {
    archive: Archive,
    folders: BTreeSet<String>,
}

impl Image {
    fn folder(&mut self, path: &str) {
        if self.folders.insert(path.to_owned()) {
            self.archive.folder(path);
        }
    }

    fn parents(&mut self, path: &str) {
        for (place, _) in path.match_indices('/').skip(1) {
            self.folder(&path[..place]);
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The names busybox answers to. It is linked statically, so the host can be asked.
fn applets(busybox: &Path) -> Result<Vec<String>> {
    let output = Command::new(busybox)
        .arg("--list")
        .output()
        .with_context(|| format!("cannot start {}", busybox.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}
