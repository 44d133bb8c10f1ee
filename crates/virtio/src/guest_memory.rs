//! The guest's memory as the VMM named it, reached only through permits.
//!
//! Regions come with `SET_MEM_TABLE` and `ADD_MEM_REG`; each is checked against its file, entered
//! in the ledger as the VM's, granted to this device, and mapped. A number from a ring becomes a
//! [`Claim`], the ledger makes a [`Permit`] of it, and only a permit reads or writes. The backend
//! sees none of this.
//!
//! A device of our own (`pci`) has its memory from the VMM span by span, without addresses of the
//! VMM's: [`GuestMemory::add_span`].

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ringfence_addr::{Address, Gpa, Hva, Rights, Span, SpanMap};
use ringfence_ledger::{Claim, Holder, Ledger, Owner, Permit};
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::fs::SealFlags;
use vm_memory::{FileOffset, MmapRegion};

use crate::guards::{Guard, Guards};
use crate::guest_queue::RingAddress;
use crate::refusals::{BAD_REGION, BAD_RING, UNSEALED_MEMORY};
use crate::shared::Area;
use crate::window::identity;
use crate::wire::MemoryRegion;

/// Regions one VMM may name, as many as libvhost-user takes.
pub(crate) const REGIONS_MAX: usize = 509;

/// Everything the VMM said is the guest's memory.
pub(crate) struct GuestMemory {
    ledger: Ledger,
    owner: Owner,
    holder: Holder,
    regions: SpanMap<Gpa, Region>,
    by_user_address: SpanMap<Hva, Gpa>,
    window: (u64, u64),
    requires_sealed: bool,
    guards: Guards,
}

#[derive(Clone)]
struct Region {
    /// The whole mapping, which may begin before and end after the region.
    mapped: Area,
    /// Whether its file cannot be shrunk.
    is_sealed: bool,
    /// Where in the mapping the region begins.
    offset: usize,
    user: Option<Span<Hva>>,
}

impl GuestMemory {
    /// No memory yet. `device` names the holder in refusals; `window` is the file that must not
    /// turn up as guest memory.
    pub(crate) fn new(device: &str, window: (u64, u64), guards: Guards) -> Self {
        let mut ledger = Ledger::new();
        let owner = ledger.add_owner("the guest");
        let holder = ledger.add_holder(owner, device).expect("the owner was just entered");
        Self {
            ledger,
            owner,
            holder,
            regions: SpanMap::new(),
            by_user_address: SpanMap::new(),
            window,
            requires_sealed: false,
            guards,
        }
    }

    /// Another window is in use now.
    pub(crate) fn set_window(&mut self, window: (u64, u64)) {
        self.window = window;
    }

    /// Bytes of guest memory named so far.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = self.ledger.memory_bytes(self.owner).expect("the owner is never removed");
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// From now on takes only regions whose files cannot be shrunk.
    pub(crate) fn require_sealed(&mut self, required: bool) {
        self.requires_sealed = required;
    }

