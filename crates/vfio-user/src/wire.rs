//! vfio-user messages as bytes.
//!
//! QEMU's `docs/interop/vfio-user.rst`: numbers have the byte order of the machine, a message is a
//! header of 16 bytes and a body, and descriptors come as ancillary data.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a message's header.
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();

/// The most bytes one message reads or writes: the protocol's default, which the client is told.
pub(crate) const TRANSFER_BYTES_MAX: u32 = 1 << 20;

/// The most descriptors that come with one message, which the client is told. QEMU's own limit.
pub(crate) const DESCRIPTORS_MAX: usize = 16;

/// The most pieces of memory mapped at one time, which the client is told: the protocol's default.
pub(crate) const MAPPINGS_MAX: usize = 65535;

/// The most interrupts of one kind: those of an MSI-X table (PCI, 6.1.2).
pub(crate) const VECTORS_MAX: u32 = 2048;

/// The longest text in which versions are agreed on.
pub(crate) const CAPABILITIES_BYTES_MAX: usize = 4096;

/// The pages memory is mapped in, which the client is told.
pub(crate) const PAGE: u64 = 4096;

/// Numbers of requests.
pub(crate) mod command {
    pub(crate) const VERSION: u16 = 1;
    pub(crate) const DMA_MAP: u16 = 2;
    pub(crate) const DMA_UNMAP: u16 = 3;
    pub(crate) const DEVICE_GET_INFO: u16 = 4;
    pub(crate) const DEVICE_GET_REGION_INFO: u16 = 5;
    pub(crate) const DEVICE_GET_IRQ_INFO: u16 = 7;
    pub(crate) const DEVICE_SET_IRQS: u16 = 8;
    pub(crate) const REGION_READ: u16 = 9;
    pub(crate) const REGION_WRITE: u16 = 10;
    pub(crate) const DMA_READ: u16 = 11;
    pub(crate) const DMA_WRITE: u16 = 12;
    pub(crate) const DEVICE_RESET: u16 = 13;
    pub(crate) const REGION_WRITE_MULTI: u16 = 15;
}

const TYPE: u32 = 0xf;
const TYPE_REPLY: u32 = 1;
const NO_REPLY: u32 = 0x10;
const ERROR: u32 = 0x20;

/// A message's header.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Header {
    /// Chosen by whoever asks, said again in the reply.
    pub(crate) id: u16,
    /// What is asked, or was.
    pub(crate) command: u16,
    /// Bytes of the message with this header.
    pub(crate) size: u32,
    flags: u32,
    /// What went wrong, in a reply that says so.
    pub(crate) error: u32,
}

impl Header {
    /// Asks the client for something.
    pub(crate) fn request(id: u16, command: u16) -> Self {
        Self { id, command, size: 0, flags: 0, error: 0 }
    }

    /// The same for a request that nobody waits for.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn without_reply(self) -> Self {
        Self { flags: self.flags | NO_REPLY, ..self }
    }

    /// Answers a request.
    pub(crate) fn reply(self) -> Self {
        Self { size: 0, flags: TYPE_REPLY, error: 0, ..self }
    }

    /// Answers a request that was not carried out.
    pub(crate) fn failure(self, error: i32) -> Self {
        Self { size: 0, flags: TYPE_REPLY | ERROR, error: error.unsigned_abs(), ..self }
    }

    /// The same for a message of so many bytes.
    pub(crate) fn of_size(self, size: u32) -> Self {
        Self { size, ..self }
    }

    pub(crate) fn is_request(self) -> bool {
        self.flags & TYPE == 0
    }

    pub(crate) fn is_reply(self) -> bool {
        self.flags & TYPE == TYPE_REPLY
    }

    pub(crate) fn wants_reply(self) -> bool {
        self.flags & NO_REPLY == 0
    }

    pub(crate) fn is_error(self) -> bool {
        self.flags & ERROR != 0
    }

    /// The longest body a message of this kind has. What is longer is no message.
    pub(crate) fn body_bytes_max(self) -> usize {
        let data = TRANSFER_BYTES_MAX as usize;
        match self.command {
            _ if self.is_reply() => size_of::<DmaAccess>() + data,
            command::VERSION => size_of::<Version>() + CAPABILITIES_BYTES_MAX,
            command::DEVICE_SET_IRQS => size_of::<IrqSet>() + VECTORS_MAX as usize,
            command::REGION_WRITE => size_of::<RegionAccess>() + data,
            command::REGION_WRITE_MULTI => 8 + WRITES_MAX * size_of::<SmallWrite>(),
            _ => OTHER_BYTES_MAX,
        }
    }
}

