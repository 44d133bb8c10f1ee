//! A file system that has what was granted and nothing else.
//!
//! Everything is mounted on an empty file system in memory, which then takes the place of the old
//! root; the old root is detached. What is mounted is what was there: changes of the contents show
//! on both sides.

use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use ringfence_refusal::Fault;
use rustix::fs::{Mode, OFlags, StatVfsMountFlags, mkdir, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{chdir, pivot_root};
use serde::{Deserialize, Serialize};

use crate::profile::{Access, Grant, Profile};
use crate::report::{Protection, Report};

/// Where the old root is meanwhile.
const OLD: &str = "/.old";

/// Folders to mount the new root on before it takes its place: whichever is there.
const STAGES: [&str; 4] = ["/tmp", "/run", "/mnt", "/usr"];

/// How large what a process keeps in its temporary folders may be.
const TEMPORARY: &CStr = c"mode=1777,size=64m,nr_inodes=16k";

/// The new root holds mount points only.
const ROOT: &CStr = c"mode=0755,size=1m,nr_inodes=4k";

/// A grant whose links have been followed, while they could be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resolved {
    /// The path by which it was granted.
    given: PathBuf,
    /// Where it is.
    real: PathBuf,
    access: Access,
}

impl Resolved {
    /// The same as a grant, with nothing left to follow.
    pub(crate) fn grant(&self) -> Grant {
        Grant::if_there(&self.real, self.access)
    }

    /// Whether mounting this one mounts `other` as well.
    fn includes(&self, other: &Self) -> bool {
        other.real.starts_with(&self.real) && self.access.write == other.access.write
    }
}

/// Follows the links of all grants; what is optional and not there is left out.
pub(crate) fn resolve(grants: &[Grant]) -> Result<Vec<Resolved>, (PathBuf, io::Error)> {
    let mut resolved = Vec::new();
    for grant in grants {
        let given = std::path::absolute(&grant.path).unwrap_or_else(|_| grant.path.clone());
        match grant.path.canonicalize() {
            Ok(real) => resolved.push(Resolved { given, real, access: grant.access }),
            Err(_) if grant.optional => {}
            Err(error) => return Err((given, error)),
        }
    }
    // Folders before what is in them.
    resolved.sort_by(|one, other| one.real.cmp(&other.real));
    Ok(resolved)
}

/// What the rules on files are to allow in addition. The host's own folders of these names are
/// given to nobody.
pub(crate) fn further_grants(profile: &Profile, has_own_root: bool) -> Vec<Grant> {
    let mut grants = Vec::new();
    if profile.temporary && has_own_root {
        grants.push(Grant::if_there("/proc", Access::READ));
        grants.push(Grant::if_there("/tmp", Access::WRITE));
        grants.push(Grant::if_there("/dev/shm", Access::WRITE));
    } else if profile.temporary {
        grants.push(Grant::if_there("/proc/self", Access::READ));
    }
    grants
}

