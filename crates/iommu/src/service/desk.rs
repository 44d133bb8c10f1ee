//! What each of those who are connected may do, and is told.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};

use ringfence_addr::{Gpa, Iova, Span, SpanSet};
use ringfence_ledger::{Entry, Holder, Milliseconds, Owner, Retirement, Which, Wish};
use ringfence_refusal::{Failure, Refusal};

use super::control::{Control, Happened, Reply};
use super::rules::Rule;
use super::{Devices, Opened};
use crate::account::{Account, Mode, Reached};
use crate::journal::Journal;
use crate::memory::Memory;
use crate::refusals::{NAME_TAKEN, NOT_A_MESSAGE, NOT_LISTED, NOT_YOURS};

/// How long a name may be.
const NAME_BYTES_MAX: usize = 64;

/// What a connection is.
pub(super) enum Role {
    Nobody,
    Owner(String, Owner),
    Holder(Holder),
}

pub(super) struct Vm {
    pub(super) owner: Owner,
    pub(super) memory: SpanSet<Gpa>,
    pub(super) happened: Vec<Happened>,
}

pub(super) struct Desk {
    pub(super) account: Account<Memory>,
    pub(super) devices: Box<dyn Devices>,
    pub(super) owners: BTreeMap<String, Vm>,
    /// By owner and name.
    pub(super) holders: BTreeMap<(String, String), Holder>,
    pub(super) rules: Vec<Rule>,
    pub(super) deadlines: Vec<Milliseconds>,
    /// Who is gone, and could not be tidied up after: it is tried again.
    pub(super) left: Vec<Role>,
}

type Answered = Result<(Reply, Vec<OwnedFd>), Failure>;

fn done() -> Answered {
    Ok((Reply::Done, Vec::new()))
}

impl Desk {
    pub(super) fn new(journal: Journal, devices: Box<dyn Devices>) -> Self {
        Self {
            account: Account::new(journal),
            devices,
            owners: BTreeMap::new(),
            holders: BTreeMap::new(),
            rules: Vec::new(),
            deadlines: Vec::new(),
            left: Vec::new(),
        }
    }

