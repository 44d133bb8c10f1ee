//! Parting a space: who gets which spans of what is free, and what each must balloon out.
//!
//! One mechanism for guest memory among reserved regions, graphics memory among vGPUs, and windows
//! among backends: wants are served in their order, each at the lowest place that fits, so that an
//! answer never depends on anything but the question.

use ringfence_addr::{Address, Alignment, Span, SpanSet};
use ringfence_refusal::Refusal;

use crate::refusals;

/// What one party wants of a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want<A: Address> {
    /// Whose it is, for people.
    pub name: String,
    /// How many bytes; none is a part without spans.
    pub bytes: u64,
    /// What its first address is a multiple of.
    pub alignment: Alignment,
    /// Where it may lie; anywhere, if nothing is said.
    pub within: Option<Span<A>>,
    /// It may be in pieces: each but the last a multiple of this, and so aligned.
    pub granule: Option<Alignment>,
}

/// What one party got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part<A: Address> {
    /// Whose it is.
    pub name: String,
    /// Its spans, lowest first; exactly as many bytes as were wanted.
    pub spans: Vec<Span<A>>,
}

impl<A: Address> Want<A> {
    /// So many bytes in one piece, at any page.
    pub fn anywhere(name: impl Into<String>, bytes: u64) -> Self {
        let alignment = Alignment::PAGE_4K;
        Self { name: name.into(), bytes, alignment, within: None, granule: None }
    }

    /// The same, in pieces of whole granules where that is possible.
    #[must_use]
    pub fn splittable(self, granule: Alignment) -> Self {
        Self { granule: Some(granule), ..self }
    }

    /// The same, at a multiple of `alignment`.
    #[must_use]
    pub fn aligned(self, alignment: Alignment) -> Self {
        Self { alignment, ..self }
    }

    /// The same, in `span`.
    #[must_use]
    pub fn within(self, span: Span<A>) -> Self {
        Self { within: Some(span), ..self }
    }
}

impl<A: Address> Part<A> {
    /// What of `space` is not this party's: what it must balloon out.
    pub fn balloon(&self, space: Span<A>) -> SpanSet<A> {
        SpanSet::from(space).minus(&self.spans.iter().copied().collect())
    }
}

/// Gives each want its part of `free`, or refuses the first that does not fit: nobody gets anything
/// then.
///
/// # Errors
///
/// RF0810, with how much was wanted and the most there was.
pub fn part<A: Address>(free: &SpanSet<A>, wants: &[Want<A>]) -> Result<Vec<Part<A>>, Refusal> {
    let mut free = free.clone();
    let mut parts = Vec::with_capacity(wants.len());
    for want in wants {
        let spans = match want.granule {
            Some(granule) => pieces(&free, want, granule),
            None => one_piece(&free, want).map(|span| span.into_iter().collect()),
        };
        let spans: Vec<Span<A>> = spans.ok_or_else(|| too_little(&free, want))?;
        for span in &spans {
            free.remove(*span);
        }
        parts.push(Part { name: want.name.clone(), spans });
    }
    Ok(parts)
}

/// What is free where `want` may lie.
fn allowed<A: Address>(free: &SpanSet<A>, want: &Want<A>) -> Vec<Span<A>> {
    match want.within {
        Some(within) => {
            free.overlapping(within).filter_map(|span| span.intersection(&within)).collect()
        }
        None => free.iter().collect(),
    }
}

/// The lowest place for all of it; `Some(None)` if nothing is wanted.
#[expect(clippy::option_option, reason = "whether it fits, and whether anything is wanted")]
fn one_piece<A: Address>(free: &SpanSet<A>, want: &Want<A>) -> Option<Option<Span<A>>> {
    if want.bytes == 0 {
        return Some(None);
    }
    allowed(free, want).into_iter().find_map(|span| {
        let first = span.first().align_up(want.alignment)?;
        let placed = Span::from_parts(first, want.bytes)?;
        span.encloses(&placed).then_some(Some(placed))
    })
}

/// The lowest places, whole granules first; what is smaller than one is used only if it must be.
fn pieces<A: Address>(
    free: &SpanSet<A>,
    want: &Want<A>,
    granule: Alignment,
) -> Option<Vec<Span<A>>> {
    let places = allowed(free, want);
    let coarse: Vec<_> = places.iter().filter_map(|span| span.aligned_in(granule)).collect();
    let page = want.alignment.min(granule);
    take(&coarse, want.bytes).or_else(|| {
        let fine: Vec<_> = places.iter().filter_map(|span| span.aligned_in(page)).collect();
        take(&fine, want.bytes)
    })
}

fn take<A: Address>(places: &[Span<A>], bytes: u64) -> Option<Vec<Span<A>>> {
    let mut left = bytes;
    let mut taken = Vec::new();
    for place in places {
        if left == 0 {
            break;
        }
        let here = place.length().min(u128::from(left));
        let here = u64::try_from(here).expect("no more than what is left");
        taken.extend(Span::from_parts(place.first(), here));
        left -= here;
    }
    (left == 0).then_some(taken)
}

fn too_little<A: Address>(free: &SpanSet<A>, want: &Want<A>) -> Refusal {
    let places = allowed(free, want);
    let most = places.iter().map(Span::length).max().unwrap_or(0);
    let all: u128 = places.iter().map(Span::length).sum();
    let detail = format!(
        "{}: {} bytes at a multiple of {:#x} of {} space; free are {all} bytes, at most {most} in one piece",
        want.name,
        want.bytes,
        want.alignment.bytes(),
        A::SPACE,
    );
    Refusal::new(&refusals::NO_ROOM, detail)
}