/// The most writes that come in one message (QEMU sends up to 200).
pub(crate) const WRITES_MAX: usize = 1024;

/// The longest body of requests that have no data, and of those that are not known.
const OTHER_BYTES_MAX: usize = 4096;

/// What follows is in the order and with the names of the specification.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Version {
    pub(crate) major: u16,
    pub(crate) minor: u16,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DmaMap {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

pub(crate) const DMA_READABLE: u32 = 1;
pub(crate) const DMA_WRITABLE: u32 = 2;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DmaUnmap {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) address: u64,
    pub(crate) size: u64,
}

/// `VFIO_DMA_UNMAP_FLAG_ALL` of `linux/vfio.h`: everything, whatever the address says. QEMU sends it
/// when a whole address space goes.
pub(crate) const DMA_UNMAP_ALL: u32 = 2;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DeviceInfo {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) num_regions: u32,
    pub(crate) num_irqs: u32,
}

pub(crate) const DEVICE_RESETS: u32 = 1;
pub(crate) const DEVICE_IS_PCI: u32 = 2;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RegionInfo {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) index: u32,
    pub(crate) cap_offset: u32,
    pub(crate) size: u64,
    pub(crate) offset: u64,
}

pub(crate) const REGION_READS: u32 = 1;
pub(crate) const REGION_WRITES: u32 = 2;
pub(crate) const REGION_MAPS: u32 = 4;
pub(crate) const REGION_HAS_CAPS: u32 = 8;

/// `vfio_region_info_cap_sparse_mmap` of `linux/vfio.h`, before its areas.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SparseAreas {
    pub(crate) id: u16,
    pub(crate) version: u16,
    pub(crate) next: u32,
    pub(crate) nr_areas: u32,
    pub(crate) reserved: u32,
}

pub(crate) const CAP_SPARSE_MMAP: u16 = 1;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SparseArea {
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IrqInfo {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) index: u32,
    pub(crate) count: u32,
}

pub(crate) const IRQ_EVENTFD: u32 = 1;
pub(crate) const IRQ_MASKABLE: u32 = 2;
pub(crate) const IRQ_AUTOMASKED: u32 = 4;
pub(crate) const IRQ_NORESIZE: u32 = 8;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct IrqSet {
    pub(crate) argsz: u32,
    pub(crate) flags: u32,
    pub(crate) index: u32,
    pub(crate) start: u32,
    pub(crate) count: u32,
}

pub(crate) const IRQ_DATA_NONE: u32 = 1;
pub(crate) const IRQ_DATA_BOOL: u32 = 2;
pub(crate) const IRQ_DATA_EVENTFD: u32 = 4;
pub(crate) const IRQ_MASK: u32 = 8;
pub(crate) const IRQ_UNMASK: u32 = 0x10;
pub(crate) const IRQ_TRIGGER: u32 = 0x20;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct RegionAccess {
    pub(crate) offset: u64,
    pub(crate) region: u32,
    pub(crate) count: u32,
}

/// One of the writes that come together.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct SmallWrite {
    pub(crate) access: RegionAccess,
    pub(crate) data: [u8; 8],
}

/// What begins a request of ours for memory, and the client's answer to it.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct DmaAccess {
    pub(crate) address: u64,
    pub(crate) count: u64,
}
