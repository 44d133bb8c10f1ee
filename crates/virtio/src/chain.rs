//! A descriptor chain as the guest published it: copied once, its syntax checked, its addresses
//! still claims.
//!
//! Virtio 1.2, section 2.7.5 ("The Virtqueue Descriptor Table"). Every word the guest can change is
//! read exactly once, into a private copy; what is checked is what is used.

use ringfence_addr::{Gpa, Rights};
use ringfence_ledger::Claim;
use ringfence_refusal::Refusal;
use virtio_bindings::virtio_ring::{VRING_DESC_F_INDIRECT, VRING_DESC_F_NEXT, VRING_DESC_F_WRITE};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::guest_memory::GuestMemory;
use crate::refusals::BAD_CHAIN;
use crate::shared::Area;

/// Bytes of a descriptor.
pub(crate) const DESCRIPTOR_BYTES: usize = 16;

/// The longest chain taken, as in QEMU (`VIRTQUEUE_MAX_SIZE`): an indirect table may be longer
/// than the ring, and devices in use make tables of up to this.
pub(crate) const CHAIN_MAX: usize = 1024;

/// The most bytes one chain may name. Far above any real request, and far below what could
/// overflow the sums made of it.
const CHAIN_BYTES_MAX: u64 = 1 << 32;

pub(crate) const NEXT: u16 = flag(VRING_DESC_F_NEXT);
pub(crate) const WRITE: u16 = flag(VRING_DESC_F_WRITE);
pub(crate) const INDIRECT: u16 = flag(VRING_DESC_F_INDIRECT);

const fn flag(bits: u32) -> u16 {
    assert!(bits <= 0xffff, "flags of a descriptor have 16 bits");
    (bits & 0xffff) as u16
}

/// `struct vring_desc`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Descriptor {
    pub(crate) address: u64,
    pub(crate) length: u32,
    pub(crate) flags: u16,
    pub(crate) next: u16,
}

/// One chain, privately.
#[derive(Debug, Default)]
pub(crate) struct Chain {
    /// The descriptor it starts with, by which the guest knows it.
    pub(crate) head: u16,
    /// Which entry of the available ring named it.
    pub(crate) position: u16,
    /// Whether it came in an indirect table, and so goes to the backend in one.
    pub(crate) indirect: bool,
    /// What each buffer claims: readable by the device first, then writable.
    pub(crate) buffers: Vec<Claim<Gpa>>,
    /// Bytes the device may read, in all.
    pub(crate) readable: u64,
    /// Bytes the device may write, in all.
    pub(crate) writable: u64,
    /// The private copy of an indirect table, kept for its room.
    table: Vec<u8>,
}

/// Where chains are read from.
pub(crate) struct Source<'a> {
    /// The descriptor table.
    pub(crate) table: &'a Area,
    /// Entries of the table.
    pub(crate) size: u16,
    /// Whether the guest may use indirect tables.
    pub(crate) indirect: bool,
    /// For the indirect tables.
    pub(crate) memory: &'a GuestMemory,
}

impl Chain {
    /// For how many buffers there is room without asking for more memory.
    pub(crate) fn room(&self) -> usize {
        self.buffers.capacity().max(self.table.capacity() / DESCRIPTOR_BYTES)
    }

