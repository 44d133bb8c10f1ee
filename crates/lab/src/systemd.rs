//! A machine whose first process is systemd, from Debian's own packages.
//!
//! Just enough of it to run services as on a host: the manager, what it loads, `systemctl`, and the
//! targets every service asks for. The machine's script is a service like others, and the last.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::initramfs::Initramfs;
use crate::libraries;
use crate::root::LabRoot;

const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

const PROGRAMS: &[&str] =
    &["usr/lib/systemd/systemd", "usr/lib/systemd/systemd-executor", "usr/bin/systemctl"];

/// What systemd loads only when it is there, and without which it would leave out what a unit asks
/// for, or refuse the unit.
const LOADED_LATER: &[&str] = &[
    "libacl.so.1",
    "libapparmor.so.1",
    "libaudit.so.1",
    "libblkid.so.1",
    "libcrypt.so.1",
    "libmount.so.1",
    "libpam.so.0",
    "libseccomp.so.2",
    "libselinux.so.1",
];

/// The units that services ask for unless they say otherwise.
const UNITS: &[&str] =
    &["sysinit.target", "basic.target", "local-fs.target", "shutdown.target", "umount.target"];

/// systemd begins with this machine's script, and nothing else.
const DEFAULT_TARGET: &str = "[Unit]\nRequires=lab-script.service\n";

const SCRIPT_SERVICE: &str = "\
[Service]
Type=oneshot
ExecStart=/bin/sh /lab-script
";

/// As the other machines' `init` says how it went.
const SCRIPT: &str = "\
export PATH=/bin:/usr/bin HOME=/root TERM=dumb
exec >/dev/console 2>&1 </dev/console
echo \"@@ lab-ready=$(uname -r)\"
sh /script
echo \"@@ lab-exit=$?\"
sync
poweroff -f
";

/// The first root cannot be left behind by a service with a root of its own, so systemd gets
/// another, as on a host.
const HAND_OVER: &str = "\
mkdir /host && mount -t tmpfs -o mode=755,size=75% host /host
cp -a /bin /etc /lib /lib64 /usr /script /lab-script /host
cd /host && mkdir -p dev mnt proc root run srv sys tmp var && chmod 700 root && chmod 1777 tmp
chmod 666 /dev/full /dev/null /dev/random /dev/tty /dev/urandom /dev/zero
umount /tmp && mount --move /dev dev && mount --move /proc proc && mount --move /sys sys
exec switch_root /host /usr/lib/systemd/systemd
";

/// What finds a driver for each device, in the initramfs and after it, and who keeps the log of it.
const UDEV_PROGRAMS: &[&str] = &[
    "usr/bin/journalctl",
    "usr/bin/udevadm",
    // Loaded only when it is there.
    "usr/lib/x86_64-linux-gnu/libkmod.so.2",
    "usr/lib/systemd/systemd-journald",
    "usr/lib/systemd/systemd-modules-load",
    "usr/lib/systemd/systemd-udevd",
];

const UDEV_FILES: &[&str] = &[
    "usr/lib/systemd/system/systemd-journald-dev-log.socket",
    "usr/lib/systemd/system/systemd-journald.service",
    "usr/lib/systemd/system/systemd-journald.socket",
    "usr/lib/systemd/system/systemd-modules-load.service",
    "usr/lib/systemd/system/systemd-udev-settle.service",
    "usr/lib/systemd/system/systemd-udev-trigger.service",
    "usr/lib/systemd/system/systemd-udevd-control.socket",
    "usr/lib/systemd/system/systemd-udevd-kernel.socket",
    "usr/lib/systemd/system/systemd-udevd.service",
    "usr/lib/udev/rules.d/50-udev-default.rules",
    "usr/lib/udev/rules.d/80-drivers.rules",
];

/// The links that Debian's packages have for them, as one file.
const UDEV_WANTED: &str = "\
[Unit]
Wants=systemd-journald.service systemd-modules-load.service
Wants=systemd-udevd.service systemd-udev-trigger.service
";

