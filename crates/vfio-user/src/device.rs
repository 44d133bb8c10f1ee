//! What a function is to the server: regions, interrupts, memory that it may reach.
//!
//! Numbers of regions and interrupts are those of VFIO's PCI devices (`linux/vfio.h`,
//! `VFIO_PCI_*_REGION_INDEX` and `VFIO_PCI_*_IRQ_INDEX`).

use std::os::fd::{BorrowedFd, OwnedFd};

use ringfence_addr::{Iova, Rights, Span};
use ringfence_refusal::Failure;

use crate::client::Client;

/// A PCI function that is served.
///
/// Every call comes from the one thread that serves, between two messages, and holds up the VMM for
/// as long as it takes: QEMU gives up after 5 seconds, and until then a virtual CPU, or the whole
/// machine ([`Device::dma_unmap`]), stands still. Work of its own belongs to a thread of its own.
///
/// A [`Failure`] is told to the client as an error number and nothing else happens: a refusal as
/// `EPERM`, a fault as what the system said.
pub trait Device {
    /// What a region is; asked anew whenever it matters, so it should say the same each time.
    fn region(&self, index: RegionIndex) -> Region<'_>;

    /// How many interrupts of a kind there are; more than 2048 are taken for 2048.
    fn interrupts(&self, _index: InterruptIndex) -> u32 {
        0
    }

    /// Whether single interrupts of a kind may be connected while others of it are. Where they may not,
    /// the client disconnects all of them first (`VFIO_IRQ_INFO_NORESIZE`).
    fn can_resize(&self, index: InterruptIndex) -> bool {
        matches!(index, InterruptIndex::Intx | InterruptIndex::MsiX)
    }

    /// Whether there is a reset ([`Device::reset`]). A client is told, and may ask all the same.
    fn can_reset(&self) -> bool {
        true
    }

    /// Reads bytes of a region: as many as there is room for, at least one, at most 1 MiB.
    ///
    /// They lie inside the region, which is one that can be read; beyond that they are as the guest
    /// asked, of any alignment.
    ///
    /// # Errors
    ///
    /// The client gets an error instead of bytes.
    fn read(&mut self, region: RegionIndex, offset: u64, data: &mut [u8]) -> Result<(), Failure>;

    /// Writes bytes of a region, under the same conditions.
    ///
    /// # Errors
    ///
    /// The client gets an error.
    fn write(&mut self, region: RegionIndex, offset: u64, data: &[u8]) -> Result<(), Failure>;

    /// Does what a function-level reset does. QEMU asks for it when the machine starts, and whenever
    /// the guest is reset.
    ///
    /// # Errors
    ///
    /// The client gets an error.
    fn reset(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    /// Changes where interrupts go; [`Interrupts`](crate::Interrupts) does all there is to do. The
    /// vectors are among those that there are.
    ///
    /// # Errors
    ///
    /// The client gets an error.
    fn set_interrupts(&mut self, _set: SetInterrupts) -> Result<(), Failure> {
        Ok(())
    }

    /// Lets the device reach memory from here on. No byte of it is reachable already.
    ///
    /// # Errors
    ///
    /// The client gets an error, and the memory is not taken for mapped.
    fn dma_map(&mut self, _mapping: DmaMapping) -> Result<(), Failure> {
        Ok(())
    }

    /// Takes memory away: exactly a span that was mapped. When this returns nothing of it is reached
    /// any more: the guest may use it for something else at once.
    ///
    /// # Errors
    ///
    /// The client gets an error, and the memory is taken for mapped still.
    fn dma_unmap(&mut self, _span: Span<Iova>) -> Result<(), Failure> {
        Ok(())
    }

    /// A client is there, and has agreed on a version. The handle reaches memory that comes without a
    /// descriptor ([`DmaMapping::memory`]).
    fn connected(&mut self, _client: Client) {}

    /// The client is gone, and what it has mapped is about to be taken away: a device that goes on by
    /// itself is stopped here.
    fn leaving(&mut self) {}

    /// The client is gone. What it had mapped was taken away by [`Device::dma_unmap`] before; its
    /// interrupts are to be forgotten here ([`Interrupts::clear`](crate::Interrupts::clear)). The
    /// state of the device is the device's affair.
    fn disconnected(&mut self) {}

    /// Something the client said was refused, or failed; the client was told, if it could be. Called
    /// at a pace the client chooses, so what is kept of it has to be bounded.
    fn refused(&mut self, _failure: &Failure) {}
}

/// The regions of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegionIndex {
    /// What base address register 0 points to.
    Bar0,
    /// What base address register 1 points to.
    Bar1,
    /// What base address register 2 points to.
    Bar2,
    /// What base address register 3 points to.
    Bar3,
    /// What base address register 4 points to.
    Bar4,
    /// What base address register 5 points to.
    Bar5,
    /// The expansion ROM.
    Rom,
    /// Configuration space, 256 bytes or 4 KiB.
    Config,
    /// Legacy VGA ports and memory.
    Vga,
}

