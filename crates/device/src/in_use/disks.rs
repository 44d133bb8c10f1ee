//! From what is mounted or swapped to, through layers of block devices, to PCI functions.
//!
//! A mount names its device by number; a filesystem over several devices (btrfs) lists them
//! elsewhere, and ZFS nowhere in `/sys`: while one is mounted, no function with a disk is taken.
//! Layers (device mapper, LVM, RAID, multipath) name what they lie on as `slaves`; the paths of a
//! multipath NVMe namespace are in its subsystem.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ringfence_addr::PciAddress;
use ringfence_refusal::Fault;

use super::Use;
use crate::refusals::DISK;
use crate::root::{Root, entries, read, read_present, real};

/// Layers of block devices do not go deeper.
const DEPTH_MAX: usize = 16;

pub(super) fn uses(root: &Root) -> Result<Vec<Use>, Fault> {
    let mut uses = Vec::new();
    let mounts = read_present(&root.join("proc/self/mountinfo"))?;
    for mount in mounts.lines().filter_map(Mount::parse) {
        let what = format!("the filesystem at {} (on {})", mount.at, mount.source);
        if mount.kind == "zfs" {
            uses.push(Use { code: &DISK, what, functions: all_disks(root)? });
        } else if let Some(device) = mount.device(root)? {
            uses.push(used(root, what, &device)?);
        }
    }
    for name in entries(&root.join("sys/fs/btrfs"))? {
        let devices = root.join("sys/fs/btrfs").join(&name).join("devices");
        for device in entries(&devices)? {
            let what = format!("a part of the mounted btrfs {name} (on {device})");
            uses.push(used(root, what, &devices.join(&device))?);
        }
    }
    let swaps = read(&root.join("proc/swaps"))?.unwrap_or_default();
    for swap in swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next()) {
        // A swap file is on a mounted filesystem.
        if let Some(device) = named(root, swap)? {
            uses.push(used(root, format!("swap (on {swap})"), &device)?);
        }
    }
    Ok(uses)
}

fn used(root: &Root, what: String, device: &Path) -> Result<Use, Fault> {
    let mut functions = BTreeSet::new();
    collect(root, device, DEPTH_MAX, &mut BTreeSet::new(), &mut functions)?;
    Ok(Use { code: &DISK, what, functions: functions.into_iter().collect() })
}

/// The functions below a block device, through all layers.
fn collect(
    root: &Root,
    device: &Path,
    depth: usize,
    seen: &mut BTreeSet<PathBuf>,
    functions: &mut BTreeSet<PciAddress>,
) -> Result<(), Fault> {
    let Some(device) = real(device)? else { return Ok(()) };
    if depth == 0 || !seen.insert(device.clone()) {
        return Ok(());
    }
    functions.extend(root.functions_above(&device)?);
    // A partition lies on what its disk lies on.
    let mut folders = vec![device.clone()];
    if device.join("partition").exists() {
        folders.extend(device.parent().map(Path::to_path_buf));
    }
    for folder in folders {
        for slave in entries(&folder.join("slaves"))? {
            collect(root, &folder.join("slaves").join(slave), depth - 1, seen, functions)?;
        }
        let subsystem = folder.parent().filter(|parent| {
            let name = parent.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("nvme-subsys"))
        });
        if let Some(subsystem) = subsystem {
            for path in entries(subsystem)?.iter().filter(|name| name.starts_with("nvme")) {
                functions.extend(root.functions_above(&subsystem.join(path))?);
            }
        }
    }
    Ok(())
}

/// Every function with a disk.
fn all_disks(root: &Root) -> Result<Vec<PciAddress>, Fault> {
    let folder = root.join("sys/class/block");
    let mut functions = BTreeSet::new();
    for name in entries(&folder)? {
        collect(root, &folder.join(name), DEPTH_MAX, &mut BTreeSet::new(), &mut functions)?;
    }
    Ok(functions.into_iter().collect())
}

/// The folder of the block device that a path in `/dev` names.
fn named(root: &Root, path: &str) -> Result<Option<PathBuf>, Fault> {
    let Some(name) = path.strip_prefix("/dev/") else { return Ok(None) };
    // `/dev/mapper/x` and others are links to the name the kernel uses; some have a slash in it,
    // which sysfs writes as an exclamation mark.
    let linked = real(&root.join(format!("dev/{name}")))?;
    let linked = linked.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    for name in [linked.unwrap_or(name), name] {
        let folder = root.join("sys/class/block").join(name.replace('/', "!"));
        if folder.exists() {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}

/// A line of `/proc/self/mountinfo`.
struct Mount<'a> {
    number: &'a str,
    at: &'a str,
    kind: &'a str,
    source: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(2);
        let (number, at) = (front.next()?, front.nth(1)?);
        let mut back = back.split(' ');
        Some(Self { number, at, kind: back.next()?, source: back.next()? })
    }

    fn device(&self, root: &Root) -> Result<Option<PathBuf>, Fault> {
        let by_number = root.join("sys/dev/block").join(self.number);
        if by_number.exists() {
            return Ok(Some(by_number));
        }
        // btrfs and overlays mount under numbers of no device.
        named(root, self.source)
    }
}
