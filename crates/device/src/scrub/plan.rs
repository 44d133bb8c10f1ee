//! What clearing is made of: steps, each a value that can be printed, carried out and checked.

use std::fmt;
use std::num::NonZeroU64;

use ringfence_addr::{Alignment, Gma, Hpa, Span, SpanSet};

use super::registers::{Graphics, View};

const PAGE_BYTES: u64 = Alignment::PAGE_4K.bytes();

/// No more is pointed at at a time: 32 MiB, which every aperture has room for beside others.
const PIECE_PAGES_MAX: u64 = 8192;

/// Memory of the device, and where in BAR 2 it is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The memory, in whole pages.
    pub memory: Span<Hpa>,
    /// Where in BAR 2 it begins; in the aperture, that is the graphics address.
    pub offset: u64,
}

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The page table's entries for these addresses are read and remembered.
    Remember(Span<Gma>),
    /// They are made to say that the piece is there, read again, and the device forgets what it
    /// remembered of them.
    Point(Piece),
    /// What is there is read, for who asked for it.
    Copy(Piece),
    /// Each page is given a mark of its own.
    Mark(Piece),
    /// Each page has its mark.
    Find(Piece),
    /// Zeros are written.
    Clear(Piece),
    /// Zeros are read.
    ReadBack(Piece),
    /// The entries are made to say what they said before, and read again.
    Restore(Span<Gma>),
}

/// How the memory of a graphics function is cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// What it was planned for.
    pub graphics: Graphics,
    /// What is cleared.
    pub cleared: SpanSet<Hpa>,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

impl Scrub {
    /// Plans it: a function of what the registers said. With `copy`, what firmware left for whoever
    /// drives the device is read first.
    pub fn new(graphics: Graphics, copy: bool) -> Self {
        let data = graphics.data.aligned_out(Alignment::PAGE_4K);
        let mut cleared = SpanSet::from_iter([data]);
        let firmware = graphics.firmware.into_iter();
        for span in firmware.chain(graphics.kept.iter().map(|kept| kept.span)) {
            cleared.remove(span.aligned_out(Alignment::PAGE_4K));
        }
        let window = Window::of(&graphics);
        let mut steps = Vec::new();
        steps.extend(window.addresses.map(Step::Remember));
        if copy {
            for kept in &graphics.kept {
                for piece in window.pieces(kept.span, 0) {
                    steps.extend(window.point(piece));
                    steps.push(Step::Copy(piece));
                }
            }
        }
        for piece in cleared.iter().flat_map(|span| window.pieces(span, 0)) {
            steps.extend(window.point(piece));
            steps.push(Step::Mark(piece));
        }
        // One page further on: every page is seen through another entry than before.
        for piece in cleared.iter().flat_map(|span| window.pieces(span, 1)) {
            steps.extend(window.point(piece));
            steps.push(Step::Find(piece));
        }
        for piece in cleared.iter().flat_map(|span| window.pieces(span, 1)) {
            steps.extend(window.point(piece));
            steps.extend([Step::Clear(piece), Step::ReadBack(piece)]);
        }
        steps.extend(window.addresses.map(Step::Restore));
        Self { graphics, cleared, steps }
    }

    /// How many bytes are cleared.
    pub fn cleared_bytes(&self) -> u128 {
        self.cleared.length()
    }
}

/// Where in BAR 2 memory is seen.
struct Window {
    /// The graphics addresses whose entries are used; none where all of the memory is there as it is.
    addresses: Option<Span<Gma>>,
    /// Where in BAR 2 that is, or where the device's memory begins.
    offset: u64,
    /// How many pages a piece may have.
    pages: u64,
    data: Span<Hpa>,
}

impl Window {
    fn of(graphics: &Graphics) -> Self {
        let data = graphics.data;
        match graphics.view {
            View::Whole { offset } => {
                Self { addresses: None, offset, pages: PIECE_PAGES_MAX, data }
            }
            View::Aperture { pages, .. } => {
                // The highest of them, one of which is to spare.
                let needed =
                    u64::try_from(data.length() / u128::from(PAGE_BYTES)).unwrap_or(u64::MAX);
                let used = needed.clamp(1, PIECE_PAGES_MAX).min(pages - 1);
                let offset = (pages - used - 1) * PAGE_BYTES;
                let length = (used + 1) * PAGE_BYTES;
                let addresses = Span::from_parts(Gma::new(offset), length);
                Self { addresses, offset, pages: used, data }
            }
        }
    }

    /// What `memory` is done in, `shift` pages into the window.
    fn pieces(&self, memory: Span<Hpa>, shift: u64) -> Vec<Piece> {
        let most = NonZeroU64::new(self.pages * PAGE_BYTES).expect("a window has pages");
        let mut pieces = Vec::new();
        let mut rest = Some(memory);
        while let Some(left) = rest {
            let length = left.length_u64().map_or(most, |length| length.min(most));
            let piece =
                Span::from_length(left.first(), length).expect("no longer than what is left");
            let offset = match self.addresses {
                Some(_) => self.offset + shift * PAGE_BYTES,
                None => self.offset + self.data.offset_of(piece.first()).expect("inside of it"),
            };
            pieces.push(Piece { memory: piece, offset });
            rest = left.minus(&piece)[1];
        }
        pieces
    }

    fn point(&self, piece: Piece) -> Option<Step> {
        self.addresses.map(|_| Step::Point(piece))
    }
}

impl Piece {
    /// Its pages, each with where in BAR 2 it is seen.
    pub(super) fn pages(&self) -> impl Iterator<Item = (Hpa, u64)> {
        use ringfence_addr::Address as _;
        let first = self.memory.first();
        let count = self.memory.length() / u128::from(PAGE_BYTES);
        (0..u64::try_from(count).unwrap_or(0)).filter_map(move |page| {
            let bytes = page.checked_mul(PAGE_BYTES)?;
            Some((first.checked_add(bytes)?, self.offset.checked_add(bytes)?))
        })
    }

    /// How many bytes it has.
    pub(super) fn bytes(&self) -> u64 {
        self.memory.length_u64().map_or(u64::MAX, NonZeroU64::get)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remember(addresses) => {
                write!(formatter, "remember the page table's entries for {addresses}")
            }
            Self::Point(Piece { memory, offset }) => {
                write!(formatter, "point the entries from {offset:#x} on at {memory}, and flush")
            }
            Self::Copy(piece) => write!(formatter, "copy {}", piece.memory),
            Self::Mark(piece) => write!(formatter, "mark each page of {}", piece.memory),
            Self::Find(piece) => write!(formatter, "find the marks of {}", piece.memory),
            Self::Clear(piece) => write!(formatter, "write zeros to {}", piece.memory),
            Self::ReadBack(piece) => write!(formatter, "read zeros from {}", piece.memory),
            Self::Restore(addresses) => {
                write!(formatter, "restore the page table's entries for {addresses}, and flush")
            }
        }
    }
}
