//! An account with one virtual machine and devices that tests look into.

use ringfence_addr::{Gpa, Iova, Rights, Span};
use ringfence_iommu::mock::{Mock, MockMemory};
use ringfence_iommu::{Account, Journal};
use ringfence_ledger::{Appears, Holder, Owner, Place, Wish};

pub(crate) const PAGE: u64 = 4096;
pub(crate) const PAGES: u64 = 2048;

pub(crate) struct Kit {
    pub(crate) account: Account<MockMemory>,
    pub(crate) owner: Owner,
    pub(crate) memory: MockMemory,
    pub(crate) holders: Vec<Holder>,
    pub(crate) devices: Vec<Mock>,
}

pub(crate) fn gpa(first: u64, count: u64) -> Span<Gpa> {
    Span::from_parts(Gpa::new(first * PAGE), count * PAGE).expect("a span")
}

pub(crate) fn iova(first: u64, count: u64) -> Span<Iova> {
    Span::from_parts(Iova::new(first * PAGE), count * PAGE).expect("a span")
}

pub(crate) fn wish(owner: Owner, first: u64, count: u64, at: Option<u64>) -> Wish {
    Wish {
        owner,
        memory: gpa(first, count),
        rights: Rights::READ_WRITE,
        place: at.map_or(Place::Chosen, |page| Place::At(Iova::new(page * PAGE))),
        appears: Appears::Device,
    }
}

impl Kit {
    /// So many devices, each of which may map all of the owner's memory.
    pub(crate) fn new(devices: usize) -> Self {
        Self::with_slots(devices, 256)
    }

    pub(crate) fn with_slots(devices: usize, slots: u32) -> Self {
        let journal = Journal::new(slots).expect("a journal");
        let mut account = Account::new(journal);
        let owner = account.add_owner("red");
        let memory = MockMemory::new(7, PAGES);
        account.add_memory(owner, gpa(0, PAGES), memory.clone(), 0).expect("memory");
        let devices: Vec<Mock> = (0..devices).map(|_| Mock::with_pages(1 << 21)).collect();
        let mut holders = Vec::new();
        for (number, device) in devices.iter().enumerate() {
            let domain = Box::new(device.clone());
            let holder = account
                .add_holder(owner, format!("device {number}"), Some(domain))
                .expect("a holder");
            account.allow(owner, holder, gpa(0, PAGES), Rights::READ_WRITE, None).expect("a grant");
            holders.push(holder);
        }
        Self { account, owner, memory, holders, devices }
    }

    pub(crate) fn wish(&self, first: u64, count: u64, at: u64) -> Wish {
        wish(self.owner, first, count, Some(at))
    }

    /// The pages of memory that some device reaches, or remembers.
    pub(crate) fn reached(&self) -> std::collections::BTreeSet<u64> {
        let all = self.devices.iter().flat_map(|device| device.reached());
        all.map(|(_, (_, page, _))| page).collect()
    }

    /// **The** check, after anything: what devices reach is counted, and stands in the journal; what is
    /// not counted stands there no more, and what was given to the system is reached by nobody.
    pub(crate) fn check(&self) {
        let reached = self.reached();
        let found = self.account.journal().found().expect("the journal is read");
        assert_eq!(found.damaged, 0);
        let written: std::collections::BTreeSet<u64> = found
            .mappings
            .iter()
            .flat_map(|it| it.memory.first().get() / PAGE..=it.memory.last().get() / PAGE)
            .collect();
        for page in &reached {
            let counts = self.account.ledger().counts(self.owner, Gpa::new(page * PAGE));
            assert!(counts.is_ok_and(|it| !it.is_zero()), "page {page} is reached, not counted");
            assert!(written.contains(page), "page {page} is reached, not in the journal");
        }
        let entries = self.account.ledger().entries().count();
        assert_eq!(found.mappings.len(), entries, "the journal and the books");
        let idle = |page: &u64| self.account.ledger().is_idle(self.owner, gpa(*page, 1));
        for page in self.memory.discarded() {
            // It may have been taken again; then it was mapped anew, and is counted.
            assert!(!reached.contains(&page) || !idle(&page), "page {page} was given away");
        }
    }
}
