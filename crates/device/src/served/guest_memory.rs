//! Which memory is a VM's, and which file it is in: said by its plan, learned from what its VMM sends.
//!
//! A VMM says at which bus addresses a function is to reach which part of which file. Whose memory that is,
//! and where the guest has it, is not the VMM's to say. A plan says where the VM has memory; the first part
//! of a file that comes for such addresses, at just these addresses, has the whole span taken for that
//! file's. From then on the memory is known by its file, at whatever bus addresses an IOMMU of the guest's
//! shows it.
//!
//! Invariant `I21`: what is no memory of the VM's by its plan, another device's registers included, is not
//! mapped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_addr::{Gpa, Iova, Rights, Span, SpanSet};
use ringfence_iommu::{Account, Backing, Memory};
use ringfence_ledger::{Holder, Owner};
use ringfence_refusal::{Failure, Fault, Refusal};

use super::backing::SharedMemory;
use crate::refusals::NOT_OF_THE_VM;

/// Memory that an account's domains map, of a file.
pub trait OfFile: Backing + Send + 'static {
    /// So many bytes of the file, from `offset` on.
    ///
    /// # Errors
    ///
    /// The file is shorter, or cannot be mapped.
    fn of_file(memory: &SharedMemory, offset: u64, bytes: u64) -> Result<Self, Fault>;
}

impl OfFile for Memory {
    fn of_file(memory: &SharedMemory, offset: u64, bytes: u64) -> Result<Self, Fault> {
        let fault = |error| Fault::new("map", format!("{bytes:#x} bytes of guest memory"), error);
        let file = memory.file().try_clone().map_err(fault)?;
        let bytes = usize::try_from(bytes);
        let bytes = bytes.map_err(|error| fault(std::io::Error::other(error)))?;
        Self::of_file(file, offset, bytes)
    }
}

/// The memory of one VM, for all functions that are served to it. Clones are handles of the same.
pub struct GuestMemory<M>(Arc<Mutex<Learned<M>>>);

struct Learned<M> {
    account: Arc<Mutex<Account<M>>>,
    owner: Owner,
    planned: SpanSet<Gpa>,
    /// One for each planned span that came, so there are no more than of these.
    pieces: Vec<Piece>,
    /// Who may reach it, and with what rights.
    admitted: Vec<(Holder, Rights)>,
}

/// A planned span, and where in which file it is.
#[derive(Clone, Copy, Debug)]
struct Piece {
    span: Span<Gpa>,
    file: (u64, u64),
    first: u64,
}

impl<M> Clone for GuestMemory<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M: OfFile> GuestMemory<M> {
    /// The memory of an owner, who has none yet, at the addresses where its plan has some.
    pub fn new(account: Arc<Mutex<Account<M>>>, owner: Owner, planned: SpanSet<Gpa>) -> Self {
        let (pieces, admitted) = (Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Learned { account, owner, planned, pieces, admitted })))
    }

    /// Lets a holder reach all of it, with these rights: it is put on the owner's target list for what is
    /// known of it now, and for each part when that becomes known. Taken off the list it stays off.
    ///
    /// # Errors
    ///
    /// `RF0105` when either is gone.
    pub fn admit(&self, holder: Holder, rights: Rights) -> Result<(), Refusal> {
        let mut learned = self.learned();
        for piece in learned.pieces.clone() {
            learned.allow(holder, piece.span, rights)?;
        }
        learned.admitted.push((holder, rights));
        Ok(())
    }

    pub(super) fn owner(&self) -> Owner {
        self.learned().owner
    }

    /// Where the guest has memory that is to be at `bus`.
    ///
    /// # Errors
    ///
    /// `RF0730` for what is not the VM's; what the account says.
    pub(super) fn find(
        &self,
        memory: &SharedMemory,
        bus: Span<Iova>,
    ) -> Result<Span<Gpa>, Failure> {
        let mut learned = self.learned();
        if let Some(span) = learned.known(memory, bus) {
            return Ok(span);
        }
        learned.learn(memory, bus)?;
        let refuse = || learned.refuse(memory, bus).into();
        learned.known(memory, bus).ok_or_else(refuse)
    }

    fn learned(&self) -> MutexGuard<'_, Learned<M>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: OfFile> Learned<M> {
    fn known(&self, memory: &SharedMemory, bus: Span<Iova>) -> Option<Span<Gpa>> {
        let length = bus.length_u64()?;
        let of_file = self.pieces.iter().filter(|piece| piece.file == memory.identity());
        of_file
            .filter_map(|piece| {
                let into = memory.file_offset().checked_sub(piece.first)?;
                piece.span.subspan(into, length)
            })
            .next()
    }

    /// Takes a whole planned span for the file's.
    fn learn(&mut self, memory: &SharedMemory, bus: Span<Iova>) -> Result<(), Failure> {
        let at = bus.rebase(Gpa::new(bus.first().get()));
        let planned = at.and_then(|at| Some((at, self.planned.get(at.first())?)));
        let new = planned.filter(|(at, span)| {
            span.encloses(at) && !self.pieces.iter().any(|piece| piece.span.overlaps(span))
        });
        let found = new.and_then(|(at, span)| {
            let first = memory.file_offset().checked_sub(span.offset_of(at.first())?)?;
            Some((span, first, span.length_u64()?.get()))
        });
        let Some((span, first, bytes)) = found else { return Err(self.refuse(memory, bus).into()) };
        let piece = Piece { span, file: memory.identity(), first };
        // Memory that is two places of the guest's at once would be counted as two.
        if self.pieces.iter().any(|other| piece.shares(other)) {
            return Err(self.refuse(memory, bus).into());
        }
        let behind = M::of_file(memory, first, bytes)?;
        self.account().add_memory(self.owner, span, behind, 0)?;
        self.pieces.push(piece);
        for (holder, rights) in self.admitted.clone() {
            self.allow(holder, span, rights)?;
        }
        Ok(())
    }

    fn allow(&self, holder: Holder, span: Span<Gpa>, rights: Rights) -> Result<(), Refusal> {
        self.account().allow(self.owner, holder, span, rights, None)
    }

    fn account(&self) -> MutexGuard<'_, Account<M>> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, memory: &SharedMemory, bus: Span<Iova>) -> Refusal {
        let (_, file) = memory.identity();
        let offset = memory.file_offset();
        let detail =
            format!("{bus}, from {offset:#x} on of file {file}; the VM has {}", self.planned);
        Refusal::new(&NOT_OF_THE_VM, detail)
    }
}

impl Piece {
    fn shares(&self, other: &Self) -> bool {
        let end = |piece: &Self| u128::from(piece.first) + piece.span.length();
        let overlaps = u128::from(self.first) < end(other) && u128::from(other.first) < end(self);
        self.file == other.file && overlaps
    }
}