    /// Of all bytes, those in files that could be shrunk.
    pub(crate) fn unsealed_bytes(&self) -> u64 {
        let unsealed = self.regions.iter().filter(|(_, region)| !region.is_sealed);
        let bytes: u128 = unsealed.map(|(span, _)| span.length()).sum();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Takes one region and the file it is in. Nothing is changed when it is refused.
    pub(crate) fn add(&mut self, claim: &MemoryRegion, file: OwnedFd) -> Result<(), Failure> {
        let (guest, user) = spans_of(claim)?;
        if self.by_user_address.overlapping(user).next().is_some() {
            let detail = format!("VMM address {user} lies in another region");
            return Err(Refusal::new(&BAD_REGION, detail).into());
        }
        self.enter(guest, Some(user), claim.mmap_offset, file)?;
        self.by_user_address.insert(user, guest.first());
        Ok(())
    }

    /// Takes a span that the VMM lends without saying where it has it itself; it begins `file_offset`
    /// bytes into the file. Nothing is changed when it is refused.
    pub(crate) fn add_span(
        &mut self,
        guest: Span<Gpa>,
        file_offset: u64,
        file: OwnedFd,
    ) -> Result<(), Failure> {
        self.enter(guest, None, file_offset, file)
    }

    fn enter(
        &mut self,
        guest: Span<Gpa>,
        user: Option<Span<Hva>>,
        file_offset: u64,
        file: OwnedFd,
    ) -> Result<(), Failure> {
        if self.regions.len() >= REGIONS_MAX {
            let detail = format!("the VMM named more than {REGIONS_MAX} regions");
            return Err(Refusal::new(&BAD_REGION, detail).into());
        }
        let region = map(guest, user, file_offset, file, self.window)?;
        if self.requires_sealed && !region.is_sealed {
            let detail = format!("{guest}: its file could be shrunk while it is in use");
            return Err(Refusal::new(&UNSEALED_MEMORY, detail).into());
        }
        self.ledger.add_memory(self.owner, guest)?;
        self.ledger
            .grant(self.holder, guest, Rights::READ_WRITE)
            .expect("memory just entered can be granted");
        self.regions.insert(guest, region);
        Ok(())
    }

    /// Forgets one region, which must be one that was named.
    pub(crate) fn remove(&mut self, claim: &MemoryRegion) -> Result<(), Refusal> {
        let (guest, _) = spans_of(claim)?;
        self.remove_span(guest)
    }

    /// The same by its guest-physical addresses alone.
    pub(crate) fn remove_span(&mut self, guest: Span<Gpa>) -> Result<(), Refusal> {
        let Some(region) = self.regions.remove_exact(guest) else {
            let detail = format!("{guest} is no region that was named");
            return Err(Refusal::new(&BAD_REGION, detail));
        };
        if let Some(user) = region.user {
            self.by_user_address.remove(user);
        }
        self.ledger.remove_memory(self.owner, guest)
    }

    /// Turns what the guest alleges into a permit. Invariant `within-memory`: nothing else does.
    pub(crate) fn check(&self, claim: Claim<Gpa>) -> Result<Permit<'_, Gpa>, Refusal> {
        #[cfg(feature = "unguarded")]
        if !self.guards.stands(Guard::Memory) {
            return Ok(Permit::unguarded(claim));
        }
        self.ledger.check(self.holder, claim)
    }

    /// Copies permitted guest memory out.
    pub(crate) fn read(&self, permit: &Permit<'_, Gpa>, into: &mut [u8]) {
        let mut done = 0;
        self.for_each_piece(permit, |area, offset, length| {
            area.read(offset, &mut into[done..done + length]);
            done += length;
        });
    }

    /// Copies bytes of ours into permitted guest memory.
    pub(crate) fn write(&self, permit: &Permit<'_, Gpa>, from: &[u8]) {
        assert!(permit.rights().allows(Rights::WRITE), "writing needs a permit to write");
        let mut done = 0;
        self.for_each_piece(permit, |area, offset, length| {
            area.write(offset, &from[done..done + length]);
            done += length;
        });
    }

    /// Copies permitted guest memory into the window at `offset`.
    pub(crate) fn copy_out(&self, permit: &Permit<'_, Gpa>, window: &Area, offset: usize) {
        assert!(permit.rights().allows(Rights::READ), "copying out needs a permit to read");
        let mut done = 0;
        self.for_each_piece(permit, |area, from, length| {
            area.copy_to(from, window, offset + done, length);
            done += length;
        });
    }

    /// Copies from the window at `offset` into permitted guest memory.
    pub(crate) fn copy_in(&self, permit: &Permit<'_, Gpa>, window: &Area, offset: usize) {
        assert!(permit.rights().allows(Rights::WRITE), "copying in needs a permit to write");
        let mut done = 0;
        self.for_each_piece(permit, |area, to, length| {
            window.copy_to(offset + done, area, to, length);
            done += length;
        });
    }

    /// Visits the pieces a permitted span has in the regions it crosses.
    fn for_each_piece(&self, permit: &Permit<'_, Gpa>, mut visit: impl FnMut(&Area, usize, usize)) {
        let (mut at, last) = (permit.span().first(), permit.span().last());
        loop {
            // A permit shows the memory to be the owner's, and every region of the owner's is here.
            // (Without its guards it shows nothing, and what is not mapped is not reached.)
            let checked = self.guards.stands(Guard::Memory) && self.guards.stands(Guard::ReadOnce);
            let Some((span, region)) = self.regions.get(at) else {
                assert!(!checked, "a permit for memory nobody has");
                return;
            };
            let within = span.offset_of(at).expect("found by this address");
            let start = region.offset + usize_of(within);
            let end = if checked {
                last.min(span.last())
            } else {
                let mapped = u64::try_from(region.mapped.length() - start).expect("a length");
                last.min(at.checked_add(mapped - 1).expect("mapped, so no wrap"))
            };
            let length = usize_of(end.offset_from(at).expect("end is not before at")) + 1;
            visit(&region.mapped, start, length);
            match end.checked_add(1) {
                Some(next) if end < last => at = next,
                _ => return,
            }
        }
    }

