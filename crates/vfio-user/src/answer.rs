//! Answers, byte for byte.

use std::os::fd::{AsFd, OwnedFd};

use ringfence_refusal::Fault;
use zerocopy::{Immutable, IntoBytes};

use crate::capabilities::Proposal;
use crate::device::{InterruptIndex, Mappable, Region, RegionIndex};
use crate::request::Access;
use crate::wire::{self, HEADER_BYTES};

/// The most parts of a region that are told.
const PARTS_MAX: usize = 64;

/// An answer with room for its header.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptor: Option<OwnedFd>,
}

impl Answer {
    /// An answer without anything but its header.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(HEADER_BYTES, 0);
        self.descriptor = None;
    }

    fn put<T: IntoBytes + Immutable>(&mut self, part: &T) {
        self.bytes.extend_from_slice(part.as_bytes());
    }

    pub(crate) fn version(&mut self, proposal: Proposal) {
        let (version, text) = proposal.answer();
        self.put(&version);
        self.bytes.extend_from_slice(&text);
    }

    pub(crate) fn unmapped(&mut self, asked: wire::DmaUnmap) {
        let argsz = size::<wire::DmaUnmap>();
        self.put(&wire::DmaUnmap { argsz, ..asked });
    }

    pub(crate) fn device_info(&mut self, can_reset: bool) {
        let resets = if can_reset { wire::DEVICE_RESETS } else { 0 };
        self.put(&wire::DeviceInfo {
            argsz: size::<wire::DeviceInfo>(),
            flags: resets | wire::DEVICE_IS_PCI,
            num_regions: u32::try_from(RegionIndex::ALL.len()).unwrap_or(u32::MAX),
            num_irqs: u32::try_from(InterruptIndex::ALL.len()).unwrap_or(u32::MAX),
        });
    }

    /// The region as far as there is `room` for it; its descriptor comes only with all of it.
    pub(crate) fn region_info(
        &mut self,
        index: RegionIndex,
        region: &Region<'_>,
        room: u32,
    ) -> Result<(), Fault> {
        let mut flags = 0;
        for (is_set, flag) in [
            (region.is_readable, wire::REGION_READS),
            (region.is_writable, wire::REGION_WRITES),
            (region.mappable.is_some(), wire::REGION_MAPS),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        let mut parts = Vec::new();
        if let Some(Mappable { parts: told @ [_, ..], .. }) = region.mappable {
            let told = &told[..told.len().min(PARTS_MAX)];
            flags |= wire::REGION_HAS_CAPS;
            let sparse = wire::SparseAreas {
                id: wire::CAP_SPARSE_MMAP,
                version: 1,
                next: 0,
                nr_areas: u32::try_from(told.len()).unwrap_or(u32::MAX),
                reserved: 0,
            };
            parts.extend_from_slice(sparse.as_bytes());
            for part in told {
                let area = wire::SparseArea { offset: part.offset, size: part.size };
                parts.extend_from_slice(area.as_bytes());
            }
        }
        let argsz = size::<wire::RegionInfo>() + u32::try_from(parts.len()).unwrap_or(u32::MAX);
        self.put(&wire::RegionInfo {
            argsz,
            flags,
            index: index.number(),
            // QEMU takes an offset of 0 for an error, even when it has to ask again with more room.
            cap_offset: if parts.is_empty() { 0 } else { size::<wire::RegionInfo>() },
            size: region.size,
            offset: region.mappable.map_or(0, |mappable| mappable.file_offset),
        });
        if argsz <= room {
            self.bytes.extend_from_slice(&parts);
            self.descriptor = region.mappable.map(duplicate).transpose()?;
        }
        Ok(())
    }

    pub(crate) fn interrupt_info(&mut self, index: InterruptIndex, count: u32, can_resize: bool) {
        let mut flags = if can_resize { 0 } else { wire::IRQ_NORESIZE };
        if index == InterruptIndex::Intx {
            flags |= wire::IRQ_MASKABLE | wire::IRQ_AUTOMASKED;
        }
        self.put(&wire::IrqInfo {
            argsz: size::<wire::IrqInfo>(),
            flags: flags | wire::IRQ_EVENTFD,
            index: index.number(),
            count,
        });
    }

    /// Room for the bytes that are read, all zero.
    pub(crate) fn read(&mut self, access: Access) -> &mut [u8] {
        self.written(access);
        let begin = self.bytes.len();
        self.bytes.resize(begin + access.count as usize, 0);
        &mut self.bytes[begin..]
    }

    pub(crate) fn written(&mut self, access: Access) {
        let Access { region, offset, count } = access;
        self.put(&wire::RegionAccess { offset, region: region.number(), count });
    }

    pub(crate) fn written_many(&mut self, count: usize) {
        self.put(&(count as u64));
    }
}

fn size<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

fn duplicate(mappable: Mappable<'_>) -> Result<OwnedFd, Fault> {
    let owned = mappable.descriptor.as_fd().try_clone_to_owned();
    owned.map_err(|error| Fault::new("duplicate", "a region's descriptor", error))
}