/// As Debian's initramfs does it, by its own script; then the modules that a hook asked for, and a
/// look of the test's. What is left to do is done in the root.
const UDEV_SCRIPT: &str = "usr/share/initramfs-tools/scripts/init-top/udev";
const UDEV_IN_INITRAMFS: &str = "\
PATH=/bin:/usr/bin sh -e /init-top-udev
[ ! -e /conf/modules ] || while read -r module; do modprobe $module; done < /conf/modules
[ ! -e /initramfs-look ] || sh /initramfs-look
/usr/bin/udevadm settle; /usr/bin/udevadm control --exit
";

/// Adds udev, to be there before systemd is, and a log.
pub(crate) fn add_udev(initramfs: Initramfs, lab: &LabRoot) -> Result<Initramfs> {
    let mut initramfs = with_programs(initramfs, lab, UDEV_PROGRAMS.iter().copied())?;
    for path in UDEV_FILES {
        initramfs = initramfs.file(format!("/{path}"), read(lab, path)?);
    }
    Ok(initramfs
        .file("/init-top-udev", read(lab, UDEV_SCRIPT)?)
        .file("/etc/systemd/system/sysinit.target.d/udev.conf", UDEV_WANTED)
        .hand_over(UDEV_IN_INITRAMFS))
}

/// Adds systemd to what a guest starts with, and the lab's `libraries` for programs of the host.
pub(crate) fn add(initramfs: Initramfs, lab: &LabRoot, more: &[&str]) -> Result<Initramfs> {
    let libraries: Vec<String> =
        LOADED_LATER.iter().chain(more).map(|name| format!("{LIBRARIES}/{name}")).collect();
    let programs = PROGRAMS.iter().copied().chain(libraries.iter().map(String::as_str));
    let mut initramfs = with_programs(initramfs, lab, programs)?;
    for name in UNITS {
        let path = format!("usr/lib/systemd/system/{name}");
        initramfs = initramfs.file(format!("/{path}"), read(lab, &path)?);
    }
    Ok(initramfs
        .file("/lib64/ld-linux-x86-64.so.2", read(lab, LOADER)?)
        .file("/etc/os-release", "ID=lab\nNAME=lab\n")
        .file("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        .file("/etc/passwd", "root:x:0:0::/root:/bin/sh\noperator:x:1000:1000::/:/bin/sh\n")
        .file("/etc/group", "root:x:0:\noperator:x:1000:\n")
        .file("/etc/systemd/system/default.target", DEFAULT_TARGET)
        .file("/etc/systemd/system/lab-script.service", SCRIPT_SERVICE)
        .file("/lab-script", SCRIPT)
        .hand_over(HAND_OVER))
}

/// Adds programs or libraries of the lab, and the libraries they need.
fn with_programs<'a>(
    initramfs: Initramfs,
    lab: &LabRoot,
    paths: impl Iterator<Item = &'a str>,
) -> Result<Initramfs> {
    let mut files = BTreeSet::new();
    for path in paths {
        files.extend(needed_by(lab, path)?);
        files.insert(path.to_owned());
    }
    let mut initramfs = initramfs;
    for path in &files {
        initramfs = initramfs.file(format!("/{path}"), read(lab, path)?);
    }
    Ok(initramfs)
}

fn read(lab: &LabRoot, path: &str) -> Result<Vec<u8>> {
    let file = lab.file(path)?;
    std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
}

/// The libraries that a program or library of the lab needs, by their paths in its root.
fn needed_by(lab: &LabRoot, file: &str) -> Result<Vec<String>> {
    let libraries = lab.file(LIBRARIES)?;
    let systemd_own = libraries.join("systemd");
    // The loader can be asked without running the program.
    let mut loader = Command::new(lab.file(LOADER)?);
    loader
        .arg("--library-path")
        .arg(format!("{}:{}", libraries.display(), systemd_own.display()))
        .arg("--list")
        .arg(lab.file(file)?);
    let found = libraries::listed(&mut loader).with_context(|| format!("{file} of the lab"))?;
    let root = lab.file("")?;
    let within = |path: PathBuf| Some(path.strip_prefix(&root).ok()?.to_str()?.to_owned());
    Ok(found.into_iter().filter_map(within).collect())
}
