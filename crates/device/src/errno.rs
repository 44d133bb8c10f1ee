//! What the kernel may mean by an error number when a function is taken through VFIO or iommufd.
//!
//! One number has several causes: `EPERM` from `VFIO_GROUP_SET_CONTAINER` can be a driver of the
//! host's in the group or another holder. What tells them apart is in [`crate::viability`]; here
//! they are all listed, likeliest first.

use std::fmt;

use rustix::io::Errno;

/// A call by which a function is taken and used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// Opening `/dev/vfio/N`.
    OpenGroup,
    /// Opening `/dev/vfio/devices/vfioN`.
    OpenDevice,
    /// `VFIO_GROUP_SET_CONTAINER`.
    SetContainer,
    /// `VFIO_SET_IOMMU`.
    SetIommu,
    /// `VFIO_GROUP_GET_DEVICE_FD`.
    GetDevice,
    /// `VFIO_DEVICE_BIND_IOMMUFD`.
    BindIommufd,
    /// `VFIO_DEVICE_ATTACH_IOMMUFD_PT`.
    AttachPages,
    /// `VFIO_IOMMU_MAP_DMA` and `IOMMU_IOAS_MAP`.
    Map,
}

/// All of them, in the order in which they are made.
pub const CALLS: &[Call] = &[
    Call::OpenGroup,
    Call::OpenDevice,
    Call::SetContainer,
    Call::SetIommu,
    Call::GetDevice,
    Call::BindIommufd,
    Call::AttachPages,
    Call::Map,
];

impl fmt::Display for Call {
    /// As strace and the kernel's headers name it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OpenGroup => "open /dev/vfio/N",
            Self::OpenDevice => "open /dev/vfio/devices/vfioN",
            Self::SetContainer => "VFIO_GROUP_SET_CONTAINER",
            Self::SetIommu => "VFIO_SET_IOMMU",
            Self::GetDevice => "VFIO_GROUP_GET_DEVICE_FD",
            Self::BindIommufd => "VFIO_DEVICE_BIND_IOMMUFD",
            Self::AttachPages => "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
            Self::Map => "VFIO_IOMMU_MAP_DMA, IOMMU_IOAS_MAP",
        })
    }
}

/// The error numbers that any of the calls is known to answer, by name.
pub const ERRORS: &[(&str, Errno)] = &[
    ("EACCES", Errno::ACCESS),
    ("EADDRINUSE", Errno::ADDRINUSE),
    ("EBADF", Errno::BADF),
    ("EBUSY", Errno::BUSY),
    ("EEXIST", Errno::EXIST),
    ("EFAULT", Errno::FAULT),
    ("EINVAL", Errno::INVAL),
    ("EIO", Errno::IO),
    ("ENODEV", Errno::NODEV),
    ("ENOENT", Errno::NOENT),
    ("ENOMEM", Errno::NOMEM),
    ("ENOTTY", Errno::NOTTY),
    ("ENXIO", Errno::NXIO),
    ("EOVERFLOW", Errno::OVERFLOW),
    ("EPERM", Errno::PERM),
];

/// The name of an error number; the system's words for one that none of the calls answers.
pub(crate) fn name(errno: Errno) -> String {
    let known = ERRORS.iter().find(|(_, number)| *number == errno);
    known.map_or_else(|| errno.to_string(), |(name, _)| (*name).to_owned())
}

/// One thing the kernel may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What is so.
    pub sentence: &'static str,
    /// What can be done about it.
    pub remedy: &'static str,
}

const fn cause(sentence: &'static str, remedy: &'static str) -> Cause {
    Cause { sentence, remedy }
}

