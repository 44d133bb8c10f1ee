//! What is mapped in one domain, and whether more may be.

use ringfence_addr::{Alignment, Iova, Span, SpanMap, SpanSet};
use ringfence_refusal::Refusal;

use crate::refusals;
use crate::type1::Memory;

/// The mappings of one domain, each with the memory it keeps.
#[derive(Debug)]
pub(crate) struct Book {
    apertures: Option<SpanSet<Iova>>,
    mapped: SpanMap<Iova, Memory>,
}

impl Book {
    /// Nothing is mapped; `apertures` are what can be, if that is known.
    pub(crate) fn new(apertures: Option<SpanSet<Iova>>) -> Self {
        Self { apertures, mapped: SpanMap::new() }
    }

    pub(crate) fn apertures(&self) -> Option<&SpanSet<Iova>> {
        self.apertures.as_ref()
    }

    /// Whether `bytes` of memory may be mapped at `iova`.
    pub(crate) fn may_map(&self, iova: Span<Iova>, bytes: usize) -> Result<(), Refusal> {
        if !iova.is_aligned(Alignment::PAGE_4K) || iova.length() > bytes as u128 {
            let detail = format!("{iova}, {bytes} bytes of memory");
            return Err(Refusal::new(&refusals::NOT_PAGES, detail));
        }
        if let Some(apertures) = self.apertures.as_ref().filter(|all| !all.encloses(&iova)) {
            let detail = format!("{iova}; there are {apertures}");
            return Err(Refusal::new(&refusals::OUTSIDE_APERTURE, detail));
        }
        match self.mapped.overlapping(iova).next() {
            Some((taken, _)) => {
                let detail = format!("{iova}: {taken} is mapped");
                Err(Refusal::new(&refusals::ALREADY_MAPPED, detail))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn mapped(&mut self, iova: Span<Iova>, memory: Memory) {
        self.mapped.insert(iova, memory);
    }

    /// Whether `iova` is one whole mapping.
    pub(crate) fn may_unmap(&self, iova: Span<Iova>) -> Result<(), Refusal> {
        let refuse = || Refusal::new(&refusals::NOT_MAPPED, iova.to_string());
        self.mapped.get_exact(iova).map(|_| ()).ok_or_else(refuse)
    }

    pub(crate) fn unmapped(&mut self, iova: Span<Iova>) {
        self.mapped.remove_exact(iova);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u64, last: u64) -> Span<Iova> {
        Span::new(Iova::new(first), Iova::new(last)).expect("first <= last")
    }

    #[test]
    fn what_the_kernel_would_let_pass_is_refused() {
        let apertures = [span(0, 0xfedf_ffff), span(0xfef0_0000, 0xffff_ffff)];
        let mut book = Book::new(Some(apertures.into_iter().collect()));
        let code = |outcome: Result<(), Refusal>| outcome.err().map(|refusal| refusal.code());
        assert_eq!(code(book.may_map(span(0x1000, 0x1ffe), 4096)), Some(&refusals::NOT_PAGES));
        assert_eq!(code(book.may_map(span(0x1000, 0x2fff), 4096)), Some(&refusals::NOT_PAGES));
        let window = span(0xfedf_f000, 0xfee0_0fff);
        assert_eq!(code(book.may_map(window, 8192)), Some(&refusals::OUTSIDE_APERTURE));
        let two = span(0x1000, 0x2fff);
        assert_eq!(code(book.may_map(two, 8192)), None);
        book.mapped(two, Memory::new(8192).expect("there is memory"));
        assert_eq!(code(book.may_map(span(0x2000, 0x2fff), 4096)), Some(&refusals::ALREADY_MAPPED));
        assert_eq!(code(book.may_unmap(span(0x2000, 0x2fff))), Some(&refusals::NOT_MAPPED));
        assert_eq!(code(book.may_unmap(two)), None);
        book.unmapped(two);
        assert_eq!(code(book.may_map(span(0x2000, 0x2fff), 4096)), None);
    }
}
