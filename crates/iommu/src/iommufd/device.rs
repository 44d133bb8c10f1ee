//! A function that VFIO serves, opened by itself and not by its group, and bound to an iommufd.

use std::fs::File;
use std::path::Path;

use ringfence_addr::PciAddress;
use ringfence_refusal::Fault;
use rustix::io::Errno;

use super::{Iommufd, NAME};
use crate::iommufd_sys::{self as sys, Ioas};

/// A device that is bound. It reaches nothing until it is in a domain.
#[derive(Debug)]
pub struct IommufdDevice {
    file: File,
    name: String,
}

impl IommufdDevice {
    /// Opens a function by the `/sys` and `/dev` that are in `root`, and binds it.
    ///
    /// # Errors
    ///
    /// VFIO does not serve it, or not so (`CONFIG_VFIO_DEVICE_CDEV`); it is somebody else's, or a driver of
    /// the host's is bound in its group.
    pub fn open(root: &Path, function: PciAddress, iommufd: &Iommufd) -> Result<Self, Fault> {
        let folder = root.join(format!("sys/bus/pci/devices/{function}/vfio-dev"));
        let fault =
            |error| Fault::new("find VFIO's device in", folder.display().to_string(), error);
        let entry = folder.read_dir().map_err(fault)?.next().transpose().map_err(fault)?;
        let entry = entry.ok_or_else(|| fault(Errno::NOENT.into()))?;
        let path = root.join("dev/vfio/devices").join(entry.file_name());
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|error| Fault::new("open", path.display().to_string(), error))?;
        let name = function.to_string();
        sys::bind(&file, iommufd.file())
            .map_err(|errno| Fault::new("bind to an iommufd", name.as_str(), errno))?;
        Self::bound(file, name, iommufd)
    }

    /// One that somebody bound to the iommufd; `name` is what it is called in messages. From here on it
    /// reaches nothing, whatever it was attached to.
    ///
    /// # Errors
    ///
    /// The kernel says no: it is bound to another.
    pub fn bound(file: File, name: impl Into<String>, iommufd: &Iommufd) -> Result<Self, Fault> {
        let device = Self { file, name: name.into() };
        device.attach(iommufd.nowhere())?;
        Ok(device)
    }

    /// The open device, for its registers and interrupts. Whoever keeps a copy of it keeps it bound, but
    /// not in its domain: that sees to it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn attach(&self, ioas: Ioas) -> Result<(), Fault> {
        sys::attach(&self.file, ioas).map_err(|errno| {
            Fault::new("attach to an address space of", format!("{NAME}: {}", self.name), errno)
        })
    }

    /// Out of the space it is in, into one where nothing is mapped. Where the kernel says no to that it
    /// is detached at least, which is not to be relied on.
    pub(super) fn cut_off(&self, nowhere: Ioas) -> Result<(), Fault> {
        let cut_off = self.attach(nowhere);
        if cut_off.is_err() {
            let _ = sys::detach(&self.file);
        }
        cut_off
    }
}
