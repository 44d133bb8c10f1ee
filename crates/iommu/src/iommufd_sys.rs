//! The calls of iommufd, and those by which a VFIO device is given to one. Beside `vfio_sys` the only
//! module here with `unsafe`.
//!
//! Numbers and layouts are those of `linux/iommufd.h` and `linux/vfio.h`, which the kernel keeps for
//! ever. Every argument begins with its size.
#![expect(
    unsafe_code,
    reason = "an ioctl is defined by its number and the layout of its argument, which nothing but this module can vouch for"
)]

use std::ffi::c_void;
use std::fs::File;
use std::os::fd::AsRawFd;

use ringfence_addr::{Iova, Rights, Span, SpanSet};
use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};
use vm_memory::MmapRegion;

/// `IOMMU_IOAS_MAP_FIXED_IOVA`, `_WRITEABLE` and `_READABLE`.
const FIXED: u32 = 1;
const WRITEABLE: u32 = 2;
const READABLE: u32 = 4;
/// `IOMMU_OPTION_OP_SET`.
const SET: u16 = 0;
/// `IOMMU_OPTION_RLIMIT_MODE` and `IOMMU_OPTION_HUGE_PAGES`.
const RLIMIT_MODE: u32 = 0;
const HUGE_PAGES: u32 = 1;
/// More ranges than any IOMMU has holes for.
const RANGES_MAX: u32 = 4096;

/// An object of one iommufd, by the number the kernel gave it: of an address space, here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ioas(u32);

/// What a call takes and gives back.
///
/// # Safety
///
/// It is laid out as the header has it for [`Argument::NUMBER`], and all of its bytes are initialised.
unsafe trait Argument {
    const NUMBER: Opcode;
}

/// Structures of the header with their numbers, `IOMMUFD_CMD_…` or `VFIO_BASE + …`.
macro_rules! arguments {
    ($($(#[$doc:meta])* $name:ident = $number:literal { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        struct $name { size: u32, $($field: $type,)* }

        // SAFETY: the fields are those of the header in its order, and leave no gap (see the tests).
        unsafe impl Argument for $name {
            const NUMBER: Opcode = opcode::none(b';', $number);
        }

        impl $name {
            #[expect(clippy::cast_possible_truncation, reason = "it is a few dozen bytes")]
            const SIZE: u32 = size_of::<Self>() as u32;
        }
    )*};
}

arguments! {
    /// `struct iommu_destroy`.
    Destroy = 0x80 { id: u32, }
    /// `struct iommu_ioas_alloc`.
    Alloc = 0x81 { flags: u32, id: u32, }
    /// `struct iommu_ioas_allow_iovas`.
    Allow = 0x82 { ioas: u32, count: u32, reserved: u32, ranges: u64, }
    /// `struct iommu_ioas_copy`.
    Copy_ = 0x83 { flags: u32, to: u32, from: u32, length: u64, to_iova: u64, from_iova: u64, }
    /// `struct iommu_ioas_iova_ranges`.
    Ranges = 0x84 { ioas: u32, count: u32, reserved: u32, ranges: u64, alignment: u64, }
    /// `struct iommu_ioas_map`.
    Map = 0x85 { flags: u32, ioas: u32, reserved: u32, address: u64, length: u64, iova: u64, }
    /// `struct iommu_ioas_unmap`.
    Unmap = 0x86 { ioas: u32, iova: u64, length: u64, }
    /// `struct iommu_option`.
    Choice = 0x87 { option: u32, operation: u16, reserved: u16, object: u32, value: u64, }
    /// `struct iommu_ioas_map_file`.
    MapFile = 0x8f { flags: u32, ioas: u32, file: i32, start: u64, length: u64, iova: u64, }
    /// `struct vfio_device_bind_iommufd` without a token.
    Bind = 118 { flags: u32, iommufd: i32, device: u32, }
    /// `struct vfio_device_attach_iommufd_pt` without a PASID.
    Attach = 119 { flags: u32, ioas: u32, }
    /// `struct vfio_device_detach_iommufd_pt` without a PASID.
    Detach = 120 { flags: u32, }
}

/// `struct iommu_iova_range`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    first: u64,
    last: u64,
}

