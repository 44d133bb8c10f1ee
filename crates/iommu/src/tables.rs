//! Page tables of our own as a back end: what an IOMMU walks that we tell of it ourselves.

use ringfence_addr::{Address as _, Hpa, Iova, Rights, Span, SpanSet};
use ringfence_ledger::Answer;
use ringfence_refusal::{Failure, Fault};

use crate::domain::{Domain, Mapped, Piece, Switch};
use crate::pages::{Format, PageTables, Stale, TableMemory};
use crate::runs::without_last_page;

/// How an IOMMU is told to forget.
pub trait Invalidate: Send {
    /// Returns when the IOMMU said that it has forgotten `span`, and entries that lead to tables if
    /// `concerns_tables`.
    ///
    /// # Errors
    ///
    /// It did not say so.
    fn invalidate(&mut self, span: Span<Iova>, concerns_tables: bool) -> Result<(), Fault>;
}

/// One holder's tables, and the IOMMU that walks them.
#[derive(Debug)]
pub struct Tables<F, M, I> {
    tables: PageTables<F, M>,
    iommu: I,
    usable: SpanSet<Iova>,
    /// What is out of the tables and not forgotten.
    stale: Option<Stale>,
    is_fenced: bool,
}

impl<F: Format, M: TableMemory, I: Invalidate> Tables<F, M, I> {
    /// A back end over tables in which nothing is mapped, of which `usable` can be.
    pub fn new(tables: PageTables<F, M>, iommu: I, usable: SpanSet<Iova>) -> Self {
        let usable = without_last_page(usable);
        Self { tables, iommu, usable, stale: None, is_fenced: false }
    }

    /// The tables.
    pub fn tables(&self) -> &PageTables<F, M> {
        &self.tables
    }

    /// The IOMMU.
    pub fn iommu_mut(&mut self) -> &mut I {
        &mut self.iommu
    }

    fn keep(&mut self, stale: Stale) {
        self.stale = Some(match self.stale.take() {
            None => stale,
            Some(before) => before.join(stale),
        });
    }

    fn forget(&mut self) -> Result<(), Failure> {
        let Some(stale) = self.stale.take() else { return Ok(()) };
        let concerns_tables = stale.concerns_tables();
        match stale.flush(|span| self.iommu.invalidate(span, concerns_tables)) {
            Ok(flushed) => {
                self.tables.release(flushed);
                Ok(())
            }
            Err((stale, fault)) => {
                self.stale = Some(stale);
                Err(fault.into())
            }
        }
    }
}

impl<F, M, I> Domain<Hpa> for Tables<F, M, I>
where
    F: Format + Send,
    M: TableMemory + Send,
    I: Invalidate + Switch,
{
    fn usable(&self) -> &SpanSet<Iova> {
        &self.usable
    }

    fn map(&mut self, pieces: &[Piece<Hpa>]) -> Vec<Mapped> {
        let mut answers: Vec<Mapped> = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let to = piece.memory.checked_add(piece.offset);
            let mapped = to.map(|to| self.tables.map(piece.bus, to, piece.rights));
            answers.push(match mapped {
                None => Mapped::Not(beyond(piece).into()),
                Some(Err(refusal)) => Mapped::Not(refusal.into()),
                Some(Ok(stale)) => {
                    // Where an IOMMU remembers that nothing was there (I7).
                    if stale.span().is_some() {
                        self.keep(stale);
                    }
                    Mapped::Done
                }
            });
        }
        if let Err(failure) = self.forget() {
            let what = failure.to_string();
            for answer in answers.iter_mut().filter(|answer| matches!(answer, Mapped::Done)) {
                let error = std::io::Error::other(what.clone());
                *answer =
                    Mapped::Unknown(Fault::new("have the IOMMU see", "a mapping", error).into());
            }
        }
        answers
    }

    fn unmap(&mut self, spans: &[Span<Iova>], answered: &mut dyn FnMut(Span<Iova>, Answer)) {
        for span in spans {
            // What it takes out, not what it was asked to.
            match self.tables.unmap(*span, |_| ()) {
                Ok(stale) => {
                    let bytes = stale.pages().saturating_mul(4096);
                    self.keep(stale);
                    answered(*span, Answer::Bytes(bytes));
                }
                Err(_) => answered(*span, Answer::Failed),
            }
        }
    }

    fn flush(&mut self, _spans: &[Span<Iova>]) -> Result<(), Failure> {
        // All that is stale, whatever it was asked for: never less than that.
        self.forget()
    }

    fn fence(&mut self) -> Result<(), Failure> {
        self.iommu.off()?;
        self.is_fenced = true;
        Ok(())
    }

    fn unfence(&mut self) -> Result<(), Failure> {
        self.iommu.on()?;
        self.is_fenced = false;
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Failure> {
        let all = self.tables.format().shape().input;
        let stale = self.tables.clear(all, |_| ())?;
        self.keep(stale);
        self.forget()
    }

    fn probe(&mut self, address: Iova) -> Option<Option<Rights>> {
        match self.is_fenced {
            true => Some(None),
            false => Some(self.tables.lookup(address).map(|leaf| leaf.rights)),
        }
    }
}

fn beyond(piece: &Piece<Hpa>) -> ringfence_refusal::Refusal {
    let detail = format!("{}: {:#x} bytes after {}", piece.bus, piece.offset, piece.memory);
    ringfence_refusal::Refusal::new(&crate::refusals::BEYOND_REACH, detail)
}
