//! A client's message becomes a request whose every number was checked, or a refusal.

use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use ringfence_addr::{Iova, Rights, Span};
use ringfence_refusal::Refusal;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::capabilities::Proposal;
use crate::device::{DmaMapping, DmaMemory, InterruptIndex, RegionIndex};
use crate::refusals::{
    MALFORMED, NO_INTERRUPT, NO_SPAN, OUTSIDE_REGION, UNSUPPORTED, WRONG_DESCRIPTORS,
};
use crate::wire::{self, Header, TRANSFER_BYTES_MAX, VECTORS_MAX, command};

/// What a client asks for.
#[derive(Debug)]
pub(crate) enum Request<'a> {
    Version(Proposal),
    Map(DmaMapping),
    Unmap(Unmap),
    DeviceInfo,
    RegionInfo { index: RegionIndex, room: u32 },
    InterruptInfo(InterruptIndex),
    SetInterrupts(VectorChange<'a>),
    Read(Access),
    Write(Access, &'a [u8]),
    WriteMany(&'a [wire::SmallWrite]),
    Reset,
}

/// Memory to be taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unmap {
    /// What the answer says again.
    pub(crate) wire: wire::DmaUnmap,
    /// The whole address space, if it is all of it.
    pub(crate) span: Span<Iova>,
}

/// Bytes of a region; not yet compared with what the device says of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) region: RegionIndex,
    pub(crate) offset: u64,
    pub(crate) count: u32,
}

/// A change of interrupts; not yet compared with how many there are.
#[derive(Debug)]
pub(crate) struct VectorChange<'a> {
    pub(crate) index: InterruptIndex,
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) action: Action,
    pub(crate) data: VectorData<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Mask,
    Unmask,
    Trigger,
}

/// Which of the vectors are meant, or where they are to go.
#[derive(Debug)]
pub(crate) enum VectorData<'a> {
    All,
    Where(&'a [u8]),
    /// One for each, or none at all.
    Eventfds(Vec<OwnedFd>),
}

