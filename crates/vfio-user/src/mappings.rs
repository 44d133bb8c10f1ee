//! Which bus addresses a client has mapped: none twice, and none taken away in part.

use ringfence_addr::{Iova, Span, SpanMap};
use ringfence_refusal::Refusal;

use crate::refusals::{SPAN_SPLIT, SPAN_TAKEN, TOO_MANY_MAPPINGS};
use crate::wire::MAPPINGS_MAX;

/// What one client has mapped.
#[derive(Debug, Default)]
pub(crate) struct Mappings(SpanMap<Iova, ()>);

impl Mappings {
    /// Whether one more can be mapped.
    ///
    /// # Errors
    ///
    /// `RF1010` and `RF1012`.
    pub(crate) fn check_free(&self, span: Span<Iova>) -> Result<(), Refusal> {
        if let Some((taken, ())) = self.0.overlapping(span).next() {
            return Err(Refusal::new(&SPAN_TAKEN, format!("{span}: {taken} is mapped")));
        }
        if self.0.len() >= MAPPINGS_MAX {
            return Err(Refusal::new(&TOO_MANY_MAPPINGS, format!("{} are mapped", self.0.len())));
        }
        Ok(())
    }

    /// Notes what was found free and then mapped.
    pub(crate) fn add(&mut self, span: Span<Iova>) {
        self.0.try_insert(span, ()).expect("it was free a moment ago");
    }

    /// The next mapping to take away so that nothing of `span` stays mapped.
    pub(crate) fn next_in(&self, span: Span<Iova>) -> Option<Span<Iova>> {
        self.0.overlapping(span).next().map(|(mapped, ())| mapped)
    }

    /// Whether what is mapped of `span` can be taken away whole.
    ///
    /// # Errors
    ///
    /// `RF1011`.
    pub(crate) fn check_whole(&self, span: Span<Iova>) -> Result<(), Refusal> {
        // Only the first and the last can reach out.
        let reaches = |address| self.0.get(address).filter(|(mapped, ())| !span.encloses(mapped));
        match reaches(span.first()).or_else(|| reaches(span.last())) {
            Some((mapped, ())) => {
                Err(Refusal::new(&SPAN_SPLIT, format!("{span}: {mapped} is mapped")))
            }
            None => Ok(()),
        }
    }

    /// Notes what was taken away.
    pub(crate) fn remove(&mut self, span: Span<Iova>) {
        self.0.remove_exact(span);
    }
}