const FOREIGN: Cause = cause(
    "A function of the group is bound to a driver of the host's.",
    "Claim the whole group: ringfence claim.",
);
const OTHER_HOLDER: Cause = cause(
    "Somebody else holds the group: another VM, another container or another iommufd.",
    "End it, or give all functions of the group to one VM.",
);
const DIRECT: Cause = cause(
    "Firmware demands memory mapped one to one for a function of the group.",
    "Turn the firmware feature off that uses the device: ringfence explain RF0706.",
);
const INTERRUPTS: Cause = cause(
    "The platform cannot keep one device's interrupts from looking like another's.",
    "Turn interrupt remapping on in firmware; allow_unsafe_interrupts gives the isolation up.",
);
const COHERENCY: Cause = cause(
    "The IOMMU cannot make the device's accesses coherent with the CPU's caches.",
    "iommufd takes no such device; use the group interface.",
);
const UNBOUND: Cause = cause(
    "The function is not bound to vfio-pci or a variant of it, or was just unbound.",
    "Claim it: ringfence claim.",
);
const PERMISSION: Cause = cause(
    "The process may not open the file.",
    "Run as root, or give the user the file: a udev rule for SUBSYSTEM==\"vfio\".",
);
const OPEN: Cause = cause(
    "The group is open already, and it opens once only.",
    "Find who has it (fuser names the process), or take the functions one by one with iommufd.",
);
const LEGACY_OR_NOT: Cause = cause(
    "The same group is in use through the other interface: group and iommufd exclude each other.",
    "Use one interface for all functions of a group.",
);
const NO_TYPE1: Cause = cause(
    "The kernel has no IOMMU backend for containers loaded, or none for this type.",
    "modprobe vfio_iommu_type1.",
);
const NO_IOMMU: Cause =
    cause("The function is in no isolation group.", "Turn the IOMMU on: ringfence explain RF0705.");
const NO_CONTAINER: Cause = cause(
    "The group is in no container yet, or its container has no IOMMU set.",
    "Call VFIO_GROUP_SET_CONTAINER and VFIO_SET_IOMMU first.",
);
const TWICE: Cause = cause(
    "It was done before with the same descriptor.",
    "A bug of the program that made the call.",
);
const NOT_VFIO: Cause =
    cause("The descriptor is not what the call takes.", "A bug of the program that made the call.");
const MEMLOCK: Cause = cause(
    "The limit of locked memory is smaller than the memory to be mapped.",
    "Raise it: LimitMEMLOCK=infinity in the unit, ulimit -l unlimited in a shell.",
);
const RESERVED: Cause = cause(
    "The addresses are outside what the IOMMU can translate, in a reserved region, or not on page \
     boundaries.",
    "Keep the guest's memory off the regions in the group's reserved_regions file.",
);
const MAPPED: Cause = cause(
    "Some of the addresses are mapped already.",
    "Unmap them first: two mappings of an address would hide who may reach it.",
);
const NOT_MEMORY: Cause = cause(
    "Some of the process's addresses are not memory, or not memory it may write.",
    "Map them read-only, or leave them out.",
);
const NO_RESET: Cause = cause(
    "The function could not be woken or reset, or another was being reset with it.",
    "Look at the kernel's log; claim its reset set too.",
);
const DOMAIN: Cause = cause(
    "The function cannot share page tables with the others: another IOMMU, other address widths.",
    "Give it page tables of its own.",
);

