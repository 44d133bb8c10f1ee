//! One device's mappings by addresses and sizes, one at a time: Cloud Hypervisor's form.

use ringfence_addr::{Address, Gpa, Iova, Rights, Span};
use ringfence_ledger::{Appears, Holder, Owner, Place, Which, Wish};
use ringfence_refusal::{Failure, Fault, Refusal};

use super::{Common, have};
use crate::account::{Mode, Reached};
use crate::memory::Backing;
use crate::refusals::NOT_PAGES;

/// Maps an owner's memory for a holder's device.
///
/// Cloud Hypervisor's `ExternalDmaMapping` (`vm-device/src/dma_mapping`) has neither rights nor handles nor
/// owners: the device's are chosen once. What it has is what this does:
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use ringfence_addr::{Gpa, Iova, Rights, Span};
/// use ringfence_iommu::adapters::Mapper;
/// use ringfence_iommu::mock::{Mock, MockMemory};
/// use ringfence_iommu::{Account, Journal};
/// use ringfence_ledger::Retirement;
///
/// /// The form, as a VMM has it.
/// trait ExternalDmaMapping: Send + Sync {
///     fn map(&self, iova: u64, gpa: u64, size: u64) -> std::io::Result<()>;
///     fn unmap(&self, iova: u64, size: u64) -> std::io::Result<()>;
/// }
///
/// struct Counted(Mapper<MockMemory>);
///
/// impl ExternalDmaMapping for Counted {
///     fn map(&self, iova: u64, gpa: u64, size: u64) -> std::io::Result<()> {
///         self.0.map(Iova::new(iova), Gpa::new(gpa), size).map_err(std::io::Error::other)
///     }
///
///     fn unmap(&self, iova: u64, size: u64) -> std::io::Result<()> {
///         self.0.unmap(Iova::new(iova), size).map_err(std::io::Error::other)
///     }
/// }
///
/// let mut account = Account::new(Journal::new(64)?);
/// let owner = account.add_owner("vm");
/// let memory = Span::from_parts(Gpa::new(0), 16 << 12).expect("it is no empty memory");
/// account.add_memory(owner, memory, MockMemory::new(1, 16), 0)?;
/// let device = Mock::with_pages(1 << 20);
/// let holder = account.add_holder(owner, "nic", Some(Box::new(device.clone())))?;
/// account.allow(owner, holder, memory, Rights::READ_WRITE, None)?;
/// let account = Arc::new(Mutex::new(account));
///
/// let nic = Counted(Mapper::new(Arc::clone(&account), owner, holder, Rights::READ_WRITE));
/// nic.map(0x10_0000, 0x1000, 0x4000)?;
/// assert_eq!(device.reached().len(), 4);
/// // What its guest's balloon wants back meanwhile, it does not get.
/// let retire = |pages| account.lock().expect("nobody came to grief").retire(owner, pages, None);
/// let page = Span::from_parts(Gpa::new(0x2000), 0x1000).expect("a page");
/// assert_eq!(retire(page)?, Retirement::Busy(vec![holder]));
/// // A part cannot be unmapped, nor what lies around the end of the space.
/// assert!(nic.unmap(0x10_0000, 0x1000).is_err());
/// assert!(nic.map(u64::MAX - 0xfff, 0x8000, 0x2000).is_err());
/// assert!(nic.map(0x20_0000, 0x8000, 0).is_err());
/// nic.unmap(0x10_0000, 0x4000)?;
/// assert!(device.reached().is_empty());
/// assert_eq!(retire(page)?, Retirement::Free);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Mapper<M> {
    account: Common<M>,
    owner: Owner,
    holder: Holder,
    rights: Rights,
}

impl<M> std::fmt::Debug for Mapper<M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Mapper({} of {}, {})", self.holder, self.owner, self.rights)
    }
}

impl<M: Backing> Mapper<M> {
    /// For this holder's device, always with these rights.
    pub fn new(account: Common<M>, owner: Owner, holder: Holder, rights: Rights) -> Self {
        Self { account, owner, holder, rights }
    }

    /// Lets the device reach `size` bytes of the owner's memory from `gpa` on, at `iova`.
    ///
    /// # Errors
    ///
    /// `RF0904` for what is no span, and as of [`Account::map`](crate::Account::map).
    pub fn map(&self, iova: Iova, gpa: Gpa, size: u64) -> Result<(), Failure> {
        let wish = Wish {
            owner: self.owner,
            memory: span(gpa, size)?,
            rights: self.rights,
            place: Place::At(iova),
            appears: Appears::Device,
        };
        let mut answers = have(&self.account)?.map(self.holder, &[wish], Mode::AllOrNothing);
        answers.pop().unwrap_or_else(|| Err(silent("map"))).map(drop)
    }

    /// Takes exactly what was mapped at `iova` away: when this succeeds the device reaches nothing of it
    /// and remembers nothing.
    ///
    /// # Errors
    ///
    /// `RF0904` for what is no span, and as of [`Account::unmap`](crate::Account::unmap); that the device
    /// may reach it still.
    pub fn unmap(&self, iova: Iova, size: u64) -> Result<(), Failure> {
        let bus = span(iova, size)?;
        let mut answers = have(&self.account)?.unmap(self.holder, &[Which::At(bus)]);
        match answers.pop().unwrap_or_else(|| Err(silent("unmap")))? {
            Reached::No => Ok(()),
            Reached::StillShared | Reached::Unknown => {
                let error = std::io::Error::other("the device may reach it still");
                Err(Fault::new("unmap for devices", bus.to_string(), error).into())
            }
        }
    }
}

fn span<A: Address>(first: A, size: u64) -> Result<Span<A>, Refusal> {
    Span::from_parts(first, size)
        .ok_or_else(|| Refusal::new(&NOT_PAGES, format!("{size:#x} bytes from {first} on")))
}

fn silent(what: &'static str) -> Failure {
    Fault::new(what, "an entry", std::io::Error::other("it was not answered")).into()
}
