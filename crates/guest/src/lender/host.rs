//! The host's side: a claim that is held, an account, and a function that is served out of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use ringfence_addr::{Gpa, PciAddress, Rights, Span, SpanSet};
use ringfence_device::served::{
    Block, Counted, GuestMemory, Lending, OpenFunction, Overlay, Prepared, Status,
};
use ringfence_device::{Held, Hold, HostWriter, Manager, RUN_FOLDER, Root, Store};
use ringfence_iommu::{Account, Journal, Memory, Type1};
use ringfence_ledger::{Holder, Owner};
use ringfence_refusal::Failure;
use ringfence_vfio_user::{Server, Stopper};

pub(crate) const MIB: u64 = 1 << 20;

type Books = Account<Memory>;

/// A function that is being served.
pub(crate) struct Host {
    pub(crate) function: PciAddress,
    pub(crate) socket: PathBuf,
    pub(crate) owner: Owner,
    pub(crate) holder: Holder,
    pub(crate) status: Status<OpenFunction, Counted<Memory>>,
    account: Arc<Mutex<Books>>,
    hold: Arc<Hold>,
    stopper: Stopper,
    thread: JoinHandle<Result<(), String>>,
}

impl Host {
    /// Holds the claim of a function and serves it at a socket.
    pub(crate) fn serve(
        address: &str,
        socket: &Path,
        planned: &SpanSet<Gpa>,
    ) -> Result<Self, String> {
        let function: PciAddress = address.parse().map_err(|_| format!("{address}: no address"))?;
        let (writer, root) = (HostWriter::default(), Root::default());
        let manager = Manager::new(root.clone(), &writer, Store::new(RUN_FOLDER));
        let hold = Arc::new(manager.hold(function).map_err(told)?);
        let account = Arc::new(Mutex::new(Account::new(Journal::new(4096).map_err(told)?)));
        let owner = books(&account)?.add_owner("desk");
        let guest = GuestMemory::new(Arc::clone(&account), owner, planned.clone());

        let port = OpenFunction::open(Arc::clone(&hold), &root, function).map_err(told)?;
        let prepared = Prepared::new(port, Overlay::default()).map_err(told)?;
        let bytes = u64::try_from(planned.length()).map_err(|error| error.to_string())?;
        let block = Block::for_memory(bytes).map_err(|refusal| refusal.to_string())?;
        let mut domain = Type1::of(container(&hold)?).map_err(told)?;
        domain.set_switch(Box::new(prepared.fence()));
        domain.set_grain(block.alignment());
        let holder = books(&account)?
            .add_holder(owner, address, Some(Box::new(domain)))
            .map_err(|refusal| refusal.to_string())?;
        guest.admit(holder, Rights::READ_WRITE).map_err(|refusal| refusal.to_string())?;
        let counted = Counted::new(Arc::clone(&account), guest, holder);
        let mut served = prepared.serve(counted, block, Lending::Descriptors);

        let server = Server::bind(socket).map_err(|fault| told(fault.into()))?;
        let (stopper, status) = (server.stopper(), served.status());
        let thread = std::thread::spawn(move || {
            server.serve(&mut served).map_err(|fault| told(fault.into()))
        });
        let socket = socket.to_owned();
        Ok(Self { function, socket, owner, holder, status, account, hold, stopper, thread })
    }

    pub(crate) fn books(&self) -> Result<MutexGuard<'_, Books>, String> {
        books(&self.account)
    }

    /// Frames that the books count, and kibibytes that the kernel has locked for us.
    pub(crate) fn counted(&self) -> Result<(u64, u64), String> {
        let charged = self.books()?.ledger().charged_frames(self.owner);
        let status = std::fs::read_to_string("/proc/self/status").map_err(|it| it.to_string())?;
        let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
        let locked = locked.and_then(|line| line.split_whitespace().next()?.parse().ok());
        Ok((charged.map_err(|refusal| refusal.to_string())?, locked.ok_or("no VmLck")?))
    }

    /// Whether the function's bus mastering is on, as the host's own config space has it.
    pub(crate) fn is_master(&self) -> Result<bool, String> {
        let path = format!("/sys/bus/pci/devices/{}/config", self.function);
        let config = std::fs::read(path).map_err(|error| error.to_string())?;
        Ok(config.get(4).is_some_and(|command| command & 4 != 0))
    }

    /// Ends the server; the hold stays.
    pub(crate) fn end(self) -> Result<Arc<Hold>, String> {
        let Self { stopper, thread, status, hold, .. } = self;
        drop(status);
        stopper.stop();
        thread.join().map_err(|_| "the server panicked")??;
        Ok(hold)
    }
}

fn container(hold: &Hold) -> Result<File, String> {
    let container = hold.held().iter().find_map(|held| match held {
        Held::Group { container, .. } => Some(container),
        Held::Device { .. } => None,
    });
    container.ok_or("no container")?.try_clone().map_err(|error| error.to_string())
}

fn books(account: &Mutex<Books>) -> Result<MutexGuard<'_, Books>, String> {
    account.lock().map_err(|_| "somebody panicked with the books".to_owned())
}

pub(crate) fn gpa(first: u64, length: u64) -> Result<Span<Gpa>, String> {
    Span::from_parts(Gpa::new(first), length).ok_or_else(|| format!("{length:#x} at {first:#x}"))
}

pub(crate) fn told(failure: Failure) -> String {
    match std::error::Error::source(&failure) {
        Some(source) => format!("{failure}: {source}"),
        None => failure.to_string(),
    }
}
