//! The few calls of VFIO that hold a group. The only module here with `unsafe`.
//!
//! Numbers and layouts are those of `linux/vfio.h`, which the kernel keeps for ever.
#![expect(
    unsafe_code,
    reason = "an ioctl is defined by its number and the layout of its argument, which nothing but this module can vouch for"
)]

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// `VFIO_TYPE` and `VFIO_BASE`.
const fn vfio(number: u8) -> Opcode {
    opcode::none(b';', 100 + number)
}

/// `VFIO_GROUP_GET_STATUS`.
const GROUP_GET_STATUS: Opcode = vfio(3);
/// `VFIO_GROUP_SET_CONTAINER`.
const GROUP_SET_CONTAINER: Opcode = vfio(4);
/// `VFIO_DEVICE_BIND_IOMMUFD`.
const DEVICE_BIND_IOMMUFD: Opcode = vfio(18);

/// `VFIO_GROUP_FLAGS_VIABLE`.
const GROUP_IS_VIABLE: u32 = 1;

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

/// The sizes of the arguments, which the kernel is told.
const GROUP_STATUS_SIZE: u32 = 8;
const BIND_IOMMUFD_SIZE: u32 = 16;

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
        assert_eq!(size_of::<GroupStatus>(), GROUP_STATUS_SIZE as usize);
        assert_eq!(size_of::<BindIommufd>(), BIND_IOMMUFD_SIZE as usize);
    }

    #[test]
    fn what_is_no_vfio_says_so() {
        let null = File::options().read(true).write(true).open("/dev/null").expect("it is there");
        assert_eq!(is_viable(&null), Err(Errno::NOTTY));
        assert_eq!(set_container(&null, &null), Err(Errno::NOTTY));
    }
}
