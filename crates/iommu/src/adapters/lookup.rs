//! The account as an IOMMU of vm-memory's: for devices that are programs, with bus addresses to translate.

use ringfence_addr::{Address, Iova, Rights, Span};
use ringfence_ledger::{Holder, Owner};
use vm_memory::iommu::{Error, IotlbIterator, IovaRange};
use vm_memory::{GuestAddress, Iommu, Iotlb, Permissions};

use super::{Common, have};
use crate::memory::Backing;

/// Where a holder's bus addresses lead in its owner's memory.
///
/// Every translation is looked up in the books and none is kept, so none can be stale: what was unmapped
/// before is not found, nor anything of a holder that is cut off. The answer is as of when it was asked
/// for; a program that goes on using it must be one that is asked before its memory is taken.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use ringfence_addr::{Gpa, Iova, Rights, Span};
/// use ringfence_iommu::adapters::{Lookup, Mapper};
/// use ringfence_iommu::mock::{Mock, MockMemory};
/// use ringfence_iommu::{Account, Journal};
/// use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, IommuMemory};
///
/// let mut account = Account::new(Journal::new(64)?);
/// let owner = account.add_owner("vm");
/// let all = Span::from_parts(Gpa::new(0), 16 << 12).expect("it is no empty memory");
/// account.add_memory(owner, all, MockMemory::new(1, 16), 0)?;
/// let device = Mock::with_pages(1 << 20);
/// let holder = account.add_holder(owner, "disk", Some(Box::new(device)))?;
/// account.allow(owner, holder, all, Rights::READ_WRITE, None)?;
/// let account = Arc::new(Mutex::new(account));
///
/// // What a backend on vm-memory has: the guest's memory, by bus addresses.
/// let guest = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(0), 16 << 12)])?;
/// let lookup = Lookup::new(Arc::clone(&account), owner, holder);
/// let memory = IommuMemory::new(guest.clone(), lookup, true, ());
///
/// let mapped = |rights| Mapper::new(Arc::clone(&account), owner, holder, rights);
/// mapped(Rights::READ_WRITE).map(Iova::new(0x10_0000), Gpa::new(0x3000), 0x1000)?;
/// mapped(Rights::READ_WRITE).map(Iova::new(0x10_1000), Gpa::new(0x7000), 0x1000)?;
/// mapped(Rights::READ).map(Iova::new(0x20_0000), Gpa::new(0x3000), 0x1000)?;
/// // Over the end of one mapping into the next.
/// memory.write_slice(b"fenced", GuestAddress(0x10_0ffd))?;
/// let mut found = [0; 3];
/// guest.read_slice(&mut found, GuestAddress(0x7000))?;
/// assert_eq!(&found, b"ced");
/// memory.read_slice(&mut found, GuestAddress(0x20_0ffd))?;
/// assert_eq!(&found, b"fen");
/// // Not with a right it has not, nor beside, nor around the end of the space, nor afterwards.
/// assert!(memory.write_slice(b"x", GuestAddress(0x20_0000)).is_err());
/// assert!(memory.read_slice(&mut found, GuestAddress(0x10_1ffe)).is_err());
/// assert!(memory.read_slice(&mut found, GuestAddress(u64::MAX - 1)).is_err());
/// mapped(Rights::READ).unmap(Iova::new(0x20_0000), 0x1000)?;
/// assert!(memory.read_slice(&mut found, GuestAddress(0x20_0000)).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Lookup<M> {
    account: Common<M>,
    owner: Owner,
    holder: Holder,
}

impl<M> std::fmt::Debug for Lookup<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Lookup({} of {})", self.holder, self.owner)
    }
}

impl<M: Backing> Lookup<M> {
    /// For this holder, and memory of this owner's alone.
    pub fn new(account: Common<M>, owner: Owner, holder: Holder) -> Self {
        Self { account, owner, holder }
    }

    /// Enters whatever is mapped of `span`: one part for each mapping, until one is not.
    fn look_up(&self, span: Span<Iova>) -> Result<Iotlb, String> {
        let account = have(&self.account).map_err(|fault| fault.to_string())?;
        let ledger = account.ledger();
        let mut found = Iotlb::new();
        let mut at = span.first();
        loop {
            // A holder that is cut off has nothing here, whatever is still in the books.
            let lives = ledger.translate(self.holder, at).is_some();
            let entry = ledger.find(self.holder, at).filter(|it| lives && it.owner == self.owner);
            let part = entry.and_then(|it| {
                let bus = it.bus?;
                let part = bus.intersection(&span)?;
                let target =
                    it.memory.first().checked_add(part.first().offset_from(bus.first())?)?;
                Some((part, target, permissions(it.rights)))
            });
            let (part, target, may) = part.ok_or_else(|| format!("{at} is not mapped"))?;
            let length = usize::try_from(part.length()).map_err(|error| error.to_string())?;
            let (from, to) = (GuestAddress(part.first().get()), GuestAddress(target.get()));
            found.set_mapping(from, to, length, may).map_err(|error| error.to_string())?;
            match part.last().checked_add(1).filter(|_| part.last() < span.last()) {
                Some(next) => at = next,
                None => return Ok(found),
            }
        }
    }
}

impl<M: Backing> Iommu for Lookup<M>
where
    Common<M>: Send + Sync,
{
    type IotlbGuard<'a>
        = Box<Iotlb>
    where
        Self: 'a;

    fn translate(
        &self,
        iova: GuestAddress,
        length: usize,
        access: Permissions,
    ) -> Result<IotlbIterator<Self::IotlbGuard<'_>>, Error> {
        let no = |reason: String| {
            let iova_range = IovaRange { base: iova, length };
            Error::CannotResolve { iova_range, reason }
        };
        // vm-memory says where a range ends by the address behind it: the last one has none.
        let span = u64::try_from(length)
            .ok()
            .and_then(|length| Span::from_parts(Iova::new(iova.0), length))
            .filter(|span| span.last() != Iova::LAST)
            .ok_or_else(|| no("it is empty, or reaches the end of the space".to_owned()))?;
        let found = Box::new(self.look_up(span).map_err(no)?);
        Iotlb::lookup(found, iova, length, access)
            .map_err(|_| no("it is mapped with fewer rights".to_owned()))
    }
}

fn permissions(rights: Rights) -> Permissions {
    match (rights.allows(Rights::READ), rights.allows(Rights::WRITE)) {
        (true, true) => Permissions::ReadWrite,
        (true, false) => Permissions::Read,
        (false, true) => Permissions::Write,
        (false, false) => Permissions::No,
    }
}
