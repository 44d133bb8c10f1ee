//! What page tables mean, said plainly: a map from pages to frames and rights.

use std::collections::BTreeMap;

use ringfence_addr::{Address, Hpa, Iova, Rights, Span};
use ringfence_iommu::pages::Shape;
use ringfence_iommu::refusals;
use ringfence_refusal::Code;

use crate::random::Random;

const PAGE: u64 = 0x1000;
/// The first page of four times a GiB that are each mapped as a whole at times.
const GIB: u64 = 4 << 18;

/// Something asked of page tables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Map(Span<Iova>, Hpa, Rights),
    Unmap(Span<Iova>),
    Clear(Span<Iova>),
    Narrow(Span<Iova>, Rights),
}

/// Page to frame and rights.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) pages: BTreeMap<u64, (u64, Rights)>,
}

/// The same page with another frame behind it.
fn page(number: u64) -> Iova {
    Iova::new(number * PAGE)
}

/// The pages of a span.
pub(crate) fn numbers(span: Span<Iova>) -> std::ops::RangeInclusive<u64> {
    span.first().get() / PAGE..=span.last().get() / PAGE
}

impl Model {
    /// Why an operation whose numbers are in order is refused, if it is.
    pub(crate) fn refuses(&self, operation: Operation) -> Option<&'static Code> {
        match operation {
            Operation::Map(_, _, Rights::NONE) => Some(&refusals::NO_RIGHT_LEFT),
            Operation::Map(span, _, _) => {
                self.pages.range(numbers(span)).next().map(|_| &refusals::ALREADY_MAPPED)
            }
            Operation::Clear(_) => None,
            Operation::Unmap(span) => self.has_gap(span).then_some(&refusals::NOT_ALL_MAPPED),
            // Which of the two is said depends on which page comes first.
            Operation::Narrow(span, most) => numbers(span).find_map(|number| {
                let Some((_, rights)) = self.pages.get(&number) else {
                    return Some(&refusals::NOT_ALL_MAPPED);
                };
                rights.narrow(most).is_empty().then_some(&refusals::NO_RIGHT_LEFT)
            }),
        }
    }

    fn has_gap(&self, span: Span<Iova>) -> bool {
        let wanted = span.length() / u128::from(PAGE);
        self.pages.range(numbers(span)).count() as u128 != wanted
    }

    /// Does it, and returns the pages that went, or lost a right, as they were.
    pub(crate) fn apply(&mut self, operation: Operation) -> Vec<(u64, u64, Rights)> {
        let mut changed = Vec::new();
        match operation {
            Operation::Map(span, to, rights) => {
                let frames = to.get() / PAGE..;
                self.pages.extend(
                    numbers(span).zip(frames).map(|(number, frame)| (number, (frame, rights))),
                );
            }
            Operation::Unmap(span) | Operation::Clear(span) => {
                let found: Vec<u64> =
                    self.pages.range(numbers(span)).map(|(number, _)| *number).collect();
                for number in found {
                    let (frame, rights) = self.pages.remove(&number).unwrap();
                    changed.push((number, frame, rights));
                }
            }
            Operation::Narrow(span, most) => {
                for (number, (frame, rights)) in self.pages.range_mut(numbers(span)) {
                    if *rights != rights.narrow(most) {
                        changed.push((*number, *frame, *rights));
                        *rights = rights.narrow(most);
                    }
                }
            }
        }
        changed
    }

    pub(crate) fn at(&self, iova: Iova) -> Option<(Hpa, Rights)> {
        let (frame, rights) = self.pages.get(&(iova.get() / PAGE))?;
        Some((Hpa::new(frame * PAGE + iova.get() % PAGE), *rights))
    }
}

/// Where histories happen: a few places with large pages' boundaries, and both ends of the space.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// First pages of stretches of this many pages.
    pub(crate) stretches: Vec<(u64, u64)>,
    /// The frames that may be mapped, by number.
    pub(crate) frames: (u64, u64),
    /// How often a whole GiB is mapped or cleared: once in so many times.
    pub(crate) rarely: u64,
}

impl Places {
    /// Both ends of what `shape` translates, and a boundary of 1 GiB and of 512 GiB where it has one.
    pub(crate) fn of(shape: &Shape) -> Self {
        let last = shape.input.last().get() / PAGE;
        let mut stretches = vec![(0, 1536), (last - 1535, 1536), (GIB + 100 * 512, 1536)];
        for boundary in [1 << 18, 1 << 27] {
            if boundary + 1024 < last {
                stretches.push((boundary - 512, 1536));
            }
        }
        Self { stretches, frames: (0, shape.output.last().get() / PAGE + 1), rarely: 3000 }
    }

    /// A span that starts and ends near where another may.
    fn span(&self, random: &mut Random) -> Span<Iova> {
        let (start, length) = random.pick(&self.stretches);
        let (first, pages) = match random.below(8) {
            0..=2 => (start + random.below(length), 1),
            3 | 4 => (start + random.below(length), 1 + random.below(40)),
            5 => (start + random.below(length), 1 + random.below(length)),
            // Whole large pages, and large pages but for a page at one end.
            6 => ((start + random.below(length)) & !511, 512 * (1 + random.below(2))),
            _ => ((start + random.below(length)) & !511 | random.below(2), 511),
        };
        let first = first.max(start);
        let last = (first + pages - 1).min(start + length - 1);
        span_of(first, last)
    }

    /// Something to ask, mostly of pages of which there are some.
    pub(crate) fn operation(&self, random: &mut Random) -> Operation {
        let span = self.span(random);
        let rights =
            random.pick(&[Rights::READ_WRITE, Rights::READ_WRITE, Rights::READ, Rights::WRITE]);
        match random.below(16) {
            0..=7 if random.once_in(self.rarely) => {
                // In the first of them small pages are mapped, too, so that it is in the way or is cut.
                let first = GIB + (random.below(4) << 18);
                let gib = span_of(first, first + (1 << 18) - 1);
                match random.once_in(2) {
                    true => Operation::Clear(gib),
                    false => Operation::Map(gib, Hpa::new(0), rights),
                }
            }
            0..=7 => Operation::Map(span, self.frame(span, random), rights),
            8..=10 => Operation::Unmap(span),
            11 | 12 => Operation::Clear(span),
            _ => Operation::Narrow(span, rights),
        }
    }

    /// Frames for a span, half the time such that large pages can be.
    fn frame(&self, span: Span<Iova>, random: &mut Random) -> Hpa {
        let pages = numbers(span).count() as u64;
        let (first, end) = self.frames;
        let room = (end - first - pages) / 512;
        let mut number = first + random.below(room.min(1 << 20) + 1) * 512;
        if random.once_in(2) {
            number += span.first().get() / PAGE % 512;
        } else {
            number += random.below(512);
        }
        // At times at the very end of what can be named.
        let highest = end - pages;
        Hpa::new(if random.once_in(16) { highest } else { number.min(highest) } * PAGE)
    }
}

pub(crate) fn span_of(first: u64, last: u64) -> Span<Iova> {
    let last = page(last).checked_add(PAGE - 1).unwrap();
    Span::new(page(first), last).unwrap()
}
