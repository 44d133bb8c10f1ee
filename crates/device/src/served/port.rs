//! What is asked of a function that is to be served: by tests of a model, else of VFIO.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Fault};
use ringfence_vfio_user::{InterruptIndex, RegionIndex};
use rustix::io::Errno;

use super::interrupts::{Lines, Signals};
use super::regions::{self, Described};
use crate::hold::Hold;
use crate::root::Root;
use crate::vfio_sys;

/// `VFIO_IRQ_INFO_NORESIZE`.
const NO_RESIZE: u32 = 8;

/// A function that is open.
pub trait Port: Send {
    /// Which.
    fn function(&self) -> PciAddress;

    /// The file that its regions are mapped from.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// What a region is; one without bytes if it is not there.
    fn region(&self, index: RegionIndex) -> Result<Described, Fault>;

    /// Reads a part of a region that is there.
    fn read(&mut self, region: &Described, offset: u64, bytes: &mut [u8]) -> Result<(), Fault>;

    /// Writes a part of a region that is there.
    fn write(&mut self, region: &Described, offset: u64, bytes: &[u8]) -> Result<(), Fault>;

    /// Which interrupts of a kind there are.
    fn lines(&self, index: InterruptIndex) -> Result<Lines, Fault>;

    /// Changes where interrupts go.
    fn signal(&mut self, index: InterruptIndex, signals: &Signals<'_>) -> Result<(), Fault>;

    /// Whether it has a reset.
    fn can_reset(&self) -> Result<bool, Fault>;

    /// Resets it.
    fn reset(&mut self) -> Result<(), Fault>;
}

/// A function of a held claim, open through VFIO. The kernel reset it when it was opened, if it can, and
/// does so again when nobody has it open any more.
#[derive(Debug)]
pub struct OpenFunction {
    function: PciAddress,
    // It goes before the hold does.
    file: File,
    _hold: Arc<Hold>,
}

impl OpenFunction {
    /// Opens a function of the claim.
    ///
    /// # Errors
    ///
    /// The function is not one of the claim's that VFIO serves, or the kernel says no.
    pub fn open(hold: Arc<Hold>, root: &Root, function: PciAddress) -> Result<Self, Failure> {
        let file = hold.file_of(root, function)?;
        Ok(Self { function, file, _hold: hold })
    }

    fn told<T>(
        &self,
        operation: &'static str,
        what: &str,
        answer: Result<T, Errno>,
    ) -> Result<T, Fault> {
        let object = || format!("{what} of {}", self.function);
        answer.map_err(|errno| Fault::new(operation, object(), errno))
    }

    fn at(&self, region: &Described, offset: u64, length: usize) -> Result<u64, Fault> {
        let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
        let is_inside = end.is_some_and(|end| end <= region.length);
        let place = region.file_offset.checked_add(offset).filter(|_| is_inside);
        let what = format!("{length:#x} bytes at {offset:#x} of {:#x}", region.length);
        self.told("find", &what, place.ok_or(Errno::INVAL))
    }
}

impl Port for OpenFunction {
    fn function(&self) -> PciAddress {
        self.function
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn region(&self, index: RegionIndex) -> Result<Described, Fault> {
        match vfio_sys::whole_region(&self.file, index.number()) {
            // That is how the kernel says that there is no VGA, and no ROM.
            Err(Errno::INVAL) if matches!(index, RegionIndex::Vga | RegionIndex::Rom) => {
                Ok(Described::default())
            }
            answer => {
                let bytes = self.told("ask VFIO for", &format!("{index:?}"), answer)?;
                let described = regions::described(&bytes).ok_or(Errno::IO);
                self.told("understand what VFIO says of", &format!("{index:?}"), described)
            }
        }
    }

    fn read(&mut self, region: &Described, offset: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        let place = self.at(region, offset, bytes.len())?;
        self.file
            .read_exact_at(bytes, place)
            .map_err(|error| Fault::new("read", format!("{offset:#x} of {}", self.function), error))
    }

    fn write(&mut self, region: &Described, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let place = self.at(region, offset, bytes.len())?;
        self.file.write_all_at(bytes, place).map_err(|error| {
            Fault::new("write", format!("{offset:#x} of {}", self.function), error)
        })
    }

    fn lines(&self, index: InterruptIndex) -> Result<Lines, Fault> {
        match vfio_sys::interrupts(&self.file, index.number()) {
            // Errors are told of functions on PCI Express only.
            Err(Errno::INVAL) => Ok(Lines::default()),
            answer => {
                let info = self.told("ask VFIO for", &format!("{index:?}"), answer)?;
                Ok(Lines { count: info.count, can_resize: info.flags & NO_RESIZE == 0 })
            }
        }
    }

    fn signal(&mut self, index: InterruptIndex, signals: &Signals<'_>) -> Result<(), Fault> {
        let Signals { first, count, action, eventfds } = signals;
        let range = (*first, *count);
        let number = index.number();
        let set =
            vfio_sys::set_interrupts(&self.file, number, range, action.flag(), eventfds.as_deref());
        self.told("set up", &format!("{count} of {index:?} from {first}"), set)
    }

    fn can_reset(&self) -> Result<bool, Fault> {
        self.told("ask VFIO for", "a reset", vfio_sys::can_reset(&self.file))
    }

    fn reset(&mut self) -> Result<(), Fault> {
        self.told("do", "a reset", vfio_sys::reset(&self.file))
    }
}