    /// The memory of a part of a ring.
    pub(crate) fn ring(
        &self,
        at: RingAddress,
        length: usize,
        rights: Rights,
        what: &str,
    ) -> Result<Area, Refusal> {
        let refuse = |detail: String| Refusal::new(&BAD_RING, format!("{what}: {detail}"));
        let guest = match at {
            RingAddress::Guest(guest) => guest,
            RingAddress::Vmm(user) => {
                let Some((span, first)) = self.by_user_address.get(user) else {
                    let detail = format!("VMM address {user} is in no region of guest memory");
                    return Err(refuse(detail));
                };
                let offset = span.offset_of(user).expect("found by this address");
                first.checked_add(offset).expect("a region does not wrap")
            }
        };
        let claim = Claim::from_numbers(guest, length as u64, rights)
            .map_err(|refusal| refusal.within(what))?;
        let permit = self.check(claim).map_err(|refusal| refusal.within(what))?;
        // What is permitted is in a region, of which every guard but one is sure.
        let Some((span, region)) = self.regions.get(guest) else {
            return Err(refuse(format!("{guest} is in no region of guest memory")));
        };
        if !span.encloses(&permit.span()) {
            return Err(refuse(format!("{} crosses the end of {span}", permit.span())));
        }
        let offset = span.offset_of(guest).expect("found by this address");
        let start = region.offset + usize_of(offset);
        region
            .mapped
            .part(start, length)
            .ok_or_else(|| refuse(format!("{} is not all mapped", permit.span())))
    }
}

fn usize_of(length: u64) -> usize {
    usize::try_from(length).expect("mapped lengths fit this machine's addresses")
}

/// The two spans a region claims.
fn spans_of(claim: &MemoryRegion) -> Result<(Span<Gpa>, Span<Hva>), Refusal> {
    let guest = Claim::from_numbers(Gpa::new(claim.guest_address), claim.size, Rights::READ_WRITE)
        .map_err(|refusal| refusal.within("guest memory region"))?;
    let user = Claim::from_numbers(Hva::new(claim.user_address), claim.size, Rights::READ_WRITE)
        .map_err(|refusal| refusal.within("VMM address of a region"))?;
    Ok((guest.span(), user.span()))
}

/// Maps a region's part of its file, after looking whether the file has it.
fn map(
    guest: Span<Gpa>,
    user: Option<Span<Hva>>,
    file_offset: u64,
    file: OwnedFd,
    window: (u64, u64),
) -> Result<Region, Failure> {
    let status = rustix::fs::fstat(&file)
        .map_err(|errno| Fault::new("look at", "the file of a memory region", errno))?;
    let refuse = |detail: String| Refusal::new(&BAD_REGION, format!("{guest}: {detail}"));
    if identity(file.as_fd()).ok() == Some(window) {
        return Err(refuse("its file is the window itself".into()).into());
    }
    let file_bytes = u64::try_from(status.st_size).unwrap_or(0);
    let end = guest.length_u64().and_then(|size| file_offset.checked_add(size.get()));
    let Some(end) = end.filter(|end| *end <= file_bytes) else {
        let detail = format!(
            "offset {file_offset:#x} and size pass the end of its file of {file_bytes:#x} bytes"
        );
        return Err(refuse(detail).into());
    };
    // Files on hugetlbfs map only in whole huge pages; the block size says how large those are.
    let block = u64::try_from(status.st_blksize)
        .ok()
        .filter(|block| block.is_power_of_two())
        .unwrap_or(4096)
        .max(4096);
    let map_first = file_offset - file_offset % block;
    let map_end =
        end.checked_next_multiple_of(block).map_or(file_bytes, |rounded| rounded.min(file_bytes));
    // Files of other kinds have no seals, and say so.
    let is_sealed =
        rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
    let length = usize::try_from(map_end - map_first)
        .map_err(|_| refuse("it is larger than this process can map".into()))?;
    let mapping = MmapRegion::from_file(FileOffset::new(file.into(), map_first), length)
        .map_err(|error| refuse(format!("its file cannot be mapped: {error}")))?;
    Ok(Region {
        mapped: Area::whole(Arc::new(mapping)),
        is_sealed,
        offset: usize_of(file_offset - map_first),
        user,
    })
}
