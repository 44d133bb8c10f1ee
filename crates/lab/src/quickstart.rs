//! What `examples/quickstart/vm.toml` starts from: a kernel, an initramfs and a disk.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::initramfs::Initramfs;
use crate::root::{LabRoot, workspace};

/// The quickstart's files, all in one folder.
#[derive(Debug, Clone)]
pub struct Quickstart {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initramfs with the guest's script.
    pub initrd: PathBuf,
    /// A raw image of 64 MiB with an empty ext4 labelled `ringfence`.
    pub disk: PathBuf,
}

/// Makes what is missing or out of date. A disk that is there is kept, data and all.
pub fn prepare(lab: &LabRoot) -> Result<Quickstart> {
    let folder = lab.folder().join("quickstart");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let kernel = lab.kernel("6.12")?;
    let files = Quickstart {
        kernel: folder.join("vmlinuz"),
        initrd: folder.join("initrd.img"),
        disk: folder.join("disk.img"),
    };
    link(&kernel.image, &files.kernel)?;
    let script = workspace().join("examples/quickstart/guest-init.sh");
    let script =
        fs::read_to_string(&script).with_context(|| format!("cannot read {}", script.display()))?;
    let initrd = Initramfs::new()
        .module("virtio_blk")
        .module("crc32c_generic")
        .module("ext4")
        .script(&script)
        .build(lab, &kernel)?;
    if fs::read(&files.initrd).ok().as_ref() != Some(&initrd) {
        replace(&files.initrd, &initrd)?;
    }
    if !files.disk.exists() {
        format_disk(lab, &files.disk)?;
    }
    Ok(files)
}

/// Makes the quickstart's disk anew.
pub fn renew_disk(lab: &LabRoot, files: &Quickstart) -> Result<()> {
    format_disk(lab, &files.disk)
}

fn format_disk(lab: &LabRoot, path: &Path) -> Result<()> {
    let temporary = path.with_extension("new");
    // A file left over would be formatted at the size it has.
    let _ = fs::remove_file(&temporary);
    let output = Command::new(lab.program("mke2fs")?)
        .args(["-q", "-F", "-t", "ext4", "-L", "ringfence"])
        .arg(&temporary)
        .arg("64M")
        .output()
        .context("cannot start mke2fs")?;
    if !output.status.success() {
        let talk = String::from_utf8_lossy(&output.stderr);
        bail!("mke2fs cannot format {}: {}", temporary.display(), talk.trim());
    }
    fs::rename(&temporary, path)
        .with_context(|| format!("cannot put the new disk at {}", path.display()))
}

fn link(target: &Path, path: &Path) -> Result<()> {
    if fs::read_link(path).ok().as_deref() == Some(target) {
        return Ok(());
    }
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    symlink(target, &temporary)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot link {}", path.display()))
}

fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, content)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