/// What the kernel may mean by `errno` from `call`, likeliest first; nothing if it is not known to
/// answer that.
pub fn causes(call: Call, errno: Errno) -> &'static [Cause] {
    match (call, errno) {
        (Call::OpenGroup | Call::OpenDevice, Errno::ACCESS) => &[PERMISSION],
        (Call::OpenGroup, Errno::NOENT | Errno::NXIO | Errno::NODEV) => &[UNBOUND, NO_IOMMU],
        (Call::OpenGroup, Errno::BUSY) => &[OPEN, LEGACY_OR_NOT],
        (Call::OpenGroup, Errno::PERM) => &[PERMISSION],
        (Call::OpenDevice, Errno::NOENT | Errno::NXIO | Errno::NODEV) => &[UNBOUND],
        (Call::OpenDevice, Errno::BUSY) => &[LEGACY_OR_NOT, OPEN],
        (Call::SetContainer, Errno::PERM) => &[FOREIGN, OTHER_HOLDER],
        (Call::SetContainer, Errno::INVAL) => &[DIRECT, TWICE, NOT_VFIO],
        (Call::SetContainer, Errno::BUSY) => &[OTHER_HOLDER, LEGACY_OR_NOT],
        (Call::SetContainer, Errno::NODEV) => &[UNBOUND, NO_IOMMU],
        (Call::SetContainer, Errno::BADF | Errno::NOTTY) => &[NOT_VFIO],
        (Call::SetIommu, Errno::NODEV) => &[NO_TYPE1, NO_CONTAINER],
        (Call::SetIommu, Errno::PERM) => &[INTERRUPTS],
        (Call::SetIommu, Errno::INVAL) => &[DIRECT, NO_CONTAINER, TWICE],
        (Call::SetIommu, Errno::BUSY) => &[OTHER_HOLDER],
        (Call::GetDevice, Errno::INVAL) => &[NO_CONTAINER],
        (Call::GetDevice, Errno::NODEV) => &[UNBOUND],
        (Call::GetDevice, Errno::PERM) => &[FOREIGN, INTERRUPTS],
        (Call::GetDevice, Errno::BUSY | Errno::IO) => &[NO_RESET, OTHER_HOLDER],
        (Call::BindIommufd, Errno::PERM) => &[FOREIGN, OTHER_HOLDER, INTERRUPTS],
        (Call::BindIommufd, Errno::INVAL) => &[COHERENCY, TWICE, DIRECT, NOT_VFIO],
        (Call::BindIommufd, Errno::NODEV) => &[NO_IOMMU, UNBOUND],
        (Call::BindIommufd, Errno::BUSY) => &[LEGACY_OR_NOT],
        (Call::BindIommufd, Errno::IO) => &[NO_RESET],
        (Call::BindIommufd, Errno::BADF | Errno::NOTTY) => &[NOT_VFIO],
        (Call::AttachPages, Errno::INVAL) => &[DOMAIN, DIRECT],
        (Call::AttachPages, Errno::BUSY) => &[OTHER_HOLDER, TWICE],
        (Call::AttachPages, Errno::PERM) => &[INTERRUPTS],
        (Call::AttachPages, Errno::ADDRINUSE) => &[RESERVED],
        (Call::Map, Errno::NOMEM) => &[MEMLOCK],
        (Call::Map, Errno::INVAL | Errno::ADDRINUSE | Errno::OVERFLOW) => &[RESERVED],
        (Call::Map, Errno::EXIST) => &[MAPPED],
        (Call::Map, Errno::FAULT | Errno::PERM) => &[NOT_MEMORY],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eperm_has_several_causes_and_the_likeliest_comes_first() {
        assert_eq!(causes(Call::SetContainer, Errno::PERM), [FOREIGN, OTHER_HOLDER]);
        assert_eq!(causes(Call::BindIommufd, Errno::PERM).len(), 3);
        assert_eq!(causes(Call::Map, Errno::NOSPC), []);
    }

    #[test]
    fn every_error_that_means_something_has_a_name() {
        for errno in (1..134).map(Errno::from_raw_os_error) {
            let is_known = CALLS.iter().any(|call| !causes(*call, errno).is_empty());
            assert_eq!(is_known, ERRORS.iter().any(|(_, one)| *one == errno), "{errno}");
        }
        assert_eq!(name(Errno::PERM), "EPERM");
    }

    #[test]
    fn causes_are_sentences_with_remedies() {
        for call in CALLS {
            let all: Vec<_> = (1..134).map(Errno::from_raw_os_error).collect();
            let causes: Vec<_> = all.iter().flat_map(|errno| causes(*call, *errno)).collect();
            assert!(!causes.is_empty(), "{call}");
            for cause in causes {
                assert!(cause.sentence.ends_with('.') && cause.remedy.ends_with('.'), "{cause:?}");
            }
        }
    }
}
