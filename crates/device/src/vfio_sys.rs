//! The few calls of VFIO that hold a group, open a function of it and lend it. The only module here with
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
/// `VFIO_GROUP_UNSET_CONTAINER`.
const GROUP_UNSET_CONTAINER: Opcode = vfio(5);
/// `VFIO_DEVICE_GET_INFO`.
const DEVICE_GET_INFO: Opcode = vfio(7);
/// `VFIO_DEVICE_GET_IRQ_INFO`.
const DEVICE_GET_IRQ_INFO: Opcode = vfio(9);
/// `VFIO_DEVICE_SET_IRQS`.
const DEVICE_SET_IRQS: Opcode = vfio(10);
/// `VFIO_DEVICE_RESET`.
const DEVICE_RESET: Opcode = vfio(11);
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

/// `struct vfio_device_info` without capabilities.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct DeviceInfo {
    size: u32,
    flags: u32,
    regions: u32,
    interrupts: u32,
}

/// `struct vfio_irq_info`: how many interrupts of a kind there are, and what can be done with them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IrqInfo {
    size: u32,
    pub(crate) flags: u32,
    index: u32,
    pub(crate) count: u32,
}

/// `struct vfio_irq_set` with room for an eventfd for each vector there can be.
#[repr(C)]
#[derive(Clone, Copy)]
struct IrqSet {
    size: u32,
    flags: u32,
    index: u32,
    first: u32,
    count: u32,
    eventfds: [RawFd; VECTORS_MAX],
}

/// Room for `struct vfio_region_info` and its capabilities.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct WholeRegionInfo([u8; WHOLE_REGION_INFO_BYTES]);

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
const DEVICE_INFO_SIZE: u32 = 16;
const IRQ_INFO_SIZE: u32 = 16;
const IRQ_SET_SIZE: u32 = 20;
/// What of a region's description is read: more than the kernel has of any.
const WHOLE_REGION_INFO_BYTES: usize = 4096;

/// The most vectors of a kind: those of MSI-X (PCI Local Bus 3.0, section 6.8.2.3).
const VECTORS_MAX: usize = 2048;

/// `VFIO_DEVICE_FLAGS_RESET`.
const DEVICE_CAN_RESET: u32 = 1;
/// `VFIO_IRQ_SET_DATA_NONE` and `VFIO_IRQ_SET_DATA_EVENTFD`.
const IRQ_SET_NO_DATA: u32 = 1;
const IRQ_SET_EVENTFDS: u32 = 4;

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

/// A region as the kernel describes it, capabilities included, byte for byte.
pub(crate) fn whole_region(device: &File, index: u32) -> Result<Vec<u8>, Errno> {
    let mut info = WholeRegionInfo([0; WHOLE_REGION_INFO_BYTES]);
    let room = u32::try_from(WHOLE_REGION_INFO_BYTES).expect("a page is that small");
    info.0[..4].copy_from_slice(&room.to_ne_bytes());
    info.0[8..12].copy_from_slice(&index.to_ne_bytes());
    // SAFETY: the kernel writes no more than the first word says, which is the size of the argument.
    unsafe { ioctl(device, Updater::<DEVICE_GET_REGION_INFO, WholeRegionInfo>::new(&mut info))? };
    Ok(info.0.to_vec())
}

/// Whether the function has a reset.
pub(crate) fn can_reset(device: &File) -> Result<bool, Errno> {
    let mut info = DeviceInfo { size: DEVICE_INFO_SIZE, flags: 0, regions: 0, interrupts: 0 };
    // SAFETY: the kernel reads and writes one `vfio_device_info` without what was added to it later,
    // whose size it is told.
    unsafe { ioctl(device, Updater::<DEVICE_GET_INFO, DeviceInfo>::new(&mut info))? };
    Ok(info.flags & DEVICE_CAN_RESET != 0)
}

/// Resets the function; its config space is afterwards as it was, as far as the kernel keeps it.
pub(crate) fn reset(device: &File) -> Result<(), Errno> {
    // SAFETY: the call has no argument.
    unsafe { ioctl(device, IntegerSetter::<DEVICE_RESET>::new_usize(0)) }
}

