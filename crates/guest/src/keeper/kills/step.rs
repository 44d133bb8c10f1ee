//! A domain that ends its process, as by `kill -9`, before or after the thing of a number.

use ringfence_addr::{Iova, Span, SpanSet};
use ringfence_iommu::{Domain, Mapped, Memory, Piece, Type1};
use ringfence_ledger::Answer;
use ringfence_refusal::Failure;
use rustix::process::{Signal, getpid, kill_process};

pub(crate) struct Stepping {
    pub(crate) inner: Type1,
    /// How many steps are left to be taken.
    pub(crate) left: u32,
}

impl Stepping {
    fn step(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            let _ = kill_process(getpid(), Signal::KILL);
        }
    }

    fn around<T>(&mut self, work: impl FnOnce(&mut Type1) -> T) -> T {
        self.step();
        let outcome = work(&mut self.inner);
        self.step();
        outcome
    }
}

/// Each piece and each span by itself, so that the end can come between two of them.
impl Domain<Memory> for Stepping {
    fn usable(&self) -> &SpanSet<Iova> {
        Domain::usable(&self.inner)
    }

    fn map(&mut self, pieces: &[Piece<Memory>]) -> Vec<Mapped> {
        let one = |piece| self.around(|it| Domain::map(it, std::slice::from_ref(piece)));
        pieces.iter().flat_map(one).collect()
    }

    fn unmap(&mut self, spans: &[Span<Iova>], answered: &mut dyn FnMut(Span<Iova>, Answer)) {
        for span in spans {
            self.around(|it| Domain::unmap(it, &[*span], answered));
        }
    }

    fn flush(&mut self, spans: &[Span<Iova>]) -> Result<(), Failure> {
        self.around(|it| it.flush(spans))
    }

    fn fence(&mut self) -> Result<(), Failure> {
        self.around(Domain::fence)
    }

    fn unfence(&mut self) -> Result<(), Failure> {
        self.around(Domain::unfence)
    }

    fn clear(&mut self) -> Result<(), Failure> {
        self.around(Domain::clear)
    }
}
