//! One graphics address space parted among several: by size and by address, so that nothing has to
//! be translated. Each party is told its part and what to balloon out.
//!
//! The space is what the global page table maps: the aperture, which the processor sees through a
//! base address register, and above it what only the device sees (hidden). Fences describe tiled
//! surfaces in the aperture and are few.

use std::ops::Range;

use ringfence_addr::{Alignment, Gma, Span, SpanSet};
use ringfence_refusal::Refusal;

use crate::part::{Want, part};
use crate::refusals;

/// What there is to be parted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphicsSpace {
    /// The aperture.
    pub aperture: Span<Gma>,
    /// What lies above it.
    pub hidden: Span<Gma>,
    /// How many fences there are.
    pub fences: u16,
}

/// What one party wants. Sizes are in bytes, multiples of 4 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphicsWant {
    /// Who.
    pub name: String,
    /// Of the aperture.
    pub aperture: u64,
    /// Of what is hidden.
    pub hidden: u64,
    /// How many fences.
    pub fences: u16,
}

/// What one party got: exactly what it wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphicsPart {
    /// Who.
    pub name: String,
    /// Its piece of the aperture, if it wanted one.
    pub aperture: Option<Span<Gma>>,
    /// Its piece of what is hidden, if it wanted one.
    pub hidden: Option<Span<Gma>>,
    /// Its fences, by number.
    pub fences: Range<u16>,
    /// Everything of the space that is not its own, and that its driver must take out of use.
    pub balloon: SpanSet<Gma>,
}

/// Parts `space` among `wants`, in their order and at multiples of `alignment`.
///
/// # Errors
///
/// RF0810 where memory does not suffice and RF0811 where fences do not; nobody gets anything then.
pub fn part_graphics(
    space: &GraphicsSpace,
    wants: &[GraphicsWant],
    alignment: Alignment,
) -> Result<Vec<GraphicsPart>, Refusal> {
    let pieces = |of: Span<Gma>, bytes: fn(&GraphicsWant) -> u64, what: &str| {
        let wants: Vec<_> = wants
            .iter()
            .map(|want| {
                let name = format!("{what} of {}", want.name);
                Want::anywhere(name, bytes(want)).aligned(alignment)
            })
            .collect();
        part(&SpanSet::from(of), &wants)
    };
    let aperture = pieces(space.aperture, |want| want.aperture, "aperture")?;
    let hidden = pieces(space.hidden, |want| want.hidden, "hidden graphics memory")?;
    let mut next: u16 = 0;
    let mut parts = Vec::with_capacity(wants.len());
    for ((want, aperture), hidden) in wants.iter().zip(aperture).zip(hidden) {
        let end = next.checked_add(want.fences).filter(|end| *end <= space.fences);
        let end = end.ok_or_else(|| {
            let detail =
                format!("{}: {} of {}, {next} are given out", want.name, want.fences, space.fences);
            Refusal::new(&refusals::NO_FENCES, detail)
        })?;
        let own: Vec<_> = aperture.spans.iter().chain(&hidden.spans).copied().collect();
        let whole: SpanSet<Gma> = [space.aperture, space.hidden].into_iter().collect();
        parts.push(GraphicsPart {
            name: want.name.clone(),
            aperture: aperture.spans.first().copied(),
            hidden: hidden.spans.first().copied(),
            fences: next..end,
            balloon: whole.minus(&own.into_iter().collect()),
        });
        next = end;
    }
    Ok(parts)
}
