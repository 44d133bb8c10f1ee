//! The few calls of VFIO that hold a group and open a function of it. The only module here with
//! `unsafe`.
//!
//! Numbers and layouts are those of `linux/vfio.h`, which the kernel keeps for ever.
#![expect(
    unsafe_code,
    reason = "an ioctl is defined by its number and the layout of its argument, which nothing but this module can vouch for"
)]

use std::ffi::{CStr, c_void};
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Ioctl, IoctlOutput, Opcode, Setter, Updater, ioctl, opcode};

/// `VFIO_TYPE` and `VFIO_BASE`.
const fn vfio(number: u8) -> Opcode {
    opcode::none(b';', 100 + number)
}

/// `VFIO_SET_IOMMU`.
const SET_IOMMU: Opcode = vfio(2);
/// `VFIO_GROUP_GET_STATUS`.
const GROUP_GET_STATUS: Opcode = vfio(3);
/// `VFIO_GROUP_SET_CONTAINER`.
const GROUP_SET_CONTAINER: Opcode = vfio(4);
/// `VFIO_GROUP_GET_DEVICE_FD`.
const GROUP_GET_DEVICE: Opcode = vfio(6);
/// `VFIO_DEVICE_GET_REGION_INFO`.
const DEVICE_GET_REGION_INFO: Opcode = vfio(8);
/// `VFIO_DEVICE_BIND_IOMMUFD`.
const DEVICE_BIND_IOMMUFD: Opcode = vfio(18);

/// `VFIO_GROUP_FLAGS_VIABLE`.
const GROUP_IS_VIABLE: u32 = 1;

/// `VFIO_TYPE1v2_IOMMU`.
const TYPE1_V2: usize = 3;

/// `struct vfio_group_status`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct GroupStatus {
    size: u32,
    flags: u32,
}

/// `struct vfio_device_bind_iommufd`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct BindIommufd {
    size: u32,
    flags: u32,
    iommufd: i32,
    device_id: u32,
}

/// `struct vfio_region_info`: a part of a function that can be read, written or mapped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegionInfo {
    size: u32,
    pub(crate) flags: u32,
    index: u32,
    capabilities: u32,
    /// How many bytes it has; none if it is not there.
    pub(crate) length: u64,
    /// Where in the function's file it begins.
    pub(crate) offset: u64,
}

/// The sizes of the arguments, which the kernel is told.
const GROUP_STATUS_SIZE: u32 = 8;
const BIND_IOMMUFD_SIZE: u32 = 16;
const REGION_INFO_SIZE: u32 = 32;

/// Whether the kernel would give the group to somebody: no driver of the host's is bound in it.
pub(crate) fn is_viable(group: &File) -> Result<bool, Errno> {
    let mut status = GroupStatus { size: GROUP_STATUS_SIZE, flags: 0 };
    // SAFETY: the kernel reads and writes one `vfio_group_status`, whose size it is told; on a file
    // that is no VFIO group the number means nothing, or something of the file's own that takes no
    // more than eight bytes: it is opened from /dev/vfio by number.
    unsafe {
        ioctl(group, Updater::<GROUP_GET_STATUS, GroupStatus>::new(&mut status))?;
    }
    Ok(status.flags & GROUP_IS_VIABLE != 0)
}

/// Puts the group into a container: from then on it is whoever has `group` open's, and the kernel
/// turns down other drivers.
pub(crate) fn set_container(group: &File, container: &File) -> Result<(), Errno> {
    // SAFETY: the kernel reads one `int`, the number of a descriptor that stays open meanwhile.
    unsafe { ioctl(group, Setter::<GROUP_SET_CONTAINER, i32>::new(container.as_raw_fd())) }
}

/// Gives the container page tables of type 1, which are empty: functions of its groups reach nothing.
pub(crate) fn set_type1(container: &File) -> Result<(), Errno> {
    // SAFETY: the argument is a number, not an address.
    unsafe { ioctl(container, IntegerSetter::<SET_IOMMU>::new_usize(TYPE1_V2)) }
}

