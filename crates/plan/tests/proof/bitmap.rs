//! One bit for every page of 4 KiB of the first 4 TiB; a GiB that is all alike costs nothing.

use ringfence_addr::{Address, Span};

const PAGE: u64 = 12;
/// Pages of one GiB.
const CHUNK: u64 = 1 << 18;
const CHUNKS: u64 = 4096;

#[derive(Clone, PartialEq, Eq)]
enum Chunk {
    Empty,
    Full,
    Mixed(Box<[u64]>),
}

pub(crate) struct Bitmap {
    chunks: Vec<Chunk>,
    /// Bytes beyond the last page, counted and no more.
    pub(crate) beyond: u128,
}

impl Bitmap {
    pub(crate) fn new() -> Self {
        Self { chunks: vec![Chunk::Empty; 4096], beyond: 0 }
    }

    pub(crate) fn of<A: Address>(spans: impl IntoIterator<Item = Span<A>>) -> Self {
        let mut map = Self::new();
        for span in spans {
            map.set(span);
        }
        map
    }

    /// Sets every page that `span` has a byte of.
    pub(crate) fn set<A: Address>(&mut self, span: Span<A>) {
        let (first, last) = (span.first().get() >> PAGE, span.last().get() >> PAGE);
        let end = CHUNK * CHUNKS;
        if last >= end {
            self.beyond += u128::from(last - first.max(end) + 1) << PAGE;
        }
        if first >= end {
            return;
        }
        let last = last.min(end - 1);
        for chunk in first / CHUNK..=last / CHUNK {
            let from = first.max(chunk * CHUNK) - chunk * CHUNK;
            let to = last.min(chunk * CHUNK + CHUNK - 1) - chunk * CHUNK;
            let chunk = &mut self.chunks[usize::try_from(chunk).unwrap()];
            if from == 0 && to == CHUNK - 1 {
                *chunk = Chunk::Full;
                continue;
            }
            if *chunk == Chunk::Full {
                continue;
            }
            if *chunk == Chunk::Empty {
                *chunk = Chunk::Mixed(vec![0; 4096].into_boxed_slice());
            }
            let Chunk::Mixed(words) = chunk else { continue };
            for word in from / 64..=to / 64 {
                let low = if word == from / 64 { u64::MAX << (from % 64) } else { u64::MAX };
                let high = if word == to / 64 { u64::MAX >> (63 - to % 64) } else { u64::MAX };
                words[usize::try_from(word).unwrap()] |= low & high;
            }
        }
    }

    pub(crate) fn bytes(&self) -> u128 {
        let pages: u64 = self
            .chunks
            .iter()
            .map(|chunk| match chunk {
                Chunk::Empty => 0,
                Chunk::Full => CHUNK,
                Chunk::Mixed(words) => words.iter().map(|word| u64::from(word.count_ones())).sum(),
            })
            .sum();
        (u128::from(pages) << PAGE) + self.beyond
    }

    /// Whether any page is in both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.chunks.iter().zip(&other.chunks).any(|pair| match pair {
            (Chunk::Empty, _) | (_, Chunk::Empty) => false,
            (Chunk::Full, Chunk::Full) => true,
            (Chunk::Full, Chunk::Mixed(words)) | (Chunk::Mixed(words), Chunk::Full) => {
                words.iter().any(|word| *word != 0)
            }
            (Chunk::Mixed(a), Chunk::Mixed(b)) => a.iter().zip(b).any(|(a, b)| a & b != 0),
        })
    }

    /// Whether every page of `other` is set here.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.chunks.iter().zip(&other.chunks).all(|pair| match pair {
            (_, Chunk::Empty) | (Chunk::Full, _) => true,
            (Chunk::Empty, Chunk::Mixed(words)) => words.iter().all(|word| *word == 0),
            (Chunk::Empty, Chunk::Full) => false,
            (Chunk::Mixed(words), Chunk::Full) => words.iter().all(|word| *word == u64::MAX),
            (Chunk::Mixed(a), Chunk::Mixed(b)) => a.iter().zip(b).all(|(a, b)| b & !a == 0),
        })
    }
}
