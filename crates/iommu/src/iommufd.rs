//! The kernel's iommufd: any number of address spaces in one open file, among which memory is counted
//! once.
//!
//! VFIO's type 1 and iommufd charge memory as often as it is mapped. Here each piece of memory is given to
//! the kernel once, in a space of its own that no device uses ([`pool`]), and what devices reach is
//! *copied* from there: the kernel then pins a page as soon as one of them reaches it, and once for all of
//! them.
//!
//! Order matters at the end. A device that is open keeps what it is attached to alive, whatever becomes of
//! the iommufd: so a domain takes its devices out first, and only then forgets what they reached.
//!
//! A device that is to reach nothing is put into a space in which nothing is ever mapped. To detach it
//! would be enough by the kernel's word, which leaves it to the IOMMU to block what has no tables: QEMU's
//! model of AMD's lets it through untranslated.

mod device;
mod domain;
mod pool;

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_refusal::{Failure, Fault};

pub use device::IommufdDevice;
pub use domain::IommufdDomain;
pub use pool::Way;

use crate::iommufd_sys::{self as sys, Ioas};
use crate::memory::Memory;
use pool::Pool;

const NAME: &str = "/dev/iommu";

/// Whose limit on locked memory (`RLIMIT_MEMLOCK`) pinned memory counts against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Charge {
    /// All of a user's processes together have as much as one may: what the kernel does by itself.
    #[default]
    User,
    /// Each process by itself, as type 1 does it. The kernel wants `CAP_SYS_RESOURCE` for it.
    Process,
}

/// An open `/dev/iommu`. Domains that come from the same share what they pin.
#[derive(Clone, Debug)]
pub struct Iommufd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    file: File,
    /// Nothing is mapped there, ever.
    nowhere: Ioas,
    pool: Mutex<Pool>,
}

impl Iommufd {
    /// Opens the one in the `/dev` that is in `root`.
    ///
    /// # Errors
    ///
    /// The kernel has none, or does not let this process count memory so.
    pub fn open(root: &Path, charge: Charge) -> Result<Self, Fault> {
        let path = root.join("dev/iommu");
        let file = File::options().read(true).write(true).open(&path);
        let file = file.map_err(|error| Fault::new("open", path.display().to_string(), error))?;
        if charge == Charge::Process {
            sys::charge_process(&file)
                .map_err(|errno| Fault::new("count memory by process in", NAME, errno))?;
        }
        Self::of(file)
    }

    /// One that somebody else opened, to which devices may be bound already.
    ///
    /// # Errors
    ///
    /// It is no iommufd.
    pub fn of(file: File) -> Result<Self, Fault> {
        let fault = |errno| Fault::new("make an address space in", NAME, errno);
        let pool = Mutex::new(Pool::new(&file).map_err(fault)?);
        let nowhere = sys::allocate(&file).map_err(fault)?;
        Ok(Self(Arc::new(Shared { file, nowhere, pool })))
    }

    /// A domain for devices that were bound to this ([`IommufdDevice::open`]), in which nothing is mapped.
    ///
    /// # Errors
    ///
    /// RF0914 without a device; or the kernel does not put them into one address space.
    pub fn domain(&self, devices: Vec<IommufdDevice>) -> Result<IommufdDomain, Failure> {
        IommufdDomain::new(self.clone(), devices)
    }

    /// How the kernel was given `memory`, if some of it is mapped: by its file, or by its address in this
    /// process where it has none, or the kernel (before 6.13) takes none.
    pub fn way(&self, memory: &Memory) -> Option<Way> {
        self.pool().way(memory)
    }

    fn nowhere(&self) -> Ioas {
        self.0.nowhere
    }

    fn file(&self) -> &File {
        &self.0.file
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_iommufd_and_what_is_not_there_say_so() {
        let said = |fault: Option<Fault>| {
            fault.map(|fault| format!("{fault}: {}", fault.io_error())).unwrap_or_default()
        };
        let null = File::options().read(true).write(true).open("/dev/null").expect("it is there");
        let wrong = said(Iommufd::of(null).err());
        assert!(wrong.starts_with("cannot make an address space in /dev/iommu: "), "{wrong}");
        let nowhere = Path::new("/proc/self/fdinfo");
        let missing = said(Iommufd::open(nowhere, Charge::Process).err());
        assert!(missing.starts_with("cannot open /proc/self/fdinfo/dev/iommu: "), "{missing}");
    }
}
