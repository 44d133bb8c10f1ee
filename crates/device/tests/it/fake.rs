//! A host as a folder: `/sys` and `/proc` as far as claims look at them.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use ringfence_addr::PciAddress;
use ringfence_device::{Manager, Root, Store};

use crate::kernel::Kernel;

/// A network card, a bridge and a host bridge by their class codes.
pub(crate) const NETWORK: u32 = 0x02_0000;
pub(crate) const BRIDGE: u32 = 0x06_0400;
pub(crate) const HOST_BRIDGE: u32 = 0x06_0000;

/// The folder of a host, removed on drop.
pub(crate) struct Host {
    path: PathBuf,
}

/// What every function is bound to, and what its override says.
pub(crate) type State = BTreeMap<PciAddress, (Option<String>, Option<String>)>;

pub(crate) fn at(address: &str) -> PciAddress {
    address.parse().expect("an address")
}

impl Host {
    /// A host with these drivers and no functions.
    pub(crate) fn new(drivers: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringfence-device-{}-{number}", std::process::id());
        // Journals are synced after every record: in memory where there is such a folder.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let path = parent.join(name);
        let host = Self { path };
        for driver in drivers {
            host.folder(&format!("sys/bus/pci/drivers/{driver}"));
        }
        host.folder("sys/bus/pci/devices");
        host.write("proc/self/mountinfo", "21 1 0:20 / / rw - tmpfs none rw\n");
        host.write("proc/sys/kernel/random/boot_id", "first\n");
        host
    }

    /// Two functions of one network card, the second without a driver, behind a root port, all in
    /// one group; and a function by itself.
    pub(crate) fn with_card() -> Self {
        let host = Self::new(&["vfio-pci", "pcieport", "e1000e", "igb"]);
        host.function("", "0000:00:01.0", BRIDGE, Some("pcieport"));
        host.function("0000:00:01.0", "0000:01:00.0", NETWORK, Some("e1000e"));
        host.function("0000:00:01.0", "0000:01:00.1", NETWORK, None);
        host.function("", "0000:00:02.0", NETWORK, Some("igb"));
        host.group(1, &["0000:00:01.0", "0000:01:00.0", "0000:01:00.1"]);
        host.group(2, &["0000:00:02.0"]);
        host
    }

    pub(crate) fn root(&self) -> Root {
        Root::new(&self.path)
    }

    pub(crate) fn store(&self) -> Store {
        Store::new(self.path.join("run/ringfence/claims"))
    }

    pub(crate) fn manager<'a>(&self, kernel: &'a Kernel<'a>) -> Manager<'a> {
        Manager::new(self.root(), kernel, self.store())
    }

    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    pub(crate) fn folder(&self, path: &str) -> PathBuf {
        let path = self.path.join(path);
        fs::create_dir_all(&path).expect("a folder of our own");
        path
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder of our own");
        fs::write(path, text).expect("a file of our own");
    }

    /// A link to `target`, a path of the host's.
    pub(crate) fn link(&self, path: &str, target: &str) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder of our own");
        symlink(self.path.join(target), path).expect("a link of our own");
    }

    /// The device folder of a function, below the one of `parent` or of the root bus.
    pub(crate) fn device_path(&self, address: &str) -> String {
        let link = fs::read_link(self.join(&format!("sys/bus/pci/devices/{address}")));
        let link = link.expect("a function that is there");
        let path = link.strip_prefix(&self.path).expect("below the host");
        path.to_str().expect("a path of text").to_string()
    }

    pub(crate) fn function(&self, parent: &str, address: &str, class: u32, driver: Option<&str>) {
        let above = match parent {
            "" => "sys/devices/pci0000:00".to_string(),
            parent => self.device_path(parent),
        };
        let folder = format!("{above}/{address}");
        for (name, text) in [
            ("vendor", "0x8086\n"),
            ("device", "0x10d3\n"),
            ("subsystem_vendor", "0x8086\n"),
            ("subsystem_device", "0x0001\n"),
            ("driver_override", "(null)\n"),
            ("native", driver.unwrap_or("")),
        ] {
            self.write(&format!("{folder}/{name}"), text);
        }
        self.write(&format!("{folder}/class"), &format!("0x{class:06x}\n"));
        self.link(&format!("sys/bus/pci/devices/{address}"), &folder);
        if let Some(driver) = driver {
            self.link(&format!("{folder}/driver"), &format!("sys/bus/pci/drivers/{driver}"));
        }
    }

    pub(crate) fn group(&self, number: u32, functions: &[&str]) {
        let group = format!("sys/kernel/iommu_groups/{number}");
        self.folder(&format!("{group}/devices"));
        for function in functions {
            let folder = self.device_path(function);
            self.link(&format!("{folder}/iommu_group"), &group);
            self.link(&format!("{group}/devices/{function}"), &folder);
        }
    }

    /// Gives a function another address on the same place, as a card added before it does.
    pub(crate) fn renumber(&self, from: &str, to: &str) {
        let folder = self.device_path(from);
        let parent = folder.rsplit_once('/').expect("it has a parent").0;
        let new = format!("{parent}/{to}");
        fs::rename(self.join(&folder), self.join(&new)).expect("a folder of ours");
        fs::remove_file(self.join(&format!("sys/bus/pci/devices/{from}"))).expect("a link of ours");
        self.link(&format!("sys/bus/pci/devices/{to}"), &new);
        for group in fs::read_dir(self.join("sys/kernel/iommu_groups")).expect("a folder of ours") {
            let devices = group.expect("an entry").path().join("devices");
            if fs::remove_file(devices.join(from)).is_ok() {
                symlink(self.join(&new), devices.join(to)).expect("a link of our own");
            }
        }
    }

    pub(crate) fn set_driver(&self, address: &str, driver: Option<&str>) {
        let link = self.join(&format!("sys/bus/pci/devices/{address}/driver"));
        let _ = fs::remove_file(&link);
        if let Some(driver) = driver {
            let target = self.folder(&format!("sys/bus/pci/drivers/{driver}"));
            symlink(target, link).expect("a link of our own");
        }
    }

    pub(crate) fn state(&self) -> State {
        let root = self.root();
        let devices = fs::read_dir(self.join("sys/bus/pci/devices")).expect("a folder of ours");
        let names = devices.map(|entry| entry.expect("an entry").file_name());
        let of = |name: std::ffi::OsString| {
            let address = at(name.to_str().expect("text"));
            let driver = root.driver_of(address).expect("a link or none");
            let driver_override = root.override_of(address).expect("a file of ours");
            (address, (driver, driver_override))
        };
        names.map(of).collect()
    }

    /// The journals there are.
    pub(crate) fn journals(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.store().folder()) else { return Vec::new() };
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<_> =
            paths.filter(|path| path.extension().is_some_and(|is| is == "journal")).collect();
        paths.sort();
        paths
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = fs::remove_dir_all(&self.path);
    }
}
