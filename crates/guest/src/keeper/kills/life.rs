//! One life of the service: it maps, unmaps, has a device cut off, and ends when it is told.

use std::fs::File;

use ringfence_iommu::{Account, Journal, Memory, Mode};
use ringfence_ledger::{Holder, Which, Wish};
use rustix::process::{PidfdFlags, PidfdGetfdFlags, getppid, pidfd_getfd, pidfd_open};

use super::PAGES;
use super::step::Stepping;
use crate::owned::Owned;
use crate::told::{bus, failed, gpa, refused};
use crate::world::{account, type1, wish};

/// Lives with what its supervisor has, by descriptor, until the step of this number.
pub(crate) fn life(container: &str, journal: &str, memory: &str, step: &str) -> Result<(), String> {
    let left = step.parse().map_err(|error| format!("{step}: {error}"))?;
    let inner = type1(inherited(container)?)?;
    let journal = Journal::of(inherited(journal)?).map_err(failed)?;
    let owned = Owned::of(inherited(memory)?, PAGES)?;
    let (mut account, owner, holder) = account(journal, &owned, Stepping { inner, left })?;
    let batch = [wish(owner, 0, 4, 0x100), wish(owner, 4, 2, 0x200), wish(owner, 6, 1, 0x300)];
    map(&mut account, holder, &batch)?;
    let both = [Which::At(bus(0x200, 2)), Which::At(bus(0x300, 1))];
    for answer in account.unmap(holder, &both) {
        answer.map_err(failed)?;
    }
    map(&mut account, holder, &[wish(owner, 8, 2, 0x200)])?;
    account.retire(owner, gpa(0, 1), Some(10)).map_err(refused)?;
    account.pass(11);
    account.readmit(holder).map_err(failed)?;
    map(&mut account, holder, &[wish(owner, 9, 1, 0x100)])?;
    account.holder_died(holder).map_err(refused)
}

fn map(account: &mut Account<Memory>, holder: Holder, wishes: &[Wish]) -> Result<(), String> {
    let answers = account.map(holder, wishes, Mode::AllOrNothing);
    answers.into_iter().try_for_each(|answer| answer.map(drop).map_err(failed))
}

/// A descriptor of the process that started this one.
fn inherited(number: &str) -> Result<File, String> {
    let number = number.parse().map_err(|error| format!("{number}: {error}"))?;
    let parent = getppid().ok_or("no parent")?;
    let parent = pidfd_open(parent, PidfdFlags::empty()).map_err(|errno| errno.to_string())?;
    let file = pidfd_getfd(parent, number, PidfdGetfdFlags::empty());
    file.map(File::from).map_err(|errno| errno.to_string())
}