/// One call; rustix has none whose number is not known before its type is.
struct Call<'a, A>(&'a mut A);

// SAFETY: the number belongs to the argument by `Argument`'s promise, and the argument lives and is
// borrowed for as long as the call is made.
unsafe impl<A: Argument> Ioctl for Call<'_, A> {
    type Output = ();

    const IS_MUTATING: bool = true;

    fn opcode(&self) -> Opcode {
        A::NUMBER
    }

    fn as_ptr(&mut self) -> *mut c_void {
        std::ptr::from_mut(self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Makes a call whose argument names no memory but such as the functions below vouch for.
fn call<A: Argument>(file: &File, argument: &mut A) -> Result<(), Errno> {
    // SAFETY: the kernel reads and writes one argument, whose size its first word says. Memory that an
    // argument names is an array of ranges, borrowed by the caller meanwhile, or memory for devices,
    // which is shared with them by intent and never referred to as ordinary memory of Rust's.
    unsafe { ioctl(file, Call(argument)) }
}

fn flags(rights: Rights) -> u32 {
    let readable = if rights.allows(Rights::READ) { READABLE } else { 0 };
    let writeable = if rights.allows(Rights::WRITE) { WRITEABLE } else { 0 };
    FIXED | readable | writeable
}

fn length(span: Span<Iova>) -> Result<u64, Errno> {
    span.length_u64().map(std::num::NonZeroU64::get).ok_or(Errno::OVERFLOW)
}

/// A new address space, in which everything is free.
pub(crate) fn allocate(iommufd: &File) -> Result<Ioas, Errno> {
    let mut argument = Alloc { size: Alloc::SIZE, flags: 0, id: 0 };
    call(iommufd, &mut argument)?;
    Ok(Ioas(argument.id))
}

/// Takes an address space away that no device uses, with what is mapped in it.
pub(crate) fn destroy(iommufd: &File, Ioas(id): Ioas) -> Result<(), Errno> {
    call(iommufd, &mut Destroy { size: Destroy::SIZE, id })
}

/// The addresses that can be mapped for all devices of an address space.
pub(crate) fn ranges(iommufd: &File, Ioas(ioas): Ioas) -> Result<SpanSet<Iova>, Errno> {
    let mut ranges: Vec<Range> = Vec::new();
    loop {
        let count = u32::try_from(ranges.len()).map_err(|_| Errno::OVERFLOW)?;
        let mut argument = Ranges {
            size: Ranges::SIZE,
            ioas,
            count,
            reserved: 0,
            ranges: ranges.as_mut_ptr() as u64,
            alignment: 0,
        };
        match call(iommufd, &mut argument) {
            Ok(()) => {
                let known = ranges.iter().take(argument.count as usize);
                let spans = known.map(|range| {
                    Span::new(Iova::new(range.first), Iova::new(range.last)).ok_or(Errno::INVAL)
                });
                return spans.collect();
            }
            // It says how many there are.
            Err(Errno::MSGSIZE) if (count + 1..=RANGES_MAX).contains(&argument.count) => {
                ranges = vec![Range::default(); argument.count as usize];
            }
            Err(errno) => return Err(errno),
        }
    }
}

/// Has the kernel turn down devices that could not be mapped all of this. It says nothing of what may be
/// mapped at addresses that the caller chooses.
pub(crate) fn allow(
    iommufd: &File,
    Ioas(ioas): Ioas,
    allowed: &SpanSet<Iova>,
) -> Result<(), Errno> {
    let range = |span: Span<Iova>| Range { first: span.first().get(), last: span.last().get() };
    let ranges: Vec<Range> = allowed.iter().map(range).collect();
    let count = u32::try_from(ranges.len()).map_err(|_| Errno::OVERFLOW)?;
    let (size, reserved) = (Allow::SIZE, 0);
    call(iommufd, &mut Allow { size, ioas, count, reserved, ranges: ranges.as_ptr() as u64 })
}

/// Maps all of `memory` at `iova`, by its address in this process.
///
/// The memory stays where it is until the mapping is gone: that is the caller's to see to, by keeping
/// `memory`. (The kernel pins the pages that a device reaches, so that they go to nobody else even then;
/// the addresses of this process would merely name others.)
pub(crate) fn map(
    iommufd: &File,
    Ioas(ioas): Ioas,
    iova: Iova,
    memory: &MmapRegion,
    rights: Rights,
) -> Result<(), Errno> {
    let mut argument = Map {
        size: Map::SIZE,
        flags: flags(rights),
        ioas,
        reserved: 0,
        address: memory.as_ptr() as u64,
        length: memory.size() as u64,
        iova: iova.get(),
    };
    call(iommufd, &mut argument)
}

/// Maps `length` bytes of a memory file, from `start` on, at `iova`: Linux 6.13 and later.
pub(crate) fn map_file(
    iommufd: &File,
    Ioas(ioas): Ioas,
    iova: Iova,
    (file, start, length): (&File, u64, u64),
    rights: Rights,
) -> Result<(), Errno> {
    let (size, flags, file, iova) = (MapFile::SIZE, flags(rights), file.as_raw_fd(), iova.get());
    call(iommufd, &mut MapFile { size, flags, ioas, file, start, length, iova })
}

/// Maps what is at `from` in one address space at `to` in another. The kernel pins it once for both.
pub(crate) fn copy(
    iommufd: &File,
    (Ioas(from), from_iova): (Ioas, Iova),
    (Ioas(to), span): (Ioas, Span<Iova>),
    rights: Rights,
) -> Result<(), Errno> {
    let mut argument = Copy_ {
        size: Copy_::SIZE,
        flags: flags(rights),
        to,
        from,
        length: length(span)?,
        to_iova: span.first().get(),
        from_iova: from_iova.get(),
    };
    call(iommufd, &mut argument)
}

/// Unmaps whole mappings; returns how many bytes they were.
pub(crate) fn unmap(iommufd: &File, Ioas(ioas): Ioas, span: Span<Iova>) -> Result<u64, Errno> {
    let (size, iova) = (Unmap::SIZE, span.first().get());
    let mut argument = Unmap { size, ioas, iova, length: length(span)? };
    call(iommufd, &mut argument)?;
    Ok(argument.length)
}

/// Unmaps all there is; returns how many bytes that was.
pub(crate) fn unmap_all(iommufd: &File, Ioas(ioas): Ioas) -> Result<u64, Errno> {
    let mut argument = Unmap { size: Unmap::SIZE, ioas, iova: 0, length: u64::MAX };
    call(iommufd, &mut argument)?;
    Ok(argument.length)
}

/// Has pinned memory counted for this process, not for its user. Nothing may have been made before.
pub(crate) fn charge_process(iommufd: &File) -> Result<(), Errno> {
    choose(iommufd, RLIMIT_MODE, 0, 1)
}

/// Whether neighbouring pages become large ones in an address space.
pub(crate) fn use_huge_pages(iommufd: &File, Ioas(id): Ioas, use_them: bool) -> Result<(), Errno> {
    choose(iommufd, HUGE_PAGES, id, use_them.into())
}

fn choose(iommufd: &File, option: u32, object: u32, value: u64) -> Result<(), Errno> {
    let (size, operation, reserved) = (Choice::SIZE, SET, 0);
    call(iommufd, &mut Choice { size, option, operation, reserved, object, value })
}

/// Binds a VFIO device to an iommufd: from then on it can be used, and reaches nothing yet.
pub(crate) fn bind(device: &File, iommufd: &File) -> Result<(), Errno> {
    let iommufd = iommufd.as_raw_fd();
    call(device, &mut Bind { size: Bind::SIZE, flags: 0, iommufd, device: 0 })
}

/// Has a device reach what is mapped in an address space, and no longer what it reached before.
pub(crate) fn attach(device: &File, Ioas(ioas): Ioas) -> Result<(), Errno> {
    call(device, &mut Attach { size: Attach::SIZE, flags: 0, ioas })
}

/// Takes a device out of its address space. Then its IOMMU is to block it.
pub(crate) fn detach(device: &File) -> Result<(), Errno> {
    call(device, &mut Detach { size: Detach::SIZE, flags: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_layouts_are_those_of_the_header() {
        fn of<A: Argument>() -> (u32, usize) {
            (A::NUMBER, size_of::<A>())
        }
        assert_eq!(of::<Destroy>(), (0x3b80, 8));
        assert_eq!(of::<Alloc>(), (0x3b81, 12));
        assert_eq!(of::<Allow>(), (0x3b82, 24));
        assert_eq!(of::<Copy_>(), (0x3b83, 40));
        assert_eq!(of::<Ranges>(), (0x3b84, 32));
        assert_eq!(of::<Map>(), (0x3b85, 40));
        assert_eq!(of::<Unmap>(), (0x3b86, 24));
        assert_eq!(of::<Choice>(), (0x3b87, 24));
        assert_eq!(of::<MapFile>(), (0x3b8f, 40));
        assert_eq!(of::<Bind>(), (0x3b76, 16));
        assert_eq!(of::<Attach>(), (0x3b77, 12));
        assert_eq!(of::<Detach>(), (0x3b78, 8));
        assert_eq!(size_of::<Range>(), 16);
        // No gap, so nothing in them is not initialised.
        assert_eq!(std::mem::offset_of!(Choice, value), 16);
        assert_eq!(std::mem::offset_of!(MapFile, start), 16);
        assert_eq!(std::mem::offset_of!(Unmap, iova), 8);
        assert_eq!(std::mem::offset_of!(Copy_, length), 16);
        assert_eq!(std::mem::offset_of!(Ranges, ranges), 16);
    }

    #[test]
    fn what_is_no_iommufd_says_so() {
        let null = File::options().read(true).write(true).open("/dev/null").expect("it is there");
        let page = Span::from_parts(Iova::new(0), 4096).expect("a page");
        let region = MmapRegion::new(4096).expect("a page");
        let rights = Rights::READ;
        assert_eq!(allocate(&null), Err(Errno::NOTTY));
        assert_eq!(destroy(&null, Ioas(1)), Err(Errno::NOTTY));
        assert_eq!(ranges(&null, Ioas(1)).err(), Some(Errno::NOTTY));
        assert_eq!(allow(&null, Ioas(1), &SpanSet::whole()), Err(Errno::NOTTY));
        assert_eq!(map(&null, Ioas(1), page.first(), &region, rights), Err(Errno::NOTTY));
        let file = (&null, 0, 4096);
        assert_eq!(map_file(&null, Ioas(1), page.first(), file, rights), Err(Errno::NOTTY));
        let from = (Ioas(1), page.first());
        assert_eq!(copy(&null, from, (Ioas(2), page), rights), Err(Errno::NOTTY));
        assert_eq!(unmap(&null, Ioas(1), page), Err(Errno::NOTTY));
        assert_eq!(unmap(&null, Ioas(1), Span::whole()), Err(Errno::OVERFLOW), "no such length");
        assert_eq!(unmap_all(&null, Ioas(1)), Err(Errno::NOTTY));
        assert_eq!(charge_process(&null), Err(Errno::NOTTY));
        assert_eq!(use_huge_pages(&null, Ioas(1), false), Err(Errno::NOTTY));
        assert_eq!(bind(&null, &null), Err(Errno::NOTTY));
        assert_eq!(attach(&null, Ioas(1)), Err(Errno::NOTTY));
        assert_eq!(detach(&null), Err(Errno::NOTTY));
    }

    #[test]
    fn rights_are_told_as_they_are() {
        assert_eq!(flags(Rights::READ), FIXED | READABLE);
        assert_eq!(flags(Rights::WRITE), FIXED | WRITEABLE);
        assert_eq!(flags(Rights::READ_WRITE), FIXED | READABLE | WRITEABLE);
    }
}
