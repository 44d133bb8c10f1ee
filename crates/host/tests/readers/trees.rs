//! Trees shaped like `/`, made from captures of real kernels, and snapshots of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use ringfence_host::{Fact, Header, Host, Unknown, read};

use libtest_mimic::Completion;

use crate::data;

/// A directory that goes when it is no longer needed.
pub(crate) struct Tree(PathBuf);

impl Tree {
    /// An empty one.
    fn new(name: &str) -> Self {
        // Tests run at the same time, and each has its own.
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tree-{number}-{name}"));
        if root.exists() {
            fs::remove_dir_all(&root).expect("an old tree can be removed");
        }
        Self(root)
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().expect("a link is in a folder")).expect("a folder");
        symlink(target, path).expect("a link");
    }

    /// What a capture shows, as the kernel would have shown it in sysfs.
    pub(crate) fn of_capture(name: &str) -> Self {
        let tree = Self::new(name);
        let path = data::root().join("oracle").join(name);
        let text = fs::read(path).expect("a readable capture");
        let text = String::from_utf8_lossy(&text).into_owned();
        let mut config: Option<(String, Vec<u8>)> = None;
        let mut group = String::new();
        for line in text.lines() {
            let Some((_, line)) = line.split_once("@@") else { continue };
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            if word != "cfg"
                && let Some((path, mut bytes)) = config.take()
            {
                bytes.resize(4096, 0);
                tree.write(&path, bytes);
            }
            match word {
                "uname" => tree.write("proc/sys/kernel/osrelease", format!("{rest}\n")),
                "cmdline" => tree.write("proc/cmdline", format!("{rest}\n")),
                "iommu" => tree.write(&format!("sys/class/iommu/{rest}/x"), ""),
                "dev" => config = Some((tree.add(rest), Vec::new())),
                "cfg" => {
                    let (_, bytes) = config.as_mut().expect("config space follows its function");
                    bytes.extend((0..rest.len() / 2).map(|at| {
                        u8::from_str_radix(&rest[at * 2..at * 2 + 2], 16).expect("hexadecimal")
                    }));
                }
                "group" => {
                    group = format!(
                        "sys/kernel/iommu_groups/{}",
                        rest.split(' ').next().expect("a number")
                    );
                    tree.write(&format!("{group}/type"), "DMA\n");
                    tree.write(&format!("{group}/reserved_regions"), "");
                }
                "resv" => {
                    let path = format!("{group}/reserved_regions");
                    let before = fs::read_to_string(tree.0.join(&path)).expect("the group's file");
                    tree.write(&path, format!("{before}{rest}\n"));
                }
                _ => {}
            }
        }
        tree
    }

    /// Adds one function, and gives the path of its config space.
    fn add(&self, line: &str) -> String {
        let mut words = line.split(' ');
        let address = words.next().expect("an address");
        let value = |name: &str| {
            line.split(' ')
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
                .expect("a value")
        };
        let path = format!("sys/devices/{}", value("path"));
        let (vendor, device) = value("id").split_once(':').expect("two ids");
        self.write(&format!("{path}/vendor"), format!("{vendor}\n"));
        self.write(&format!("{path}/device"), format!("{device}\n"));
        self.write(&format!("{path}/class"), format!("{}\n", value("class")));
        if value("driver") != "none" {
            let target = format!("../../../bus/pci/drivers/{}", value("driver"));
            self.link(&format!("{path}/driver"), &target);
        }
        if value("group") != "none" {
            let target = format!("../../../kernel/iommu_groups/{}", value("group"));
            self.link(&format!("{path}/iommu_group"), &target);
        }
        let target = format!("../../../devices/{}", value("path"));
        self.link(&format!("sys/bus/pci/devices/{address}"), &target);
        format!("{path}/config")
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    fn read(&self) -> Host {
        read::directory(&self.0, read::Options::default()).expect("a tree with functions")
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // Nothing depends on it: the next run removes what is left.
        _ = fs::remove_dir_all(&self.0);
    }
}

