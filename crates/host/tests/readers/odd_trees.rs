//! Trees in which each name in turn is something else than it ought to be.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringfence_host::read::{self, Options, Snapshot};

use crate::trees::Tree;

/// What a name can be made, and how.
type Oddity = (&'static str, fn(&Path));

const ODDITIES: &[Oddity] = &[
    ("a pipe nobody writes to", |path| {
        assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
    }),
    ("a directory", |path| fs::create_dir(path).expect("a directory")),
    ("a link to itself", |path| {
        symlink(path.file_name().expect("a name"), path).expect("a link");
    }),
    ("a link to nothing", |path| symlink("no/such/thing", path).expect("a link")),
    ("a device without end", |path| symlink("/dev/zero", path).expect("a link")),
    ("ten gigabytes of nothing", |path| {
        fs::File::create(path).expect("a file").set_len(10 << 30).expect("a sparse file");
    }),
    ("an empty file", |path| fs::write(path, "").expect("a file")),
    ("garbage", |path| {
        let bytes: Vec<u8> = (0..=255u8).rev().cycle().take(5000).collect();
        fs::write(path, bytes).expect("a file");
    }),
];

/// More than the snapshot of any of these trees has, whatever is in it: each text that is kept has
/// a bound.
const LARGEST_SNAPSHOT: usize = 4 << 20;

/// Every name of a function, of its group and of the kernel, made each of the oddities: there is a
/// host, or it says why there is none, it is no larger than real ones, and its snapshot says the
/// same.
pub(crate) fn every_name_may_be_anything() {
    let tree = Tree::of_capture("i2-switch.txt");
    let function = "sys/bus/pci/devices/0000:03:00.0";
    let target = fs::canonicalize(tree.root().join(function)).expect("it is there");
    let mut names = names_in(&target);
    names.extend(
        ["power", "reset_method", "resource", "removable", "physfn", "iommu"]
            .map(|name| target.join(name)),
    );
    names.extend(
        [
            "proc",
            "proc/cmdline",
            "proc/cpuinfo",
            "proc/sys/kernel/osrelease",
            "sys/class/iommu",
            "sys/firmware",
            "sys/kernel/iommu_groups",
            "sys/kernel/iommu_groups/1/reserved_regions",
            "sys/kernel/iommu_groups/1/type",
            function,
            "sys/bus/pci/devices",
            "sys/bus",
            "sys",
        ]
        .map(|name| tree.root().join(name)),
    );
    let aside = tree.root().join("aside");
    for name in names {
        let was_there = name.symlink_metadata().is_ok();
        if was_there {
            fs::rename(&name, &aside).expect("it can be moved");
        }
        for (oddity, make) in ODDITIES {
            make(&name);
            check(tree.root(), &format!("{} as {oddity}", name.display()));
            remove(&name);
        }
        if was_there {
            fs::rename(&aside, &name).expect("it can be moved back");
        }
    }
}

fn check(root: &Path, what: &str) {
    let Ok((snapshot, host)) = Snapshot::take(root, Options::default()) else {
        assert!(read::directory(root, Options::default()).is_err(), "{what}");
        return;
    };
    assert_eq!(read::directory(root, Options::default()).expect(what), host, "{what}");
    let length = snapshot.as_text().len();
    assert!(length < LARGEST_SNAPSHOT, "{what}: {length} bytes of snapshot");
    assert_eq!(snapshot.read().expect(what), host, "{what}");
}

fn names_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("a name").path()).collect();
    names.sort();
    names
}

fn remove(path: &Path) {
    let is_directory = path.symlink_metadata().expect("it was made").is_dir();
    let removed = if is_directory { fs::remove_dir(path) } else { fs::remove_file(path) };
    removed.expect("what was made can be removed");
}
