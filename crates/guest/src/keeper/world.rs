//! An account with one owner, and one holder whose device is the writer.

use std::fs::File;

use ringfence_addr::{Iova, Rights};
use ringfence_iommu::{Account, Domain, Journal, Memory, Mode, Reached, Type1};
use ringfence_ledger::{Appears, Entry, Holder, Owner, Place, Which, Wish};
use ringfence_refusal::Failure;

use crate::owned::Owned;
use crate::shared::Shared;
use crate::told::{PAGE, failed, gpa, refused};
use crate::writer::{Went, Writer};

/// How many mappings its journal has room for.
const MAPPINGS: u32 = 1 << 17;

pub(crate) struct World {
    pub(crate) account: Account<Memory>,
    pub(crate) owner: Owner,
    pub(crate) holder: Holder,
    pub(crate) owned: Owned,
    pub(crate) writer: Writer,
    pub(crate) domain: Shared,
}

/// An account of somebody who has a container, and the memory of an owner.
pub(crate) fn account(
    journal: Journal,
    owned: &Owned,
    domain: impl Domain<Memory> + 'static,
) -> Result<(Account<Memory>, Owner, Holder), String> {
    let mut account = Account::new(journal);
    let owner = account.add_owner("red");
    let all = gpa(0, owned.pages);
    account.add_memory(owner, all, owned.memory.clone(), 0).map_err(refused)?;
    let holder = account.add_holder(owner, "writer", Some(Box::new(domain))).map_err(refused)?;
    account.allow(owner, holder, all, Rights::READ_WRITE, None).map_err(refused)?;
    Ok((account, owner, holder))
}

/// The container of a device that nothing is mapped for.
pub(crate) fn type1(container: File) -> Result<Type1, String> {
    Type1::of(container).map_err(failed)
}

impl World {
    /// With so many pages of memory.
    pub(crate) fn new(pages: u64) -> Result<Self, String> {
        Self::with(Writer::open()?, pages)
    }

    /// With a device that is open, and nothing mapped for it.
    pub(crate) fn with(writer: Writer, pages: u64) -> Result<Self, String> {
        let mut type1 = type1(writer.function.container_again()?)?;
        type1.set_switch(Box::new(writer.function.clone()));
        let domain = Shared::new(type1);
        let owned = Owned::new(pages)?;
        let journal = Journal::new(MAPPINGS).map_err(failed)?;
        let (account, owner, holder) = account(journal, &owned, domain.clone())?;
        Ok(Self { account, owner, holder, owned, writer, domain })
    }

    /// Pages of memory, and the page of bus addresses they are to be at.
    pub(crate) fn wish(&self, first: u64, count: u64, at: u64) -> Wish {
        wish(self.owner, first, count, at)
    }

    pub(crate) fn map(&mut self, wishes: &[Wish]) -> Vec<Result<Entry, Failure>> {
        self.account.map(self.holder, wishes, Mode::BestEffort)
    }

    /// One mapping, which must succeed.
    pub(crate) fn map_one(&mut self, wish: Wish) -> Result<Entry, String> {
        let answer = self.map(&[wish]).pop();
        answer.ok_or("no answer")?.map_err(failed)
    }

    pub(crate) fn unmap_one(&mut self, which: Which) -> Result<Reached, Failure> {
        self.account.unmap(self.holder, &[which]).remove(0)
    }

    /// What comes of a write at a page of bus addresses.
    pub(crate) fn write(&self, page: u64) -> Result<Went, String> {
        self.writer.write(Iova::new(page * PAGE), &self.owned)
    }

    pub(crate) fn reaches(&self, page: u64) -> Result<bool, String> {
        self.writer.reaches(Iova::new(page * PAGE))
    }
}

pub(crate) fn wish(owner: Owner, first: u64, count: u64, at: u64) -> Wish {
    Wish {
        owner,
        memory: gpa(first, count),
        rights: Rights::READ_WRITE,
        place: Place::At(Iova::new(at * PAGE)),
        appears: Appears::Device,
    }
}