fn captures() -> impl Iterator<Item = (String, Host)> {
    data::files("oracle", ".txt").into_iter().filter_map(|path| {
        let host = read::from_path(&path).ok()?;
        Some((data::name(&path), host))
    })
}

/// A tree says what the capture says of which it was made.
pub(crate) fn a_tree_says_what_its_capture_says() {
    let mut compared = 0;
    for (name, captured) in captures() {
        let host = Tree::of_capture(&name).read();
        assert_eq!(host.kernel.release, captured.kernel.release, "{name}");
        assert_eq!(host.kernel.command_line, captured.kernel.command_line, "{name}");
        assert_eq!(host.reserved_regions, captured.reserved_regions, "{name}");
        assert_eq!(host.functions.len(), captured.functions.len(), "{name}");
        for (address, expected) in &captured.functions {
            let mut found = host.functions[address].clone();
            found.reset_methods = expected.reset_methods.clone();
            found.physical_function = expected.physical_function;
            assert_eq!(&found, expected, "{name}");
        }
        compared += 1;
    }
    assert!(compared >= 11, "only {compared} captures");
}

/// A host read live and the same read back from its snapshot are one value.
pub(crate) fn a_snapshot_reads_back_as_what_was_read() {
    for (name, _) in captures() {
        let tree = Tree::of_capture(&name);
        check_snapshot(&tree.0, &name);
        // And as anybody else than root would read it.
        for entry in fs::read_dir(tree.0.join("sys/bus/pci/devices")).expect("functions") {
            let config = entry.expect("a function").path().join("config");
            let bytes = fs::read(&config).expect("config space");
            fs::write(config, &bytes[..64]).expect("less of it");
        }
        let host = check_snapshot(&tree.0, &name);
        let hidden = Fact::Unknown(Unknown::NeedsRoot);
        assert!(host.functions.values().any(|function| function.acs == hidden), "{name}");
    }
}

fn check_snapshot(root: &Path, name: &str) -> Host {
    let (snapshot, host) = read::Snapshot::take(root, read::Options::default()).expect("a host");
    assert_eq!(snapshot.read().expect("it was just made"), host, "{name}");
    assert_eq!(read::directory(root, read::Options::default()).expect("a host"), host, "{name}");
    host
}

/// Each kind of source is recognised by what is in it.
pub(crate) fn sources_are_told_apart() {
    let tree = Tree::of_capture("i6-sriov.txt");
    let host = tree.read();
    assert_eq!(read::from_path(&tree.0).expect("a directory"), host);
    let (snapshot, _) = read::Snapshot::take(&tree.0, read::Options::default()).expect("a host");
    tree.write("saved", snapshot.as_text());
    assert_eq!(read::from_path(&tree.0.join("saved")).expect("a snapshot"), host);
    let real = data::root().join("real");
    let listed = read::from_path(&real.join("aer-2024.lspci.txt")).expect("a listing");
    assert_eq!(listed.functions.len(), 26);
    let failure = read::from_path(&real.join("truth.json")).expect_err("no host").to_string();
    assert!(failure.starts_with("RF0601") && failure.contains("truth.json"), "{failure}");
    let failure = read::from_path(&tree.0.join("proc")).expect_err("no host").to_string();
    assert!(failure.contains("sys/bus/pci/devices"), "{failure}");
}