/// `VFIO_GROUP_GET_DEVICE_FD` with a name; rustix has no ioctl that takes a text and answers with a
/// descriptor.
struct GetDevice<'a>(&'a CStr);

// SAFETY: the number is that of the header; the kernel reads the text up to its end and no further,
// writes nothing, and what it answers is a new descriptor that is nobody else's.
unsafe impl Ioctl for GetDevice<'_> {
    type Output = OwnedFd;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        GROUP_GET_DEVICE
    }

    fn as_ptr(&mut self) -> *mut c_void {
        self.0.as_ptr().cast_mut().cast()
    }

    unsafe fn output_from_ptr(
        output: IoctlOutput,
        _: *mut c_void,
    ) -> rustix::io::Result<Self::Output> {
        // SAFETY: no error, so it is the descriptor the kernel just made for us.
        Ok(unsafe { OwnedFd::from_raw_fd(RawFd::from(output)) })
    }
}

/// Opens a function of the group by its address as sysfs has it.
pub(crate) fn device(group: &File, name: &CStr) -> Result<File, Errno> {
    // SAFETY: see `GetDevice`; the group stays open meanwhile.
    unsafe { ioctl(group, GetDevice(name)).map(File::from) }
}

/// Where in the function's file a region is, by its index in VFIO's numbering.
pub(crate) fn region(device: &File, index: u32) -> Result<RegionInfo, Errno> {
    let (size, flags, capabilities) = (REGION_INFO_SIZE, 0, 0);
    let mut info = RegionInfo { size, flags, index, capabilities, length: 0, offset: 0 };
    // SAFETY: the kernel reads and writes one `vfio_region_info`, whose size it is told: there is
    // no room for capabilities, and it writes none.
    unsafe { ioctl(device, Updater::<DEVICE_GET_REGION_INFO, RegionInfo>::new(&mut info))? };
    Ok(info)
}

/// Binds a VFIO device to an iommufd: from then on its group is that iommufd's.
pub(crate) fn bind_iommufd(device: &File, iommufd: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut argument = BindIommufd {
        size: BIND_IOMMUFD_SIZE,
        flags: 0,
        iommufd: iommufd.as_raw_fd(),
        device_id: 0,
    };
    // SAFETY: the kernel reads and writes one `vfio_device_bind_iommufd`, whose size it is told,
    // and the descriptor in it stays open meanwhile.
    unsafe { ioctl(device, Updater::<DEVICE_BIND_IOMMUFD, BindIommufd>::new(&mut argument)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_layouts_are_those_of_the_header() {
        assert_eq!(GROUP_GET_STATUS, 0x3b67);
        assert_eq!(GROUP_SET_CONTAINER, 0x3b68);
        assert_eq!(DEVICE_BIND_IOMMUFD, 0x3b76);
        assert_eq!(SET_IOMMU, 0x3b66);
        assert_eq!(GROUP_GET_DEVICE, 0x3b6a);
        assert_eq!(DEVICE_GET_REGION_INFO, 0x3b6c);
        assert_eq!(size_of::<RegionInfo>(), REGION_INFO_SIZE as usize);
        assert_eq!(size_of::<GroupStatus>(), GROUP_STATUS_SIZE as usize);
        assert_eq!(size_of::<BindIommufd>(), BIND_IOMMUFD_SIZE as usize);
    }

    #[test]
    fn what_is_no_vfio_says_so() {
        let null = File::options().read(true).write(true).open("/dev/null").expect("it is there");
        assert_eq!(is_viable(&null), Err(Errno::NOTTY));
        assert_eq!(set_container(&null, &null), Err(Errno::NOTTY));
        assert_eq!(set_type1(&null), Err(Errno::NOTTY));
        assert_eq!(device(&null, c"0000:00:02.0").err(), Some(Errno::NOTTY));
        assert_eq!(region(&null, 7), Err(Errno::NOTTY));
    }
}
