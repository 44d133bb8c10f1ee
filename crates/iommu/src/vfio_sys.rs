//! The calls of VFIO's type 1. The only module here with `unsafe`.
//!
//! Numbers and layouts are those of `linux/vfio.h`, which the kernel keeps for ever.
#![expect(
    unsafe_code,
    reason = "an ioctl is defined by its number and the layout of its argument, which nothing but this module can vouch for"
)]

use std::fs::File;
use std::os::fd::AsRawFd;

use ringfence_addr::{Iova, Rights, Span};
use rustix::io::Errno;
use rustix::ioctl::{IntegerSetter, Opcode, Setter, Updater, ioctl, opcode};
use vm_memory::MmapRegion;

/// `VFIO_TYPE` and `VFIO_BASE`.
const fn vfio(number: u8) -> Opcode {
    opcode::none(b';', 100 + number)
}

const SET_IOMMU: Opcode = vfio(2);
const GROUP_SET_CONTAINER: Opcode = vfio(4);
const IOMMU_GET_INFO: Opcode = vfio(12);
const IOMMU_MAP_DMA: Opcode = vfio(13);
const IOMMU_UNMAP_DMA: Opcode = vfio(14);

/// `VFIO_TYPE1v2_IOMMU`: only whole mappings are unmapped.
const TYPE1_V2: usize = 3;
/// `VFIO_DMA_MAP_FLAG_READ` and `_WRITE`.
const MAP_READ: u32 = 1;
const MAP_WRITE: u32 = 2;
/// `VFIO_DMA_UNMAP_FLAG_ALL`, from Linux 5.12 on.
const UNMAP_ALL: u32 = 2;
/// What of the IOMMU's description is read: its header, page sizes and capabilities.
pub(crate) const INFO_BYTES: usize = 4096;

/// `struct vfio_iommu_type1_dma_map`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct MapDma {
    size: u32,
    flags: u32,
    address: u64,
    iova: u64,
    length: u64,
}

/// `struct vfio_iommu_type1_dma_unmap` without a bitmap.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct UnmapDma {
    size: u32,
    flags: u32,
    iova: u64,
    length: u64,
}

/// Room for `struct vfio_iommu_type1_info` and its capabilities.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Info([u8; INFO_BYTES]);

const MAP_DMA_SIZE: u32 = 32;
const UNMAP_DMA_SIZE: u32 = 24;

/// Puts the group into the container.
pub(crate) fn set_container(group: &File, container: &File) -> Result<(), Errno> {
    // SAFETY: the kernel reads one `int`, the number of a descriptor that stays open meanwhile.
    unsafe { ioctl(group, Setter::<GROUP_SET_CONTAINER, i32>::new(container.as_raw_fd())) }
}

/// Makes the container one of type 1, version 2.
pub(crate) fn set_type1(container: &File) -> Result<(), Errno> {
    // SAFETY: the argument is a number, not an address.
    unsafe { ioctl(container, IntegerSetter::<SET_IOMMU>::new_usize(TYPE1_V2)) }
}

/// What the kernel says of the IOMMU, as it says it: as many bytes as it filled.
pub(crate) fn info(container: &File) -> Result<Vec<u8>, Errno> {
    let mut info = Info([0; INFO_BYTES]);
    let room = u32::try_from(INFO_BYTES).expect("a page is that small");
    info.0[..4].copy_from_slice(&room.to_ne_bytes());
    // SAFETY: the kernel writes no more than the first word says, which is the size of the argument.
    unsafe { ioctl(container, Updater::<IOMMU_GET_INFO, Info>::new(&mut info))? };
    Ok(info.0.to_vec())
}

/// Maps `memory` from `offset` on for devices at `iova`.
///
/// The memory stays where it is until the mapping is gone: that is the caller's to see to, by keeping
/// `memory`. (The kernel pins the pages, so that they go to nobody else even then; the addresses of
/// this process would merely name others.)
pub(crate) fn map(
    container: &File,
    iova: Span<Iova>,
    memory: &MmapRegion,
    offset: usize,
    rights: Rights,
) -> Result<(), Errno> {
    let length = iova.length_u64().ok_or(Errno::INVAL)?.get();
    let end = usize::try_from(length).ok().and_then(|length| offset.checked_add(length));
    if end.is_none_or(|end| end > memory.size()) {
        return Err(Errno::INVAL);
    }
    let mut flags = 0;
    if rights.allows(Rights::READ) {
        flags |= MAP_READ;
    }
    if rights.allows(Rights::WRITE) {
        flags |= MAP_WRITE;
    }
    let address = memory.as_ptr() as u64 + offset as u64;
    let argument = MapDma { size: MAP_DMA_SIZE, flags, address, iova: iova.first().get(), length };
    // SAFETY: the kernel reads one `vfio_iommu_type1_dma_map`, whose size it is told; the memory it
    // names is a mapping of this process of at least that length, shared with devices by intent and
    // never referred to as ordinary memory of Rust's.
    unsafe { ioctl(container, Setter::<IOMMU_MAP_DMA, MapDma>::new(argument)) }
}

/// Unmaps `iova`; returns how many bytes were unmapped.
pub(crate) fn unmap(container: &File, iova: Span<Iova>) -> Result<u64, Errno> {
    let length = iova.length_u64().ok_or(Errno::INVAL)?.get();
    let mut argument =
        UnmapDma { size: UNMAP_DMA_SIZE, flags: 0, iova: iova.first().get(), length };
    // SAFETY: the kernel reads and writes one `vfio_iommu_type1_dma_unmap`, whose size it is told.
    unsafe { ioctl(container, Updater::<IOMMU_UNMAP_DMA, UnmapDma>::new(&mut argument))? };
    Ok(argument.length)
}

/// Unmaps all there is; returns how many bytes that was.
pub(crate) fn unmap_all(container: &File) -> Result<u64, Errno> {
    let mut argument = UnmapDma { size: UNMAP_DMA_SIZE, flags: UNMAP_ALL, iova: 0, length: 0 };
    // SAFETY: the kernel reads and writes one `vfio_iommu_type1_dma_unmap`, whose size it is told.
    unsafe { ioctl(container, Updater::<IOMMU_UNMAP_DMA, UnmapDma>::new(&mut argument))? };
    Ok(argument.length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_layouts_are_those_of_the_header() {
        assert_eq!(SET_IOMMU, 0x3b66);
        assert_eq!(GROUP_SET_CONTAINER, 0x3b68);
        assert_eq!(IOMMU_GET_INFO, 0x3b70);
        assert_eq!(IOMMU_MAP_DMA, 0x3b71);
        assert_eq!(IOMMU_UNMAP_DMA, 0x3b72);
        assert_eq!(size_of::<MapDma>(), MAP_DMA_SIZE as usize);
        assert_eq!(size_of::<UnmapDma>(), UNMAP_DMA_SIZE as usize);
    }

    #[test]
    fn what_is_no_vfio_says_so() {
        let null = File::options().read(true).write(true).open("/dev/null").expect("it is there");
        assert_eq!(set_container(&null, &null), Err(Errno::NOTTY));
        assert_eq!(set_type1(&null), Err(Errno::NOTTY));
        assert_eq!(info(&null), Err(Errno::NOTTY));
        let page = Span::from_parts(Iova::new(0), 4096).expect("a page");
        assert_eq!(unmap(&null, page), Err(Errno::NOTTY));
        assert_eq!(unmap_all(&null), Err(Errno::NOTTY));
    }
}
