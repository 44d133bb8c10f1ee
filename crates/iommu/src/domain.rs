//! What carries orders out: the contract of every back end.
//!
//! A *domain* is the bus addresses of one holder, as its device's IOMMU translates them. A back end
//! says what it did, not what it was asked: an answer that is less is a failure, and whoever keeps the
//! books treats it as one.

use ringfence_addr::{Iova, Rights, Span, SpanSet};
use ringfence_ledger::Answer;
use ringfence_refusal::Failure;

/// Memory that is to appear at bus addresses: as much of it as there are addresses.
#[derive(Clone, Debug)]
pub struct Piece<M> {
    /// Where.
    pub bus: Span<Iova>,
    /// What.
    pub memory: M,
    /// Where in the memory it begins, in bytes.
    pub offset: u64,
    /// With what rights.
    pub rights: Rights,
}

/// What became of a piece that was to be mapped.
#[derive(Debug)]
pub enum Mapped {
    /// It is.
    Done,
    /// Nothing of it is.
    Not(Failure),
    /// Something of it may be.
    Unknown(Failure),
}

/// The bus addresses of one holder's device.
///
/// After [`Domain::unmap`] answered and [`Domain::flush`] succeeded the device reaches nothing of what was
/// taken out, and remembers nothing of it; after [`Domain::fence`] it reaches nothing at all.
pub trait Domain<M>: Send {
    /// The bus addresses that can be mapped. It does not change.
    fn usable(&self) -> &SpanSet<Iova>;

    /// Maps pieces that do not overlap, and overlap nothing that is mapped: one answer for each, in
    /// order. One that fails leaves the others as they are.
    fn map(&mut self, pieces: &[Piece<M>]) -> Vec<Mapped>;

    /// Takes out spans that were mapped, one or more whole pieces each. `answered` is told of each as it
    /// is done, with what was done.
    ///
    /// A span may be answered by a later call: when it shares an entry of the back end's with another
    /// that was not asked for. Until then the device reaches it.
    fn unmap(&mut self, spans: &[Span<Iova>], answered: &mut dyn FnMut(Span<Iova>, Answer));

    /// Has the device forget what it remembers of spans that were taken out: one wait for all of them.
    ///
    /// # Errors
    ///
    /// Nobody knows whether it did.
    fn flush(&mut self, spans: &[Span<Iova>]) -> Result<(), Failure>;

    /// Cuts the device off from memory altogether.
    ///
    /// # Errors
    ///
    /// It may reach memory still.
    fn fence(&mut self) -> Result<(), Failure>;

    /// Lets a device that was fenced, cleared and reset reach what will be mapped from here on.
    ///
    /// # Errors
    ///
    /// It is cut off still.
    fn unfence(&mut self) -> Result<(), Failure>;

    /// Takes everything out and has the device forget it.
    ///
    /// # Errors
    ///
    /// Something may be left.
    fn clear(&mut self) -> Result<(), Failure>;

    /// What a device would find at an address; `None` where the back end cannot say.
    fn probe(&mut self, _address: Iova) -> Option<Option<Rights>> {
        None
    }
}

/// Cuts a device off, apart from its mappings: its bus master bit, say.
pub trait Switch: Send {
    /// The device starts no transaction any more when this returns.
    ///
    /// # Errors
    ///
    /// It may.
    fn off(&mut self) -> Result<(), Failure>;

    /// It may again.
    ///
    /// # Errors
    ///
    /// It may not.
    fn on(&mut self) -> Result<(), Failure>;
}
