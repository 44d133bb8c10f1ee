//! A domain that an account has, and this program, too: to ask it what the account does not tell.

use std::sync::{Arc, Mutex, MutexGuard};

use ringfence_addr::{Iova, Span, SpanSet};
use ringfence_iommu::{Domain, Mapped, Memory, Piece, Type1};
use ringfence_ledger::Answer;
use ringfence_refusal::Failure;

#[derive(Clone)]
pub(crate) struct Shared {
    usable: SpanSet<Iova>,
    type1: Arc<Mutex<Type1>>,
}

impl Shared {
    pub(crate) fn new(type1: Type1) -> Self {
        let usable = Domain::usable(&type1).clone();
        Self { usable, type1: Arc::new(Mutex::new(type1)) }
    }

    pub(crate) fn type1(&self) -> MutexGuard<'_, Type1> {
        self.type1.lock().expect("nobody panics with it")
    }
}

impl Domain<Memory> for Shared {
    fn usable(&self) -> &SpanSet<Iova> {
        &self.usable
    }

    fn map(&mut self, pieces: &[Piece<Memory>]) -> Vec<Mapped> {
        Domain::map(&mut *self.type1(), pieces)
    }

    fn unmap(&mut self, spans: &[Span<Iova>], answered: &mut dyn FnMut(Span<Iova>, Answer)) {
        Domain::unmap(&mut *self.type1(), spans, answered);
    }

    fn flush(&mut self, spans: &[Span<Iova>]) -> Result<(), Failure> {
        self.type1().flush(spans)
    }

    fn fence(&mut self) -> Result<(), Failure> {
        self.type1().fence()
    }

    fn unfence(&mut self) -> Result<(), Failure> {
        self.type1().unfence()
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.type1().clear()
    }
}