    pub(super) fn journal(&self) -> BorrowedFd<'_> {
        self.account.journal().descriptor()
    }

    pub(super) fn obey(
        &mut self,
        role: &mut Role,
        asked: Control,
        descriptors: Vec<OwnedFd>,
        now: Milliseconds,
    ) -> Answered {
        match asked {
            Control::Own { name } => {
                expect_nobody(role)?;
                *role = self.own(name)?;
                done()
            }
            Control::Hold { name, owner, device } => {
                expect_nobody(role)?;
                self.hold(role, name, owner, device)
            }
            asked => {
                let Role::Owner(name, owner) = &*role else {
                    let detail = format!("{asked:?} is for owners").replace('"', "");
                    return Err(Refusal::new(&NOT_YOURS, detail).into());
                };
                let (name, owner) = (name.clone(), *owner);
                self.obey_owner(&name, owner, asked, descriptors, now)
            }
        }
    }

    fn obey_owner(
        &mut self,
        name: &str,
        owner: Owner,
        asked: Control,
        mut descriptors: Vec<OwnedFd>,
        now: Milliseconds,
    ) -> Answered {
        match asked {
            Control::Memory { memory, offset } => {
                let (Some(file), true) = (descriptors.pop(), descriptors.is_empty()) else {
                    let detail = "memory comes with one file".to_owned();
                    return Err(Refusal::new(&NOT_A_MESSAGE, detail).into());
                };
                self.add_memory(name, owner, memory.into(), File::from(file), offset)?;
                done()
            }
            Control::Forget { memory } => {
                let memory = memory.into();
                self.account.remove_memory(owner, memory)?;
                if let Some(vm) = self.owners.get_mut(name) {
                    vm.memory.remove(memory);
                }
                done()
            }
            Control::Allow { holder, memory, rights, quota_bytes } => {
                let owner = name.to_owned();
                let memory = memory.map(Span::from);
                let rights = rights.into();
                self.allow(Rule { owner, holder, memory, rights, quota_bytes })?;
                done()
            }
            Control::Disallow { holder, revoke } => {
                self.disallow(name, &holder, revoke)?;
                done()
            }
            Control::Retire { memory, within_milliseconds, revoke } => {
                let memory: Span<Gpa> = memory.into();
                if revoke {
                    self.account.withdraw_mappings(owner, memory)?;
                }
                let deadline = within_milliseconds.map(|within| now.saturating_add(within));
                let answer = self.account.retire(owner, memory, deadline)?;
                let names = |holders: Vec<Holder>| self.names(&holders);
                let reply = match answer {
                    Retirement::Free => Reply::Free,
                    Retirement::Busy(holders) => Reply::Busy { holders: names(holders) },
                    Retirement::Revoking(holders) => Reply::Revoking { holders: names(holders) },
                };
                if matches!(reply, Reply::Revoking { .. }) {
                    self.deadlines.extend(deadline);
                }
                Ok((reply, Vec::new()))
            }
            Control::Again { memory } => {
                self.account.take_again(owner, memory.into())?;
                self.apply_rules(name);
                done()
            }
            Control::Events => {
                self.sort_events();
                let vm = self.owners.get_mut(name);
                let events = vm.map(|vm| std::mem::take(&mut vm.happened)).unwrap_or_default();
                Ok((Reply::Events { events }, Vec::new()))
            }
            Control::Own { .. } | Control::Hold { .. } => done(),
        }
    }

    fn own(&mut self, name: String) -> Result<Role, Refusal> {
        expect_name(&name)?;
        if self.owners.contains_key(&name) {
            return Err(Refusal::new(&NAME_TAKEN, format!("owner {name}")));
        }
        let owner = self.account.add_owner(name.clone());
        let vm = Vm { owner, memory: SpanSet::new(), happened: Vec::new() };
        self.owners.insert(name.clone(), vm);
        Ok(Role::Owner(name, owner))
    }

    fn hold(
        &mut self,
        role: &mut Role,
        name: String,
        owner_name: String,
        device: Option<String>,
    ) -> Answered {
        expect_name(&name)?;
        let is_listed =
            self.rules.iter().any(|rule| rule.owner == owner_name && rule.holder == name);
        let Some(vm) = self.owners.get(&owner_name).filter(|_| is_listed) else {
            let detail = format!("{name} is on no target list of an owner {owner_name}");
            return Err(Refusal::new(&NOT_LISTED, detail).into());
        };
        let owner = vm.owner;
        let key = (owner_name, name);
        if self.holders.contains_key(&key) {
            let detail = format!("holder {} of {}", key.1, key.0);
            return Err(Refusal::new(&NAME_TAKEN, detail).into());
        }
        let opened = device.map(|device| self.devices.open(&device)).transpose()?;
        let (domain, descriptors, kept) = match opened {
            Some(Opened { domain, descriptors, kept }) => (Some(domain), descriptors, kept),
            None => (None, Vec::new(), Vec::new()),
        };
        let usable = domain.as_ref().map(|domain| domain.usable().clone()).unwrap_or_default();
        let holder = self.account.add_holder(owner, key.1.clone(), domain)?;
        if let Err(failure) = self.devices.keep(holder, &kept) {
            self.leave(Role::Holder(holder));
            return Err(failure);
        }
        let owner_name = key.0.clone();
        self.holders.insert(key, holder);
        *role = Role::Holder(holder);
        self.apply_rules(&owner_name);
        let usable = usable.iter().map(Into::into).collect();
        Ok((Reply::Holding { owner: owner.number(), usable }, descriptors))
    }

    fn add_memory(
        &mut self,
        name: &str,
        owner: Owner,
        span: Span<Gpa>,
        file: File,
        offset: u64,
    ) -> Result<(), Failure> {
        let bytes = span.length_u64().and_then(|length| usize::try_from(length.get()).ok());
        let Some(bytes) = bytes else {
            return Err(Refusal::new(&NOT_A_MESSAGE, format!("{span} is no memory")).into());
        };
        let memory = Memory::of_file(file, offset, bytes)?;
        self.account.add_memory(owner, span, memory, 0)?;
        if let Some(vm) = self.owners.get_mut(name) {
            vm.memory.insert(span);
        }
        self.apply_rules(name);
        Ok(())
    }

    pub(super) fn find(&self, owner: &str, holder: &str, address: Iova) -> Option<Entry> {
        let holder = self.holders.get(&(owner.to_owned(), holder.to_owned()))?;
        self.account.ledger().find(*holder, address)
    }

    pub(super) fn map(
        &mut self,
        role: &Role,
        wishes: &[Wish],
        mode: Mode,
    ) -> Result<Vec<Result<Entry, Failure>>, Refusal> {
        Ok(self.account.map(expect_holder(role)?, wishes, mode))
    }

    pub(super) fn unmap(
        &mut self,
        role: &Role,
        which: &[Which],
    ) -> Result<Vec<Result<Reached, Failure>>, Refusal> {
        Ok(self.account.unmap(expect_holder(role)?, which))
    }
}

fn expect_nobody(role: &Role) -> Result<(), Refusal> {
    match role {
        Role::Nobody => Ok(()),
        _ => Err(Refusal::new(&NOT_YOURS, "the connection has a role already")),
    }
}

fn expect_holder(role: &Role) -> Result<Holder, Refusal> {
    match role {
        Role::Holder(holder) => Ok(*holder),
        _ => Err(Refusal::new(&NOT_YOURS, "batches are for holders")),
    }
}

pub(super) fn expect_name(name: &str) -> Result<(), Refusal> {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "-_.:".contains(one);
    match !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.chars().all(is_plain) {
        true => Ok(()),
        false => {
            let shown: String = name.chars().filter(|one| is_plain(*one)).take(20).collect();
            let detail = format!("a name of {} bytes, `{shown}…`", name.len());
            Err(Refusal::new(&NOT_A_MESSAGE, detail))
        }
    }
}