/// Makes the new root the root. Gives back the host's `/proc`.
///
/// # Errors
///
/// A fault when it cannot be finished; before anything has changed, the report says why not.
pub(crate) fn build(
    profile: &Profile,
    grants: &[Resolved],
    own_processes: bool,
    report: &mut Report,
) -> Result<Option<OwnedFd>, Fault> {
    let folder = std::env::current_dir();
    let Some(stage) = STAGES.into_iter().find(|stage| Path::new(stage).is_dir()) else {
        report.lacks(Protection::MountNamespace, "there is no folder to mount a new root on");
        return Ok(None);
    };
    let begun = mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .and_then(|()| mount("ringfence", stage, "tmpfs", hardened(), ROOT));
    if let Err(errno) = begun {
        report.lacks(Protection::MountNamespace, format!("the host refuses to mount: {errno}"));
        return Ok(None);
    }
    let mut finish = || -> io::Result<OwnedFd> {
        chdir(stage)?;
        mkdir(".old", Mode::RWXU)?;
        pivot_root(".", ".old")?;
        chdir("/")?;
        let proc = rustix::fs::open(
            format!("{OLD}/proc"),
            OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY,
            Mode::empty(),
        )?;
        if profile.temporary {
            // Before what is granted, which may be in them, or they themselves.
            for path in ["/tmp", "/dev/shm"] {
                temporary(path).map_err(|error| about(Path::new(path), &error))?;
            }
            show_processes(own_processes, report)?;
        }
        for (index, grant) in grants.iter().enumerate() {
            if !grants[..index].iter().any(|earlier| earlier.includes(grant)) {
                give(grant).map_err(|error| about(&grant.real, &error))?;
            }
        }
        for grant in grants.iter().filter(|grant| grant.given != grant.real) {
            link(grant).map_err(|error| about(&grant.given, &error))?;
        }
        if let Ok(folder) = &folder {
            let _ = make_folders(folder);
        }
        unmount(OLD, UnmountFlags::DETACH)?;
        rustix::fs::rmdir(OLD)?;
        mount_remount("/", hardened() | MountFlags::BIND | MountFlags::RDONLY, c"")?;
        // A relative path goes on meaning what it meant.
        if folder.as_ref().is_ok_and(|folder| chdir(folder).is_ok()) {
            return Ok(proc);
        }
        chdir("/")?;
        Ok(proc)
    };
    finish().map(Some).map_err(|error| Fault::new("make", "the jail's file system", error))
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn hardened() -> MountFlags {
    MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC
}

/// Mounts a granted path where it was.
fn give(grant: &Resolved) -> io::Result<()> {
    let source = beneath_old(&grant.real);
    if source.is_dir() {
        make_folders(&grant.real)?;
    } else {
        make_file(&grant.real)?;
    }
    mount_bind_recursive(&source, &grant.real)?;
    // What the host holds its mount to is kept: a user namespace may not let go of it.
    let before = statvfs(&grant.real)?.f_flag;
    let kept = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let mut flags = MountFlags::BIND | MountFlags::NOSUID;
    for (seen, flag) in kept {
        if before.contains(seen) {
            flags |= flag;
        }
    }
    if !grant.access.write {
        flags |= MountFlags::RDONLY;
    }
    if !grant.real.starts_with("/dev") {
        flags |= MountFlags::NODEV;
    }
    Ok(mount_remount(&grant.real, flags, c"")?)
}

/// Lets a path that led somewhere by links lead there again.
fn link(grant: &Resolved) -> io::Result<()> {
    if grant.given.symlink_metadata().is_ok() {
        return Ok(());
    }
    if let Some(parent) = grant.given.parent() {
        make_folders(parent)?;
    }
    // A path that goes up again leads there as soon as what it goes through is there.
    if grant.given.symlink_metadata().is_ok() {
        return Ok(());
    }
    std::os::unix::fs::symlink(&grant.real, &grant.given)
}

/// Mounts an empty folder at `path`.
fn temporary(path: &str) -> io::Result<()> {
    make_folders(Path::new(path))?;
    Ok(mount("ringfence", path, "tmpfs", hardened(), TEMPORARY)?)
}

/// Shows the process its own processes, or itself where it shares the host's.
fn show_processes(own: bool, report: &mut Report) -> io::Result<()> {
    make_folders(Path::new("/proc"))?;
    if own {
        let flags = hardened() | MountFlags::RDONLY;
        if let Err(errno) = mount("proc", "/proc", "proc", flags, None) {
            let reason = format!("without /proc, which the host refuses to mount: {errno}");
            report.held_but(Protection::ProcessNamespace, reason);
        }
        return Ok(());
    }
    make_folders(Path::new("/proc/self"))?;
    let own = format!("{OLD}/proc/{}", std::process::id());
    Ok(mount_bind_recursive(own, "/proc/self")?)
}

fn beneath_old(path: &Path) -> PathBuf {
    let beneath = path.components().filter(|part| !matches!(part, Component::RootDir));
    Path::new(OLD).join(beneath.collect::<PathBuf>())
}

fn make_folders(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn make_file(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_folders(parent)?;
    }
    std::fs::File::create(path).map(drop)
}
