//! The bus addresses of a holder: which it may use, and which it does.

use ringfence_addr::{Address as _, Alignment, Gpa, Iova, Span, SpanSet};
use ringfence_refusal::Refusal;

use crate::book::Book;
use crate::mapping::Place;
use crate::refusals::{BUS_ADDRESS, NO_BUS_ADDRESS};

pub(crate) struct Space {
    allowed: SpanSet<Iova>,
    book: Book,
    /// Where the search for an unused address begins.
    next: Iova,
}

impl Space {
    /// A space of which `allowed` can be used. The last page there is never can: no kernel unmaps it
    /// for certain (VFIO's type 1 on Linux 6.12 says success and does nothing).
    pub(crate) fn new(mut allowed: SpanSet<Iova>) -> Self {
        allowed.remove(Span::of(Iova::LAST).aligned_out(Alignment::PAGE_4K));
        let last = allowed.iter().next_back().map_or(0, |span| span.last().get());
        let first = allowed.iter().next().map_or(Iova::FIRST, |span| span.first());
        Self { allowed, book: Book::new(u64::BITS - last.leading_zeros()), next: first }
    }

    /// Where `memory` goes: where the holder wants it, or where nothing is.
    pub(crate) fn place(&mut self, memory: Span<Gpa>, place: Place) -> Result<Span<Iova>, Refusal> {
        match place {
            Place::At(first) => {
                let span = memory.rebase(first).filter(|span| span.is_aligned(Alignment::PAGE_4K));
                let span = span.filter(|span| self.allowed.encloses(span));
                let Some(span) = span else {
                    let detail = format!(
                        "{memory} at {first} is not all within {}, on page boundaries",
                        self.allowed
                    );
                    return Err(Refusal::new(&BUS_ADDRESS, detail));
                };
                if !self.book.is_free(span) {
                    let detail = format!("{span} is, in part, mapped already");
                    return Err(Refusal::new(&BUS_ADDRESS, detail));
                }
                Ok(span)
            }
            Place::Chosen => self.choose(memory).ok_or_else(|| {
                Refusal::new(&NO_BUS_ADDRESS, format!("{memory} finds no room in {}", self.allowed))
            }),
        }
    }

    /// The first unused place from where the last one was found, at the same distance from a large
    /// page's boundary as the memory: then both can be one large page.
    fn choose(&mut self, memory: Span<Gpa>) -> Option<Span<Iova>> {
        let length = memory.length_u64()?;
        let large = [Alignment::PAGE_1G, Alignment::PAGE_2M]
            .into_iter()
            .find(|large| length.get() >= large.bytes())
            .unwrap_or(Alignment::PAGE_4K);
        let offset = memory.first().get() & large.mask();
        let whole = Span::whole();
        let [above, below] = [Span::new(self.next, whole.last()), Some(whole)];
        for range in [above, below].into_iter().flatten() {
            for allowed in self.allowed.overlapping(range) {
                let mut from = allowed.first().max(range.first());
                while let Some(first) = congruent(from, large, offset) {
                    let Some(span) = Span::from_length(first, length) else { break };
                    if !allowed.encloses(&span) {
                        break;
                    }
                    match self.book.last_used(span) {
                        None => {
                            self.next = span.last().checked_add(1).unwrap_or(Iova::FIRST);
                            return Some(span);
                        }
                        Some(used) => match used.checked_add(1) {
                            Some(after) => from = after,
                            None => break,
                        },
                    }
                }
            }
        }
        None
    }

    pub(crate) fn take(&mut self, span: Span<Iova>, mapping: u32) {
        self.book.set(span, mapping);
    }

    pub(crate) fn give_back(&mut self, span: Span<Iova>) {
        self.book.clear(span);
    }

    /// The mapping an address belongs to.
    #[inline]
    pub(crate) fn get(&self, address: Iova) -> Option<u32> {
        self.book.get(address)
    }
}

/// The first address from `from` on that is so far from a boundary.
fn congruent(from: Iova, large: Alignment, offset: u64) -> Option<Iova> {
    let base = from.align_down(large).checked_add(offset)?;
    if base >= from { Some(base) } else { base.checked_add(large.bytes()) }
}
