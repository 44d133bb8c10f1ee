//! A function that is open through VFIO: read and written by file, never mapped.
//!
//! By file the kernel checks every access: a function that was pulled out, sleeps or does not answer
//! at its BARs gives an error. A mapping would end the process instead. Linux from 6.11 on makes one
//! access of eight bytes where eight are asked for, earlier ones two of four.

use std::ffi::CString;
use std::fs::File;
use std::os::unix::fs::FileExt;

use ringfence_addr::PciAddress;
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::io::Errno;

use crate::access::Access;
use crate::errno::{Call, causes, name};
use crate::hold::{Held, Hold};
use crate::refusals;
use crate::root::Root;
use crate::vfio_sys;

/// `VFIO_PCI_CONFIG_REGION_INDEX`; BARs are 0 to 5.
const CONFIG: u32 = 7;
const BARS: u8 = 6;

/// Which bits of a region's flags allow what.
const CAN_READ: u32 = 1;
const CAN_WRITE: u32 = 2;

/// An open function. The kernel reset it when it was opened and resets it again when this is dropped;
/// meanwhile it reaches no memory but what somebody maps for it.
#[derive(Debug)]
pub struct Opened<'a> {
    function: PciAddress,
    file: File,
    regions: [Option<Region>; 8],
    // Its group stays held meanwhile.
    _hold: &'a Hold,
}

#[derive(Clone, Copy, Debug)]
struct Region {
    length: u64,
    offset: u64,
    flags: u32,
}

impl Hold {
    /// Opens a function of the claim.
    ///
    /// # Errors
    ///
    /// The function is not one of the claim's that VFIO serves, or the kernel says no.
    pub fn open_function(&self, root: &Root, function: PciAddress) -> Result<Opened<'_>, Failure> {
        let file = self.file_of(root, function)?;
        let mut regions = [None; 8];
        for (index, region) in (0..).zip(&mut regions) {
            // VGA and ROM are not asked for; of BARs that are not there the kernel says 0 bytes.
            if index < u32::from(BARS) || index == CONFIG {
                let info = vfio_sys::region(&file, index).map_err(|errno| {
                    Fault::new("ask VFIO for", format!("region {index} of {function}"), errno)
                })?;
                let (length, offset, flags) = (info.length, info.offset, info.flags);
                *region = (length > 0).then_some(Region { length, offset, flags });
            }
        }
        Ok(Opened { function, file, regions, _hold: self })
    }

    /// A descriptor of a function of the claim.
    pub(crate) fn file_of(&self, root: &Root, function: PciAddress) -> Result<File, Failure> {
        let group = root.kernel_group_of(function)?;
        for held in self.held() {
            match held {
                Held::Device { function: own, file, .. } if *own == function => {
                    let copy = file.try_clone();
                    return Ok(
                        copy.map_err(|error| Fault::new("keep", function.to_string(), error))?
                    );
                }
                Held::Group { group: own, file, container } if Some(*own) == group => {
                    return open_in(file, container, function);
                }
                _ => {}
            }
        }
        let what =
            format!("{function} is not among what VFIO serves of claim {}", self.claim().name);
        Err(Refusal::new(&refusals::NOT_VIABLE, what).into())
    }
}

fn open_in(group: &File, container: &File, function: PciAddress) -> Result<File, Failure> {
    let refuse = |call, errno| {
        let mut what = format!("{function}: {call}: {}", name(errno));
        for cause in causes(call, errno) {
            what.push_str(&format!("; {} {}", cause.sentence, cause.remedy));
        }
        Failure::from(Refusal::new(&refusals::NOT_VIABLE, what))
    };
    match vfio_sys::set_type1(container) {
        // It was done for another function of the group, or an earlier opening.
        Ok(()) | Err(Errno::BUSY) => {}
        Err(errno) => return Err(refuse(Call::SetIommu, errno)),
    }
    let address = CString::new(function.to_string()).expect("an address has no NUL");
    vfio_sys::device(group, &address).map_err(|errno| refuse(Call::GetDevice, errno))
}

impl Opened<'_> {
    fn place(&self, bar: u8, offset: u64, length: usize, needed: u32) -> Result<u64, Errno> {
        if bar >= BARS {
            return Err(Errno::INVAL);
        }
        self.within(u32::from(bar), offset, length, needed)
    }

    /// Where in the file that is.
    fn within(&self, index: u32, offset: u64, length: usize, needed: u32) -> Result<u64, Errno> {
        let region = self.regions.get(index as usize).copied().flatten().ok_or(Errno::NXIO)?;
        let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
        if region.flags & needed == 0 || end.is_none_or(|end| end > region.length) {
            return Err(Errno::INVAL);
        }
        region.offset.checked_add(offset).ok_or(Errno::INVAL)
    }

    fn fault(&self, operation: &'static str, place: String, error: std::io::Error) -> Fault {
        Fault::new(operation, format!("{place} of {}", self.function), error)
    }
}

impl Access for Opened<'_> {
    fn function(&self) -> PciAddress {
        self.function
    }

    fn bar_length(&mut self, bar: u8) -> Result<u64, Fault> {
        let region = self.regions.get(usize::from(bar)).copied().flatten();
        Ok(region.filter(|_| bar < BARS).map_or(0, |region| region.length))
    }

    fn read_config(&mut self, offset: u16, bytes: &mut [u8]) -> Result<(), Fault> {
        self.within(CONFIG, offset.into(), bytes.len(), CAN_READ)
            .map_err(std::io::Error::from)
            .and_then(|place| self.file.read_exact_at(bytes, place))
            .map_err(|error| self.fault("read", format!("config space at {offset:#x}"), error))
    }

    fn write_config(&mut self, offset: u16, bytes: &[u8]) -> Result<(), Fault> {
        self.within(CONFIG, offset.into(), bytes.len(), CAN_WRITE)
            .map_err(std::io::Error::from)
            .and_then(|place| self.file.write_all_at(bytes, place))
            .map_err(|error| self.fault("write", format!("config space at {offset:#x}"), error))
    }

    fn read(&mut self, bar: u8, offset: u64, bytes: &mut [u8]) -> Result<(), Fault> {
        self.place(bar, offset, bytes.len(), CAN_READ)
            .map_err(std::io::Error::from)
            .and_then(|place| self.file.read_exact_at(bytes, place))
            .map_err(|error| self.fault("read", format!("BAR {bar} at {offset:#x}"), error))
    }

    fn write(&mut self, bar: u8, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        self.place(bar, offset, bytes.len(), CAN_WRITE)
            .map_err(std::io::Error::from)
            .and_then(|place| self.file.write_all_at(bytes, place))
            .map_err(|error| self.fault("write", format!("BAR {bar} at {offset:#x}"), error))
    }
}
