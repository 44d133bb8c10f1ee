//! An account for other processes: owners and holders ask for what they want over a socket each.
//!
//! Who somebody is follows from the connection and nothing he says: the first message makes it an
//! *owner* (a virtual machine, who gives memory and wants it back) or a *holder* (who maps it), and with
//! the connection goes all that it had. Control is JSON (`control`); batches are bytes (`batch`).
//!
//! **Invariant:** a connection reaches nothing but its own: an owner its memory and its target list, a
//! holder its mappings. Default is deny: a holder that no owner lists cannot even join.

pub mod batch;
mod client;
pub mod control;
mod desk;
mod leaving;
mod lists;
mod packet;
mod rules;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringfence_addr::Iova;
use ringfence_ledger::Holder;
use ringfence_refusal::{Failure, Refusal};

use crate::domain::Domain;
use crate::journal::Journal;
use crate::memory::Memory;
use crate::refusals::NOT_A_MESSAGE;
use control::{Control, Reply};
use desk::{Desk, Role};
use packet::{Kind, Packet};

pub use client::{HolderClient, OwnerClient};
pub use rules::{Allowed, Rule};

/// Where holders' devices come from.
pub trait Devices: Send {
    /// Opens a device by the name that a holder gives, for the exclusive use of that holder: what carries
    /// out its mappings, and what it may have besides, to drive the device.
    ///
    /// # Errors
    ///
    /// There is none, or it is not to be had.
    fn open(&mut self, name: &str) -> Result<Opened, Failure>;

    /// The device that was opened last is this holder's from here on. What is kept of it is given to
    /// whoever comes after a crash; until this returns nothing is mapped.
    ///
    /// # Errors
    ///
    /// Nobody would come after a crash: the holder does not get it.
    fn keep(&mut self, _holder: Holder, _kept: &[OwnedFd]) -> Result<(), Failure> {
        Ok(())
    }

    /// The holder is gone, and nothing that its device could reach is left.
    fn let_go(&mut self, _holder: Holder) {}
}

/// A device that was opened for a holder.
pub struct Opened {
    /// What carries out its mappings.
    pub domain: Box<dyn Domain<Memory>>,
    /// What the holder gets: nothing by which it could map anything.
    pub descriptors: Vec<OwnedFd>,
    /// What a supervisor needs to cut the device off when nobody else is left.
    pub kept: Vec<OwnedFd>,
}

/// No devices: for holders that are processes alone.
pub struct NoDevices;

impl Devices for NoDevices {
    fn open(&mut self, name: &str) -> Result<Opened, Failure> {
        Err(Refusal::new(&crate::refusals::NO_DOMAIN, name.to_owned()).into())
    }
}

/// One account, and everybody who uses it.
pub struct Service {
    desk: Mutex<Desk>,
    /// A deadline was set.
    news: Condvar,
    began: Instant,
}

/// How long somebody waits at most when nothing has a deadline.
const IDLE: Duration = Duration::from_secs(3600);

impl Service {
    /// An account with nobody in it.
    pub fn new(journal: Journal, devices: Box<dyn Devices>) -> Arc<Self> {
        let desk = Mutex::new(Desk::new(journal, devices));
        Arc::new(Self { desk, news: Condvar::new(), began: Instant::now() })
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Serves one connection to its end, and tidies up after it. Whoever calls this has seen who is there.
    pub fn serve(&self, stream: &UnixStream) {
        let mut role = Role::Nobody;
        let mut body = Vec::new();
        let mut answer = Vec::new();
        loop {
            let packet = match packet::receive(stream, &mut body) {
                Ok(Some(packet)) => packet,
                Ok(None) | Err(_) => break,
            };
            answer.clear();
            let sent = match packet.kind {
                Kind::Control => {
                    let (reply, descriptors) = self.control(&mut role, packet, &body);
                    let reply = serde_json::to_vec(&reply).unwrap_or_default();
                    packet::send(stream, Kind::Control, &reply, &descriptors)
                }
                Kind::Map | Kind::Unmap => {
                    self.batch(&role, packet.kind, &body, &mut answer);
                    packet::send(stream, packet.kind, &answer, &[])
                }
            };
            if sent.is_err() {
                break;
            }
        }
        self.desk().leave(role);
        self.news.notify_all();
    }

    fn control(&self, role: &mut Role, packet: Packet, body: &[u8]) -> (Reply, Vec<OwnedFd>) {
        let asked: Result<Control, Failure> = serde_json::from_slice(body).map_err(|error| {
            let detail = error.to_string().replace(|one: char| one.is_control(), " ");
            Refusal::new(&NOT_A_MESSAGE, detail).into()
        });
        let now = self.now();
        let outcome =
            asked.and_then(|asked| self.desk().obey(role, asked, packet.descriptors, now));
        self.news.notify_all();
        match outcome {
            Ok((reply, descriptors)) => (reply, descriptors),
            Err(failure) => (failure.into(), Vec::new()),
        }
    }

    fn batch(&self, role: &Role, kind: Kind, body: &[u8], answer: &mut Vec<u8>) {
        let answers = match kind {
            Kind::Map => batch::read_wishes(body).and_then(|(mode, wishes)| {
                let mapped = self.desk().map(role, &wishes, mode)?;
                Ok(mapped.iter().map(batch::Answer::of_map).collect())
            }),
            _ => batch::read_which(body).and_then(|which| {
                let unmapped = self.desk().unmap(role, &which)?;
                Ok(unmapped.iter().map(batch::Answer::of_unmap).collect())
            }),
        };
        let answers: Vec<batch::Answer> =
            answers.unwrap_or_else(|refusal| vec![batch::Answer::refusal(&refusal)]);
        batch::write_answers(&answers, answer);
    }

    /// Cuts off whoever lets a deadline pass, for ever.
    pub fn watch_deadlines(&self) -> ! {
        let mut desk = self.desk();
        loop {
            let now = self.now();
            let next = desk.pass(now);
            let wait = next.map_or(IDLE, |at| Duration::from_millis(at.saturating_sub(now).max(1)));
            desk = match self.news.wait_timeout(desk, wait) {
                Ok((desk, _)) => desk,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// What somebody with the right to, who is neither owner nor holder, does to a target list.
    ///
    /// # Errors
    ///
    /// As for an owner's own.
    pub fn allow(&self, rule: Rule) -> Result<(), Failure> {
        self.desk().allow(rule).map_err(Failure::from)
    }

    /// Takes a holder off an owner's target list.
    ///
    /// # Errors
    ///
    /// `RF0115` while it has mappings and they are not to be revoked, `RF0917` when it is not on it.
    pub fn disallow(&self, owner: &str, holder: &str, revoke: bool) -> Result<(), Failure> {
        self.desk().disallow(owner, holder, revoke).map_err(Failure::from)
    }

    /// Every target list, with what is mapped by it.
    pub fn allowed(&self) -> Vec<Allowed> {
        self.desk().allowed()
    }

    /// Who reaches a bus address of a holder's device, for those who ask why.
    pub fn find(
        &self,
        owner: &str,
        holder: &str,
        address: Iova,
    ) -> Option<ringfence_ledger::Entry> {
        self.desk().find(owner, holder, address)
    }

    /// The journal's file, and what to cut the devices off with: what a supervisor keeps.
    ///
    /// # Errors
    ///
    /// There are no more descriptors.
    pub fn journal(&self) -> std::io::Result<OwnedFd> {
        self.desk().journal().try_clone_to_owned()
    }
}
