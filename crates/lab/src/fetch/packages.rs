//! What the lab is made of, and the record of what was fetched.

use serde::{Deserialize, Serialize};

/// Raise this when the way the lab is unpacked or wrapped changes, so that old labs are refilled.
const RECIPE: u32 = 1;

/// Programs, with everything they depend on, from the newest suite.
pub(crate) const PROGRAMS: &[&str] = &[
    "qemu-system-x86",
    "qemu-utils",
    "seabios",
    "ipxe-qemu",
    "ovmf",
    "busybox-static",
    "e2fsprogs",
    "dosfstools",
    "mtools",
    "grub-common",
    "pciutils",
    "systemd",
    "udev",
    "kmod",
];

/// Packages of data or of programs that stand alone, without what they depend on.
pub(crate) const ALONE: &[&str] =
    &["coreutils", "grub-pc-bin", "grub-efi-amd64-bin", "initramfs-tools-core", "user-mode-linux"];

/// A kernel of Debian's: the newest a suite has.
#[derive(Debug)]
pub(crate) struct DebianKernel {
    /// The suite that has it.
    pub(crate) suite: &'static str,
    /// What its packages are called, without `linux-` in front and the release behind.
    pub(crate) parts: &'static [&'static str],
}

/// The meta package that depends on a suite's newest kernel.
pub(crate) const KERNEL: &str = "linux-image-amd64";

/// The meta package that depends on a suite's newest kernel source.
pub(crate) const SOURCE: &str = "linux-source";

/// The kernels: 6.12, whole in one package, and 7.x in three.
pub(crate) const KERNELS: &[DebianKernel] = &[
    DebianKernel { suite: "trixie", parts: &["image"] },
    DebianKernel { suite: "trixie-backports", parts: &["base", "binary", "modules"] },
];

/// Programs from crates.io, built by the machine's cargo: name and version.
pub(crate) const PEERS: &[(&str, &str)] = &[("vhost-device-rng", "0.1.0")];

/// The recipe a filled lab was made by; a lab with another one is refilled.
pub(crate) fn recipe() -> String {
    format!("{RECIPE} {PROGRAMS:?} {ALONE:?} {KERNELS:?}")
}

/// A package of an exact version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// Its version, epoch included.
    pub(crate) version: String,
    /// `amd64` or `all`.
    pub(crate) architecture: String,
}

impl Package {
    /// The file name apt gives its archive.
    pub(crate) fn file(&self) -> String {
        let version = self.version.replace(':', "%3a");
        format!("{}_{version}_{}.deb", self.name, self.architecture)
    }
}

/// One thing in the lab, as recorded in `packages.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The package or program.
    pub name: String,
    /// Its exact version.
    pub version: String,
    /// SHA-256 of the archive (Debian) or of the program built (crates.io).
    pub sha256: String,
}

/// `packages.json`: what is in the lab and how it came there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The recipe it was made by.
    pub(crate) recipe: String,
    /// The folder it was made for: one program has its loader's path inside.
    pub(crate) folder: String,
    /// Debian packages.
    pub packages: Vec<Fetched>,
    /// Programs from crates.io.
    pub peers: Vec<Fetched>,
}

/// Packages whose versions decide what a test shows, by how their names begin.
const PEERS_TOLD: &[&str] = &[
    "qemu-system-x86",
    "qemu-utils",
    "linux-image-",
    "linux-binary-",
    "user-mode-linux",
    "seabios",
    "ovmf",
    "pciutils",
];

impl Record {
    /// Whether it was made the way a lab is made now.
    pub(crate) fn is_current(&self) -> bool {
        self.recipe == recipe()
    }

    /// The versions to name beside a result: what the machines and backends are made of.
    pub fn versions(&self) -> String {
        let told =
            |fetched: &&Fetched| PEERS_TOLD.iter().any(|name| fetched.name.starts_with(name));
        let packages = self.packages.iter().filter(told);
        let all = packages.chain(&self.peers);
        let all: Vec<String> =
            all.map(|fetched| format!("{} {}", fetched.name, fetched.version)).collect();
        all.join(", ")
    }
}
