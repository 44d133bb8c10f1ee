//! What a row of spans leaves free.

use crate::{Address, Span};

/// The spans of `within` that a row of disjoint, ascending spans leaves free, ascending.
#[derive(Clone)]
pub(crate) struct Gaps<A, I> {
    /// What has not been looked at yet; `None` when all has.
    rest: Option<Span<A>>,
    taken: I,
}

impl<A: Address, I: Iterator<Item = Span<A>>> Gaps<A, I> {
    /// `taken` must be disjoint and ascending, and may reach beyond `within`.
    pub(crate) fn new(within: Span<A>, taken: I) -> Self {
        Self { rest: Some(within), taken }
    }
}

impl<A: Address, I: Iterator<Item = Span<A>>> Iterator for Gaps<A, I> {
    type Item = Span<A>;

    fn next(&mut self) -> Option<Span<A>> {
        loop {
            let rest = self.rest?;
            let Some(taken) = self.taken.next() else {
                return self.rest.take();
            };
            let [below, above] = rest.minus(&taken);
            self.rest = above;
            if below.is_some() {
                return below;
            }
        }
    }
}
