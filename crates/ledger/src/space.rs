//! The bus addresses of a holder: which it may use, and which it does.

use ringfence_addr::{Address as _, Alignment, Gpa, Iova, Span, SpanSet};
use ringfence_refusal::Refusal;

use crate::book::{Book, Pages};
use crate::entry::Lead;
use crate::frames::FRAME_BYTES;
use crate::mapping::Place;
use crate::refusals::{BUS_ADDRESS, NO_BUS_ADDRESS};
use crate::room::Need;

pub(crate) struct Space {
    allowed: SpanSet<Iova>,
    book: Book,
}

impl Space {
    /// A space of which `allowed` can be used. The last page there is never can: no kernel unmaps it
    /// for certain (VFIO's type 1 on Linux 6.12 says success and does nothing).
    pub(crate) fn new(mut allowed: SpanSet<Iova>) -> Self {
        allowed.remove(Span::of(Iova::LAST).aligned_out(Alignment::PAGE_4K));
        let last = allowed.iter().next_back().map_or(0, |span| span.last().get());
        let book = Book::new(u64::BITS - last.leading_zeros());
        let mut space = Self { allowed, book };
        space.reserve();
        space
    }

    /// Takes all that nobody may use out of an empty book.
    fn reserve(&mut self) {
        let last = self.book.last();
        let mut from = Some(0);
        for pages in self.allowed.iter().filter_map(|span| span.aligned_in(Alignment::PAGE_4K)) {
            let pages = Pages::of(pages);
            if let Some(first) = from.filter(|first| *first < pages.first) {
                self.book.reserve(Pages { first, last: pages.first - 1 });
            }
            from = pages.last.checked_add(1);
        }
        if let Some(first) = from.filter(|first| *first <= last) {
            self.book.reserve(Pages { first, last });
        }
    }

    /// Where `memory` goes: where the holder wants it, or where nothing is.
    ///
    /// Invariant `I19`: all of it is allowed and none of it is used, at any place and however
    /// full the space is.
    #[inline]
    pub(crate) fn place(&mut self, memory: Span<Gpa>, place: Place) -> Result<Iova, Refusal> {
        match place {
            Place::At(first) => {
                let span = memory.rebase(first).filter(|span| span.is_aligned(Alignment::PAGE_4K));
                match span.filter(|span| self.book.is_free(Pages::of(*span))) {
                    Some(_) => Ok(first),
                    None => Err(self.refuse(memory, first)),
                }
            }
            Place::Chosen => self.choose(memory).ok_or_else(|| {
                Refusal::new(&NO_BUS_ADDRESS, format!("{memory} finds no room in {}", self.allowed))
            }),
        }
    }

    #[cold]
    fn refuse(&self, memory: Span<Gpa>, first: Iova) -> Refusal {
        let span = memory.rebase(first).filter(|span| span.is_aligned(Alignment::PAGE_4K));
        let detail = match span.filter(|span| self.allowed.encloses(span)) {
            Some(span) => format!("{span} is, in part, mapped already"),
            None => format!(
                "{memory} at {first} is not all within {}, on page boundaries",
                self.allowed
            ),
        };
        Refusal::new(&BUS_ADDRESS, detail)
    }

    /// An unused place at the same distance from a large page's boundary as the memory: then
    /// both can be one large page.
    fn choose(&mut self, memory: Span<Gpa>) -> Option<Iova> {
        let pages = memory.length_u64()?.get() / FRAME_BYTES;
        let (level, large) = [(2, Alignment::PAGE_1G), (1, Alignment::PAGE_2M)]
            .into_iter()
            .find(|(_, large)| pages >= large.bytes() / FRAME_BYTES)
            .unwrap_or((0, Alignment::PAGE_4K));
        let offset = (memory.first().get() & large.mask()) / FRAME_BYTES;
        self.book.choose(Need { pages, level, offset }).map(|page| Iova::new(page * FRAME_BYTES))
    }

    /// Gives addresses that are free to a mapping.
    #[inline]
    pub(crate) fn take(&mut self, span: Span<Iova>, mapping: u32, lead: Lead) {
        self.book.set(Pages::of(span), mapping, lead);
    }

    #[inline]
    pub(crate) fn set_live(&mut self, span: Span<Iova>, is_live: bool) {
        self.book.set_live(Pages::of(span), is_live);
    }

    #[inline]
    pub(crate) fn give_back(&mut self, span: Span<Iova>) {
        self.book.clear(Pages::of(span));
    }

    /// Takes all addresses back at once.
    pub(crate) fn give_all_back(&mut self) {
        self.book.reset();
        self.reserve();
    }

    /// The mapping an address belongs to.
    #[inline]
    pub(crate) fn get(&self, address: Iova) -> Option<u32> {
        self.book.get(address)
    }

    /// The live mapping an address belongs to, and where its page leads.
    #[inline]
    pub(crate) fn translate(&self, address: Iova) -> Option<(u32, Lead)> {
        self.book.translate(address)
    }
}
