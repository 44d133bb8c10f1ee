//! What outlives the service: its supervisor keeps the journal, and what cuts devices off.
//!
//! The supervisor is systemd, or whoever speaks as it does (`sd_notify(3)`, "FDSTORE"; `sd_listen_fds(3)`):
//! descriptors are handed to it by name over the socket in `NOTIFY_SOCKET`, and come back to the service's
//! successor as `LISTEN_FDS`. Each life of the service has names of its own, so that nothing of one life is
//! taken for another's. Without a supervisor there is no successor either: said once.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use ringfence_device::BusMaster;
use ringfence_iommu::{Domain, Journal, Memory, Type1};
use ringfence_ledger::Holder;
use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::refusals::NOT_RECOVERED;

/// systemd passes no more than `FileDescriptorStoreMax=`, which the unit sets.
const DESCRIPTORS_MAX: i32 = 1024;
/// `SD_LISTEN_FDS_START`.
const FIRST: i32 = 3;

/// What an earlier life left with the supervisor.
pub(in crate::serve) struct Kept {
    supervisor: Option<UnixDatagram>,
    left: Vec<(String, OwnedFd)>,
}

/// A way to the supervisor, in this life.
pub(super) struct Keeping {
    supervisor: Option<UnixDatagram>,
    life: String,
}

type Tell<'a> = &'a dyn Fn(&'static str, String);

impl Kept {
    /// Takes over what the supervisor gave: before anything else is open.
    pub(in crate::serve) fn from_environment() -> Result<Self, Failure> {
        let said = |name: &str| std::env::var(name).ok();
        let is_ours = said("LISTEN_PID").is_some_and(|pid| pid == std::process::id().to_string());
        let count = said("LISTEN_FDS").and_then(|count| count.parse::<i32>().ok());
        let count = count.filter(|_| is_ours).unwrap_or(0).clamp(0, DESCRIPTORS_MAX);
        let names = said("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut left = Vec::new();
        if count > 0 {
            for (number, file) in ringfence_jail::take_inherited(FIRST..FIRST + count)? {
                let place = usize::try_from(number - FIRST).unwrap_or(usize::MAX);
                left.push((names.get(place).copied().unwrap_or("unknown").to_owned(), file));
            }
        }
        let supervisor = said("NOTIFY_SOCKET").map(|name| connect(&name)).transpose()?;
        Ok(Self { supervisor, left })
    }

    /// Cuts off what devices an earlier life left reaching anything; `tell` hears what came of it.
    ///
    /// # Errors
    ///
    /// `RF0421` when some device could not be: its memory may be reached, and nothing is served.
    pub(super) fn recover(self, tell: Tell<'_>) -> Result<Keeping, Failure> {
        let life = format!("{:016x}", rand());
        let keeping = Keeping { supervisor: self.supervisor, life };
        let mut journals = Vec::new();
        let mut devices: BTreeMap<String, Vec<OwnedFd>> = BTreeMap::new();
        for (name, file) in self.left {
            match name.strip_prefix("journal-") {
                Some(life) => journals.push((life.to_owned(), file)),
                None => devices.entry(name).or_default().push(file),
            }
        }
        for (life, file) in journals {
            let journal = Journal::of(file.into())?;
            let recovered = journal.recover(|holder| reach(&mut devices, &life, holder))?;
            if recovered.damaged > 0 {
                let slots = recovered.damaged;
                tell(
                    "recovered",
                    format!("{slots} slots of the journal were cut short by the crash"),
                );
            }
            if !recovered.settled.is_empty() {
                let count = recovered.settled.len();
                tell(
                    "recovered",
                    format!("{count} mappings of an earlier life: their devices are cut off"),
                );
            }
            if let Some((holder, entries, failure)) = recovered.left.into_iter().next() {
                let count = entries.len();
                let detail = format!("{holder} with {count} mappings: {failure}");
                return Err(Refusal::new(&NOT_RECOVERED, detail).into());
            }
            keeping.forget(&format!("journal-{life}"));
        }
        // Devices of which no journal speaks reach nothing.
        for name in devices.keys() {
            keeping.forget(name);
        }
        if keeping.supervisor.is_none() {
            let words = "nobody keeps the journal: run as a service of systemd's, which does \
                         (FileDescriptorStoreMax=)";
            tell("not-kept", words.to_owned());
        }
        Ok(keeping)
    }
}

/// The device of a holder of an earlier life: its container, and the function.
fn reach(
    devices: &mut BTreeMap<String, Vec<OwnedFd>>,
    life: &str,
    holder: Holder,
) -> Result<Box<dyn Domain<Memory>>, Failure> {
    let name = holder_name(life, holder);
    let mut files = devices.remove(&name).unwrap_or_default().into_iter();
    let Some(container) = files.next() else {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(Fault::new("find what was kept of", name, error).into());
    };
    let mut domain = Type1::of_earlier_life(container.into())?;
    if let Some(function) = files.next() {
        domain.set_switch(Box::new(BusMaster::of(function)?));
    }
    Ok(Box::new(domain))
}

fn holder_name(life: &str, holder: Holder) -> String {
    format!("holder-{life}-{:x}", holder.number())
}

impl Keeping {
    pub(super) fn keep_journal(&self, journal: &Journal) -> Result<(), Failure> {
        Ok(self.say(&self.stored(&format!("journal-{}", self.life)), &[journal.descriptor()])?)
    }

    pub(super) fn keep(&self, holder: Holder, kept: &[OwnedFd]) -> Result<(), Failure> {
        if kept.is_empty() {
            return Ok(());
        }
        let name = holder_name(&self.life, holder);
        let files: Vec<BorrowedFd<'_>> = kept.iter().map(AsFd::as_fd).collect();
        Ok(self.say(&self.stored(&name), &files)?)
    }

    pub(super) fn let_go(&self, holder: Holder) {
        self.forget(&holder_name(&self.life, holder));
    }

    fn stored(&self, name: &str) -> String {
        // Polling would have it dropped on an error that these files have not.
        format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}")
    }

    fn forget(&self, name: &str) {
        // What the supervisor keeps too long only takes room.
        let _kept = self.say(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), &[]);
    }

    fn say(&self, text: &str, files: &[BorrowedFd<'_>]) -> Result<(), Fault> {
        let Some(supervisor) = &self.supervisor else { return Ok(()) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(files));
        }
        sendmsg(supervisor, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(|errno| Fault::new("hand over to", "the supervisor", errno))
    }
}

/// A socket's name is a path, or one in the abstract namespace with an `@` in front.
fn connect(name: &str) -> Result<UnixDatagram, Fault> {
    let fault = |error| Fault::new("connect to", "the supervisor", error);
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    };
    let socket = UnixDatagram::unbound().map_err(fault)?;
    socket.connect_addr(&address.map_err(fault)?).map_err(fault)?;
    Ok(socket)
}

/// A number that no earlier life had.
fn rand() -> u64 {
    let mut bytes = [0; 8];
    // Where the kernel gives none, the time is as good: lives come one after another.
    let _filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::from_ne_bytes(bytes) ^ since.map_or(0, |since| u64::from(since.subsec_nanos()))
}