impl RegionIndex {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Bar0,
        Self::Bar1,
        Self::Bar2,
        Self::Bar3,
        Self::Bar4,
        Self::Bar5,
        Self::Rom,
        Self::Config,
        Self::Vga,
    ];

    /// The region of this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self as u32
    }
}

/// The kinds of interrupts of a PCI function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InterruptIndex {
    /// The line, level-triggered: there is one or none.
    Intx,
    /// Message-signalled, up to 32.
    Msi,
    /// Message-signalled with a table, up to 2048.
    MsiX,
    /// Something went wrong that the device cannot mend.
    Error,
    /// The device is wanted back.
    Request,
}

impl InterruptIndex {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Intx, Self::Msi, Self::MsiX, Self::Error, Self::Request];

    /// The kind of this number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self as u32
    }
}

/// A region as a device describes it.
#[derive(Clone, Copy, Debug)]
pub struct Region<'a> {
    /// Bytes; none when there is no such region.
    pub size: u64,
    /// Whether the client may read it.
    pub is_readable: bool,
    /// Whether the client may write it.
    pub is_writable: bool,
    /// What of it the client may map instead of asking for each access. It may still ask.
    pub mappable: Option<Mappable<'a>>,
}

impl Region<'_> {
    /// No region.
    pub const ABSENT: Region<'static> =
        Region { size: 0, is_readable: false, is_writable: false, mappable: None };

    /// A region of which every access comes to [`Device::read`] and [`Device::write`].
    pub const fn trapped(size: u64) -> Region<'static> {
        Region { size, is_readable: true, is_writable: true, mappable: None }
    }
}

/// A file that holds a region's bytes, for the client to map.
#[derive(Clone, Copy, Debug)]
pub struct Mappable<'a> {
    /// The file; the client gets a duplicate, and can keep it.
    pub descriptor: BorrowedFd<'a>,
    /// Where in the file the region begins.
    pub file_offset: u64,
    /// Which parts of the region may be mapped; none means all of it. At most 64 are told.
    pub parts: &'a [RegionPart],
}

/// Bytes of a region, whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionPart {
    /// Bytes into the region.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// Memory of the guest that the device may reach from now on.
#[derive(Debug)]
pub struct DmaMapping {
    /// The addresses the device sees it at.
    pub span: Span<Iova>,
    /// What the device may do with it; reading, writing or both.
    pub rights: Rights,
    /// The memory itself; without it, it is reached by asking the client only.
    pub memory: Option<DmaMemory>,
}

/// A file that holds memory of the guest.
///
/// It is the client's: it may be shorter than what was mapped of it, and become so at any time, so
/// mapping it and touching what is not there ends a process that is not prepared for that.
#[derive(Debug)]
pub struct DmaMemory {
    /// The file.
    pub descriptor: OwnedFd,
    /// Where in it the first byte of the span is. Adding the span's length does not overflow.
    pub file_offset: u64,
}

/// A change of some interrupts of one kind.
#[derive(Debug)]
pub struct SetInterrupts {
    /// Which kind.
    pub index: InterruptIndex,
    /// Which of them, ascending; each is one of those that there are.
    pub vectors: Vec<u32>,
    /// What to do with each.
    pub change: InterruptChange,
}

/// What is to be done with interrupts.
#[derive(Debug)]
pub enum InterruptChange {
    /// Each is to be signalled by the eventfd of the same place in the list.
    Connect(Vec<OwnedFd>),
    /// They are not to be signalled any more.
    Disconnect,
    /// Signal them now.
    Trigger,
    /// Keep them back until they are unmasked.
    Mask,
    /// Let them through, with what was kept back.
    Unmask,
}