impl<'a> Request<'a> {
    /// Reads what a message says; descriptors that it should not have are closed.
    ///
    /// # Errors
    ///
    /// `RF1002` and `RF1004` to `RF1009`.
    pub(crate) fn parse(
        header: Header,
        body: &'a [u8],
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<Self, Refusal> {
        let most = match header.command {
            command::DMA_MAP => 1,
            command::DEVICE_SET_IRQS => wire::DESCRIPTORS_MAX,
            _ => 0,
        };
        if descriptors.len() > most {
            let detail = format!("{} where {most} is the most", descriptors.len());
            return Err(Refusal::new(&WRONG_DESCRIPTORS, detail));
        }
        match header.command {
            command::VERSION => Proposal::parse(body).map(Self::Version),
            command::DMA_MAP => map(exactly(body)?, descriptors.pop()).map(Self::Map),
            command::DMA_UNMAP => unmap(exactly(body)?).map(Self::Unmap),
            command::DEVICE_GET_INFO => {
                let info: wire::DeviceInfo = exactly(body)?;
                room::<wire::DeviceInfo>(info.argsz)?;
                Ok(Self::DeviceInfo)
            }
            command::DEVICE_GET_REGION_INFO => {
                let info: wire::RegionInfo = exactly(body)?;
                let room = room::<wire::RegionInfo>(info.argsz)?;
                Ok(Self::RegionInfo { index: region(info.index)?, room })
            }
            command::DEVICE_GET_IRQ_INFO => {
                let info: wire::IrqInfo = exactly(body)?;
                room::<wire::IrqInfo>(info.argsz)?;
                interrupt(info.index).map(Self::InterruptInfo)
            }
            command::DEVICE_SET_IRQS => vectors(body, descriptors).map(Self::SetInterrupts),
            command::REGION_READ => access(exactly(body)?).map(Self::Read),
            command::REGION_WRITE => {
                let (wire, data) = beginning(body)?;
                let access = access(wire)?;
                if data.len() != access.count as usize {
                    return Err(malformed(format!("{} bytes for {access:?}", data.len())));
                }
                Ok(Self::Write(access, data))
            }
            command::REGION_WRITE_MULTI => {
                let (count, rest): (u64, _) = beginning(body)?;
                let writes = <[wire::SmallWrite]>::ref_from_bytes(rest)
                    .map_err(|_| malformed(format!("{} bytes are no writes", rest.len())))?;
                if count != writes.len() as u64 {
                    return Err(malformed(format!("{} writes, not {count}", writes.len())));
                }
                Ok(Self::WriteMany(writes))
            }
            command::DEVICE_RESET if body.is_empty() => Ok(Self::Reset),
            command::DEVICE_RESET => Err(malformed(format!("a reset of {} bytes", body.len()))),
            other => Err(Refusal::new(&UNSUPPORTED, format!("request {other}"))),
        }
    }
}

/// One write of several; its data is as long as it says.
pub(crate) fn small(write: &wire::SmallWrite) -> Result<(Access, &[u8]), Refusal> {
    let access = access(write.access)?;
    let data = write.data.get(..access.count as usize);
    let data = data.ok_or_else(|| malformed(format!("8 bytes at most, for {access:?}")))?;
    Ok((access, data))
}

fn malformed(detail: String) -> Refusal {
    Refusal::new(&MALFORMED, detail)
}

fn exactly<T: FromBytes>(body: &[u8]) -> Result<T, Refusal> {
    let wanted = size_of::<T>();
    T::read_from_bytes(body).map_err(|_| malformed(format!("{} bytes, not {wanted}", body.len())))
}

fn beginning<T: FromBytes + Immutable + KnownLayout>(body: &[u8]) -> Result<(T, &[u8]), Refusal> {
    let wanted = size_of::<T>();
    T::read_from_prefix(body)
        .map_err(|_| malformed(format!("{} bytes, {wanted} are the fewest", body.len())))
}

/// How much of an answer the client wants; at least all of `T`.
fn room<T>(argsz: u32) -> Result<u32, Refusal> {
    if (argsz as usize) < size_of::<T>() {
        return Err(malformed(format!("room for {argsz} bytes, not {}", size_of::<T>())));
    }
    Ok(argsz)
}

fn region(number: u32) -> Result<RegionIndex, Refusal> {
    RegionIndex::from_number(number)
        .ok_or_else(|| Refusal::new(&OUTSIDE_REGION, format!("region {number}")))
}

fn interrupt(number: u32) -> Result<InterruptIndex, Refusal> {
    InterruptIndex::from_number(number)
        .ok_or_else(|| Refusal::new(&NO_INTERRUPT, format!("interrupts of kind {number}")))
}

fn access(wire: wire::RegionAccess) -> Result<Access, Refusal> {
    let region = region(wire.region)?;
    if wire.count == 0 || wire.count > TRANSFER_BYTES_MAX {
        let detail = format!("{} bytes of {region:?} at {:#x}", wire.count, wire.offset);
        return Err(Refusal::new(&OUTSIDE_REGION, detail));
    }
    Ok(Access { region, offset: wire.offset, count: wire.count })
}

/// Whole pages of bus addresses.
fn span(first: Iova, size: u64) -> Result<Span<Iova>, Refusal> {
    NonZeroU64::new(size)
        .filter(|_| (first.get() | size).is_multiple_of(wire::PAGE))
        .and_then(|size| Span::from_length(first, size))
        .ok_or_else(|| Refusal::new(&NO_SPAN, format!("{size:#x} bytes from {first}")))
}

fn map(wire: wire::DmaMap, descriptor: Option<OwnedFd>) -> Result<DmaMapping, Refusal> {
    if (wire.argsz as usize) < size_of::<wire::DmaMap>() {
        return Err(malformed(format!("a mapping of {} bytes", wire.argsz)));
    }
    let span = span(Iova::new(wire.address), wire.size)?;
    let rights = match wire.flags {
        wire::DMA_READABLE => Rights::READ,
        wire::DMA_WRITABLE => Rights::WRITE,
        flags if flags == wire::DMA_READABLE | wire::DMA_WRITABLE => Rights::READ_WRITE,
        flags => return Err(Refusal::new(&NO_SPAN, format!("{span} with flags {flags:#x}"))),
    };
    // Offsets in files are signed.
    let fits = wire.offset.checked_add(wire.size).is_some_and(|end| i64::try_from(end).is_ok());
    if !fits || !wire.offset.is_multiple_of(wire::PAGE) {
        let detail = format!("{span} at {:#x} of a file", wire.offset);
        return Err(Refusal::new(&NO_SPAN, detail));
    }
    let memory = descriptor.map(|descriptor| DmaMemory { descriptor, file_offset: wire.offset });
    Ok(DmaMapping { span, rights, memory })
}

fn unmap(wire: wire::DmaUnmap) -> Result<Unmap, Refusal> {
    let span = match wire.flags {
        0 => span(Iova::new(wire.address), wire.size)?,
        wire::DMA_UNMAP_ALL if wire.address == 0 && wire.size == 0 => Span::whole(),
        flags => return Err(malformed(format!("flags {flags:#x} for taking memory away"))),
    };
    Ok(Unmap { wire, span })
}

fn vectors(body: &[u8], descriptors: Vec<OwnedFd>) -> Result<VectorChange<'_>, Refusal> {
    let (wire, rest): (wire::IrqSet, _) = beginning(body)?;
    let index = interrupt(wire.index)?;
    let action =
        match wire.flags & !(wire::IRQ_DATA_NONE | wire::IRQ_DATA_BOOL | wire::IRQ_DATA_EVENTFD) {
            wire::IRQ_MASK => Action::Mask,
            wire::IRQ_UNMASK => Action::Unmask,
            wire::IRQ_TRIGGER => Action::Trigger,
            _ => return Err(malformed(format!("flags {:#x} for {index:?}", wire.flags))),
        };
    if wire.count > VECTORS_MAX {
        let detail = format!("{} of {index:?} from {}", wire.count, wire.start);
        return Err(Refusal::new(&NO_INTERRUPT, detail));
    }
    let count = wire.count as usize;
    let data_flag =
        wire.flags & (wire::IRQ_DATA_NONE | wire::IRQ_DATA_BOOL | wire::IRQ_DATA_EVENTFD);
    let (data, bytes) = match data_flag {
        wire::IRQ_DATA_NONE if descriptors.is_empty() => (VectorData::All, 0),
        wire::IRQ_DATA_BOOL if descriptors.is_empty() => (VectorData::Where(rest), count),
        wire::IRQ_DATA_EVENTFD if descriptors.is_empty() || descriptors.len() == count => {
            (VectorData::Eventfds(descriptors), 0)
        }
        wire::IRQ_DATA_NONE | wire::IRQ_DATA_BOOL | wire::IRQ_DATA_EVENTFD => {
            let detail = format!("{} for {count} of {index:?}", descriptors.len());
            return Err(Refusal::new(&WRONG_DESCRIPTORS, detail));
        }
        _ => return Err(malformed(format!("flags {:#x} for {index:?}", wire.flags))),
    };
    // What the message has beyond the fixed part is the data, and `argsz` says the same.
    if rest.len() != bytes || wire.argsz as usize != body.len() {
        let detail =
            format!("{} bytes and {} said for {count} of {index:?}", body.len(), wire.argsz);
        return Err(malformed(detail));
    }
    Ok(VectorChange { index, first: wire.start, count: wire.count, action, data })
}