/// How many interrupts of a kind there are, by its index in VFIO's numbering.
pub(crate) fn interrupts(device: &File, index: u32) -> Result<IrqInfo, Errno> {
    let mut info = IrqInfo { size: IRQ_INFO_SIZE, flags: 0, index, count: 0 };
    // SAFETY: the kernel reads and writes one `vfio_irq_info`, whose size it is told.
    unsafe { ioctl(device, Updater::<DEVICE_GET_IRQ_INFO, IrqInfo>::new(&mut info))? };
    Ok(info)
}

/// Connects, disconnects, masks, unmasks or raises `count` interrupts from `first` on: `action` is one
/// of `VFIO_IRQ_SET_ACTION_*`. With `eventfds` there is one for each, or none for one that is to be
/// disconnected.
pub(crate) fn set_interrupts(
    device: &File,
    index: u32,
    (first, count): (u32, u32),
    action: u32,
    eventfds: Option<&[Option<BorrowedFd<'_>>]>,
) -> Result<(), Errno> {
    let told = eventfds.unwrap_or_default();
    if eventfds.is_some() && usize::try_from(count) != Ok(told.len()) || told.len() > VECTORS_MAX {
        return Err(Errno::INVAL);
    }
    let data = if eventfds.is_some() { IRQ_SET_EVENTFDS } else { IRQ_SET_NO_DATA };
    let bytes = u32::try_from(size_of_val(&[0 as RawFd]) * told.len()).map_err(|_| Errno::INVAL)?;
    let mut argument = IrqSet {
        size: IRQ_SET_SIZE + bytes,
        flags: data | action,
        index,
        first,
        count,
        eventfds: [-1; VECTORS_MAX],
    };
    for (place, eventfd) in argument.eventfds.iter_mut().zip(told) {
        *place = eventfd.map_or(-1, |eventfd| eventfd.as_raw_fd());
    }
    // SAFETY: the kernel reads one `vfio_irq_set`, no more of it than its size says, which counts the
    // eventfds there are; each stays open meanwhile, and the kernel keeps what it names.
    unsafe { ioctl(device, Setter::<DEVICE_SET_IRQS, IrqSet>::new(argument)) }
}

/// Takes the group out of its container, which the kernel refuses (`EBUSY`) for as long as anybody has a
/// function of it open or mapped.
pub(crate) fn unset_container(group: &File) -> Result<(), Errno> {
    // SAFETY: the call has no argument.
    unsafe { ioctl(group, IntegerSetter::<GROUP_UNSET_CONTAINER>::new_usize(0)) }
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
        assert_eq!(GROUP_UNSET_CONTAINER, 0x3b69);
        assert_eq!(DEVICE_GET_INFO, 0x3b6b);
        assert_eq!(DEVICE_GET_IRQ_INFO, 0x3b6d);
        assert_eq!(DEVICE_SET_IRQS, 0x3b6e);
        assert_eq!(DEVICE_RESET, 0x3b6f);
        assert_eq!(size_of::<DeviceInfo>(), DEVICE_INFO_SIZE as usize);
        assert_eq!(size_of::<IrqInfo>(), IRQ_INFO_SIZE as usize);
        assert_eq!(size_of::<IrqSet>(), IRQ_SET_SIZE as usize + 4 * VECTORS_MAX);
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
        assert_eq!(whole_region(&null, 7), Err(Errno::NOTTY));
        assert_eq!(can_reset(&null), Err(Errno::NOTTY));
        assert_eq!(reset(&null), Err(Errno::NOTTY));
        assert_eq!(interrupts(&null, 0), Err(Errno::NOTTY));
        assert_eq!(unset_container(&null), Err(Errno::NOTTY));
        assert_eq!(set_interrupts(&null, 1, (0, 1), 0x20, Some(&[None])), Err(Errno::NOTTY));
        assert_eq!(set_interrupts(&null, 1, (0, 2), 0x20, Some(&[None])), Err(Errno::INVAL));
    }
}