    /// Reads the chain that starts at `head` in place of what this one held.
    ///
    /// # Errors
    ///
    /// `RF0209` for a chain that breaks the rules, and the ledger's refusals for an indirect table
    /// out of bounds. The chain is then of no use.
    pub(crate) fn read(&mut self, source: &Source<'_>, head: u16) -> Result<(), Refusal> {
        self.head = head;
        self.indirect = false;
        self.buffers.clear();
        self.readable = 0;
        self.writable = 0;
        let mut index = head;
        for _ in 0..source.size {
            if index >= source.size {
                return Err(self.bad(format!("descriptor {index} of {}", source.size)));
            }
            // Invariant `read-once`: the copy is what is checked and used from here on.
            let mut bytes = [0; DESCRIPTOR_BYTES];
            source.table.read(usize::from(index) * DESCRIPTOR_BYTES, &mut bytes);
            let descriptor = Descriptor::read_from_bytes(&bytes).expect("as long as it is");
            if descriptor.flags & INDIRECT != 0 {
                return self.read_indirect(source, descriptor);
            }
            self.push(descriptor)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(());
            }
            index = descriptor.next;
        }
        Err(self.bad(format!("more than the ring's {} descriptors: a loop", source.size)))
    }

    fn read_indirect(
        &mut self,
        source: &Source<'_>,
        descriptor: Descriptor,
    ) -> Result<(), Refusal> {
        if !source.indirect {
            return Err(self.bad("an indirect table, which was not negotiated".into()));
        }
        // Plain descriptors may come before the table (section 2.7.5.3.2), none after it.
        if descriptor.flags & NEXT != 0 {
            return Err(self.bad("an indirect table with descriptors after it".into()));
        }
        let length = descriptor.length as usize;
        let entries = length / DESCRIPTOR_BYTES;
        let room = CHAIN_MAX.saturating_sub(self.buffers.len());
        if !length.is_multiple_of(DESCRIPTOR_BYTES) || !(1..=room).contains(&entries) {
            return Err(self.bad(format!("an indirect table of {length} bytes")));
        }
        let address = Gpa::new(descriptor.address);
        let claim = Claim::from_numbers(address, length as u64, Rights::READ)
            .map_err(|refusal| refusal.within(format_args!("chain {}", self.head)))?;
        let permit = source
            .memory
            .check(claim)
            .map_err(|refusal| refusal.within(format_args!("chain {}", self.head)))?;
        let mut table = std::mem::take(&mut self.table);
        table.resize(length, 0);
        source.memory.read(&permit, &mut table);
        let result = self.walk(&table, entries);
        self.table = table;
        result
    }

    fn walk(&mut self, table: &[u8], entries: usize) -> Result<(), Refusal> {
        self.indirect = true;
        let mut index = 0;
        for _ in 0..entries {
            let at = index * DESCRIPTOR_BYTES;
            let Some(entry) = table.get(at..at + DESCRIPTOR_BYTES) else {
                return Err(self.bad(format!("entry {index} of an indirect table of {entries}")));
            };
            let descriptor = Descriptor::read_from_bytes(entry).expect("as long as it is");
            if descriptor.flags & INDIRECT != 0 {
                return Err(self.bad("an indirect table within an indirect table".into()));
            }
            self.push(descriptor)?;
            if descriptor.flags & NEXT == 0 {
                return Ok(());
            }
            index = usize::from(descriptor.next);
        }
        Err(self.bad(format!("more than the {entries} entries of its table: a loop")))
    }

    fn push(&mut self, descriptor: Descriptor) -> Result<(), Refusal> {
        let rights = if descriptor.flags & WRITE == 0 { Rights::READ } else { Rights::WRITE };
        let length = u64::from(descriptor.length);
        let claim = Claim::from_numbers(Gpa::new(descriptor.address), length, rights)
            .map_err(|refusal| refusal.within(format_args!("chain {}", self.head)))?;
        if rights == Rights::WRITE {
            self.writable += length;
        } else if self.writable > 0 {
            return Err(self.bad("a device-readable buffer after a device-writable one".into()));
        } else {
            self.readable += length;
        }
        if self.readable + self.writable > CHAIN_BYTES_MAX {
            return Err(self.bad(format!("more than {CHAIN_BYTES_MAX} bytes in one chain")));
        }
        self.buffers.push(claim);
        Ok(())
    }

    fn bad(&self, detail: String) -> Refusal {
        Refusal::new(&BAD_CHAIN, format!("chain {}: {detail}", self.head))
    }
}
