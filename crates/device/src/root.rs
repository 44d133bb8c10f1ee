//! Where a host's `/sys` and `/proc` begin, and reading them: small files, links, folders.
//!
//! On a live host that is `/`. A test gives a folder of its own.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ringfence_addr::PciAddress;
use ringfence_refusal::Fault;

/// No file read here is longer: the table of mounts of a host full of containers is the longest.
const FILE_MAX: u64 = 4 << 20;

/// No folder listed here has more entries.
const ENTRIES_MAX: usize = 1 << 17;

/// The folder that `sys` and `proc` are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    path: PathBuf,
}

impl Default for Root {
    /// This host.
    fn default() -> Self {
        Self::new("/")
    }
}

impl Root {
    /// The host whose `/` is at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// `sys/class/net`, say, below it.
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path.join(path)
    }

    /// The folder of a function.
    pub fn function(&self, address: PciAddress) -> PathBuf {
        self.join(format!("sys/bus/pci/devices/{address}"))
    }

    /// The folder of a driver for PCI functions.
    pub fn driver(&self, driver: &str) -> PathBuf {
        self.join("sys/bus/pci/drivers").join(driver)
    }

    /// The folder of a group of the kernel's.
    pub fn kernel_group(&self, group: u32) -> PathBuf {
        self.join(format!("sys/kernel/iommu_groups/{group}"))
    }

    /// The driver bound to a function now.
    pub fn driver_of(&self, address: PciAddress) -> Result<Option<String>, Fault> {
        link_name(&self.function(address).join("driver"))
    }

    /// What `driver_override` of a function says now.
    pub fn override_of(&self, address: PciAddress) -> Result<Option<String>, Fault> {
        let text = read(&self.function(address).join("driver_override"))?;
        Ok(text.filter(|text| !text.is_empty() && text != "(null)"))
    }

    /// The number of the kernel's group a function is in now.
    pub fn kernel_group_of(&self, address: PciAddress) -> Result<Option<u32>, Fault> {
        let name = link_name(&self.function(address).join("iommu_group"))?;
        Ok(name.and_then(|name| name.parse().ok()))
    }

    /// The functions of a group of the kernel's now. What is in it and not on PCI is left out.
    pub fn functions_of(&self, group: u32) -> Result<Vec<PciAddress>, Fault> {
        let names = entries(&self.kernel_group(group).join("devices"))?;
        let mut functions: Vec<_> = names.iter().filter_map(|name| whole_address(name)).collect();
        functions.sort_unstable();
        Ok(functions)
    }

    /// The PCI functions on the way from the root to the device at `path`, outermost first: whoever
    /// takes one of them takes the device.
    pub fn functions_above(&self, path: &Path) -> Result<Vec<PciAddress>, Fault> {
        let Some(path) = real(path)? else { return Ok(Vec::new()) };
        let names = path.components().filter_map(|part| part.as_os_str().to_str());
        Ok(names.filter_map(whole_address).collect())
    }
}

/// An address as sysfs names a function, to the letter: below a serial port there are devices
/// called `00:02:0.0`, which could be read as one.
pub(crate) fn whole_address(name: &str) -> Option<PciAddress> {
    let address: PciAddress = name.parse().ok()?;
    (address.to_string() == name).then_some(address)
}

/// The text of a file without white space at its ends, `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Fault> {
    let fault = |error: io::Error| Fault::new("read", path.display().to_string(), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(fault(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(fault(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim().to_string()))
}

/// As [`read`], of a file that every host has.
pub(crate) fn read_present(path: &Path) -> Result<String, Fault> {
    let absent = || Fault::new("read", path.display().to_string(), io::ErrorKind::NotFound);
    read(path)?.ok_or_else(absent)
}

/// The last part of where a link leads, `None` if there is no such link.
pub(crate) fn link_name(path: &Path) -> Result<Option<String>, Fault> {
    match fs::read_link(path) {
        Ok(target) => Ok(target.file_name().map(|name| name.to_string_lossy().into_owned())),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(Fault::new("follow", path.display().to_string(), error)),
    }
}

/// The path without links in it, `None` if there is nothing there.
pub(crate) fn real(path: &Path) -> Result<Option<PathBuf>, Fault> {
    match fs::canonicalize(path) {
        Ok(path) => Ok(Some(path)),
        Err(error) if is_absent(&error) => Ok(None),
        Err(error) => Err(Fault::new("follow", path.display().to_string(), error)),
    }
}

/// The names in a folder, in order; none if there is no such folder.
pub(crate) fn entries(path: &Path) -> Result<Vec<String>, Fault> {
    let fault = |error: io::Error| Fault::new("list", path.display().to_string(), error);
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(fault(error)),
    };
    let mut names = Vec::new();
    for entry in entries.take(ENTRIES_MAX) {
        names.push(entry.map_err(fault)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// A device that goes away while it is read says ENODEV, and what is below a file ENOTDIR.
fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [Errno::NOENT, Errno::NODEV, Errno::NOTDIR];
    gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