/// A function that sleeps is left asleep, and what the kernel remembers of it is still said.
pub(crate) fn sleepers_are_left_asleep() {
    let tree = Tree::of_capture("i2-switch.txt");
    let port = "sys/bus/pci/devices/0000:02:00.0";
    tree.write(&format!("{port}/power/runtime_status"), "suspended\n");
    tree.write(&format!("{port}/power_state"), "D3hot\n");
    tree.write(&format!("{port}/secondary_bus_number"), "3\n");
    tree.write(&format!("{port}/subordinate_bus_number"), "3\n");
    let address = "0000:02:00.0".parse().expect("an address");
    // Suspended with its power on, below a bridge that is awake: a read wakes nothing.
    assert!(tree.read().functions[&address].acs.is_known());

    tree.write("sys/bus/pci/devices/0000:01:00.0/power/runtime_status", "suspended\n");
    tree.write("sys/bus/pci/devices/0000:01:00.0/power_state", "D3cold\n");
    let (snapshot, host) = read::Snapshot::take(&tree.0, read::Options::default()).expect("a host");
    let function = &host.functions[&address];
    assert_eq!(function.acs, Fact::Unknown(Unknown::Asleep));
    assert_eq!(function.identity.device, Fact::Known(0x8233));
    assert_eq!(function.header, Fact::Known(Header::Bridge { secondary: 3, subordinate: 3 }));
    let (_, own) = snapshot
        .as_text()
        .split_once("in sys/bus/pci/devices/0000:02:00.0\n")
        .expect("it is there");
    let (own, _) = own.split_once("\nin ").expect("others follow");
    assert!(!own.contains("config"), "{own}");
    assert_eq!(snapshot.read().expect("it was just made"), host);

    let woken = read::directory(&tree.0, read::Options { wake: true, ..read::Options::default() })
        .expect("a host");
    assert!(woken.functions[&address].acs.is_known());
}

/// Serial numbers and what names people stay where they are.
pub(crate) fn serial_numbers_stay_behind() {
    let tree = Tree::of_capture("i2-switch.txt");
    tree.write("proc/cmdline", "root=UUID=0b5e rd.luks.key=secret intel_iommu=on\n");
    let config = fs::read(tree.0.join("sys/bus/pci/devices/0000:03:00.0/config")).expect("bytes");
    // The network card's extended capability 3 at 0x140 holds its serial number.
    assert_eq!(config[0x140..0x142], [3, 0]);
    let serial: String = config[0x144..0x14c].iter().map(|byte| format!("{byte:02x}")).collect();
    let (snapshot, host) = read::Snapshot::take(&tree.0, read::Options::default()).expect("a host");
    for secret in [serial.as_str(), "0b5e", "secret"] {
        assert!(!snapshot.as_text().contains(secret), "{secret}");
    }
    let kept = "root=… rd.luks.key=… intel_iommu=on".to_owned();
    assert_eq!(host.kernel.command_line, Fact::Known(kept));
}

/// A tree holds anything; a reader neither waits nor fails because of it.
pub(crate) fn odd_files_leave_facts_unknown() {
    let tree = Tree::of_capture("i2-switch.txt");
    let odd = tree.0.join("sys/bus/pci/devices/0000:03:00.0/config");
    fs::remove_file(&odd).expect("it was there");
    let made = std::process::Command::new("mkfifo").arg(&odd).status().expect("mkfifo runs");
    assert!(made.success());
    let bare = tree.0.join("sys/bus/pci/devices/0000:04:00.0/config");
    fs::remove_file(&bare).expect("it was there");
    tree.write("sys/bus/pci/devices/not-a-function", "");
    let host = tree.read();
    for address in ["0000:03:00.0", "0000:04:00.0"] {
        let function = &host.functions[&address.parse().expect("an address")];
        assert_eq!(function.acs, Fact::Unknown(Unknown::NotInSource), "{address}");
        assert_eq!(function.identity.vendor, Fact::Known(0x8086), "{address}");
    }
    assert_eq!(host.remarks, ["sys/bus/pci/devices/not-a-function is no function"]);
}

/// The host this runs on, whoever runs it.
pub(crate) fn the_live_host_and_its_snapshot_agree() -> Completion {
    let list = Path::new("/sys/bus/pci/devices");
    if !list.is_dir() {
        return Completion::ignored_with(format!("no {}", list.display()));
    }
    let taken = read::Snapshot::take(Path::new("/"), read::Options::default());
    let (snapshot, host) = taken.expect("the list is there");
    assert_eq!(snapshot.read().expect("it was just made"), host);
    let listed = fs::read_dir(list).expect("the list is there").count();
    assert_eq!(host.functions.len(), listed);
    Completion::Completed
}
