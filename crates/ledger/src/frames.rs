//! The counts of every frame of an owner's memory.
//!
//! Frames come in shards of 2 MiB ([`crate::shard`]). Nothing is made for memory that nobody maps.
//!
//! Invariant `I1`: a frame's counts are the sum over the mappings that have it, begun and not
//! yet released, of what each adds.

use ringfence_addr::{Address as _, Alignment, Gpa, Span};

use crate::count::Count;
use crate::shard::{Piece, SHARD, Shard};

/// Bytes of a frame.
pub const FRAME_BYTES: u64 = 4096;

const SHARD_FRAMES: u64 = SHARD as u64;
/// How many shards are made at once: 1 GiB.
const CHUNK: usize = 512;
const CHUNK_SHARDS: u64 = CHUNK as u64;
const CHUNK_FRAMES: u64 = SHARD_FRAMES * CHUNK_SHARDS;

/// A region of which mappings are counted is not longer: 64 TiB.
pub(crate) const REGION_FRAMES_MAX: u64 = 1 << 34;

/// A mapping of so many frames covers no whole shard, and begins in one that counts each frame.
pub(crate) const SHORT_FRAMES_MAX: u64 = SHARD_FRAMES - 1;

/// The counts of one region of memory.
pub(crate) struct Frames {
    first: Gpa,
    chunks: Vec<Option<Box<Chunk>>>,
    /// How many frames anything counts.
    charged: u64,
    /// Empty shards' frames, to be used again.
    spare: Vec<crate::shard::Spare>,
}

type Chunk = [Shard; CHUNK];

/// The place of something of which there are few enough for memory.
#[inline]
fn index(number: u64) -> usize {
    usize::try_from(number).expect("a region has so few shards that they fit in memory")
}

#[cold]
#[inline(never)]
fn empty_chunk() -> Box<Chunk> {
    Box::new(std::array::from_fn(|_| Shard::EMPTY))
}

impl Frames {
    /// Counts for `span`, all zero; `None` for more than can be counted, or no whole frames.
    pub(crate) fn new(span: Span<Gpa>) -> Option<Self> {
        let length = span.length_u64()?.get();
        let frames = length / FRAME_BYTES;
        let aligned = span.is_aligned(Alignment::PAGE_4K);
        if !aligned || frames > REGION_FRAMES_MAX {
            return None;
        }
        let chunks = usize::try_from(frames.div_ceil(CHUNK_FRAMES)).ok()?;
        let mut empty = Vec::new();
        empty.resize_with(chunks, || None);
        Some(Self { first: span.first(), chunks: empty, charged: 0, spare: Vec::new() })
    }

    /// How many frames anything counts.
    pub(crate) fn charged(&self) -> u64 {
        self.charged
    }

    /// The number of the frame that `address`, which is inside of the region, is in.
    #[inline]
    fn frame(&self, address: Gpa) -> u64 {
        address.offset_from(self.first).expect("inside") / FRAME_BYTES
    }

    /// The parts of `span`, which is inside of the region, in each shard, and the shard's number.
    #[inline]
    fn pieces(&self, span: Span<Gpa>) -> impl Iterator<Item = (u64, Piece)> + use<> {
        let (first, last) = (self.frame(span.first()), self.frame(span.last()));
        (first / SHARD_FRAMES..=last / SHARD_FRAMES).map(move |shard| {
            let begin = shard * SHARD_FRAMES;
            let end = last.min(begin + SHARD_FRAMES - 1) - begin;
            (shard, Piece { first: index(first.max(begin) - begin), end: index(end) + 1 })
        })
    }

    #[inline]
    fn shard(&self, shard: u64) -> Option<&Shard> {
        let chunk = self.chunks[index(shard / CHUNK_SHARDS)].as_ref()?;
        Some(&chunk[index(shard % CHUNK_SHARDS)])
    }

    /// Counts one mapping more for every frame of `span`.
    ///
    /// # Errors
    ///
    /// A count is full: the first address it is for. Nothing is changed then.
    #[inline]
    pub(crate) fn add(&mut self, span: Span<Gpa>, one: Count) -> Result<(), Gpa> {
        for (done, (shard, piece)) in self.pieces(span).enumerate() {
            let chunk = self.chunks[index(shard / CHUNK_SHARDS)].get_or_insert_with(empty_chunk);
            let at = &mut chunk[index(shard % CHUNK_SHARDS)];
            match at.add(piece, one, &mut self.spare) {
                Ok(charged) => self.charged += u64::from(charged),
                Err(frame) => {
                    let done: Vec<_> = self.pieces(span).take(done).collect();
                    done.into_iter().for_each(|(shard, piece)| self.less(shard, piece, one));
                    let first = shard * SHARD_FRAMES + frame as u64;
                    return Err(self.first.checked_add(first * FRAME_BYTES).unwrap_or(self.first));
                }
            }
        }
        Ok(())
    }

    /// The shard of a span that is short and in one shard, and its part of that.
    #[inline]
    fn short(&self, span: Span<Gpa>) -> Option<(u64, Piece)> {
        let (first, last) = (self.frame(span.first()), self.frame(span.last()));
        let (shard, within) = (first / SHARD_FRAMES, first % SHARD_FRAMES);
        let end = within + (last - first) + 1;
        let is_short = end <= SHARD_FRAMES && last - first < SHORT_FRAMES_MAX;
        is_short.then(|| (shard, Piece { first: index(within), end: index(end) }))
    }

    /// Counts a mapping more, and notes where it begins: which was noted there before. `None`, and
    /// nothing is done, if it is not short or not in one shard.
    #[inline]
    pub(crate) fn add_short(
        &mut self,
        span: Span<Gpa>,
        one: Count,
        begins: u32,
    ) -> Option<Result<u32, Gpa>> {
        let (shard, piece) = self.short(span)?;
        let chunk = self.chunks[index(shard / CHUNK_SHARDS)].get_or_insert_with(empty_chunk);
        let at = &mut chunk[index(shard % CHUNK_SHARDS)];
        Some(match at.add(piece, one, &mut self.spare) {
            Ok(charged) => {
                self.charged += u64::from(charged);
                let noted = at.begins_mut(piece.first);
                Ok(noted.map_or(0, |noted| std::mem::replace(noted, begins)))
            }
            Err(frame) => {
                let first = shard * SHARD_FRAMES + frame as u64;
                Err(self.first.checked_add(first * FRAME_BYTES).unwrap_or(self.first))
            }
        })
    }

    /// Counts a mapping less that was counted so, and notes what begins there now if that is another.
    #[inline]
    pub(crate) fn subtract_short(
        &mut self,
        span: Span<Gpa>,
        one: Count,
        begins: Option<u32>,
    ) -> Option<()> {
        let (shard, piece) = self.short(span)?;
        let at =
            &mut self.chunks[index(shard / CHUNK_SHARDS)].as_mut()?[index(shard % CHUNK_SHARDS)];
        if let (Some(noted), Some(begins)) = (at.begins_mut(piece.first), begins) {
            *noted = begins;
        }
        self.charged -= u64::from(at.subtract(piece, one, &mut self.spare));
        Some(())
    }

    #[inline]
    fn less(&mut self, shard: u64, piece: Piece, one: Count) {
        if let Some(chunk) = &mut self.chunks[index(shard / CHUNK_SHARDS)] {
            let at = &mut chunk[index(shard % CHUNK_SHARDS)];
            self.charged -= u64::from(at.subtract(piece, one, &mut self.spare));
        }
    }

    /// Counts one mapping less. Each frame of `span` counts it.
    #[inline]
    pub(crate) fn subtract(&mut self, span: Span<Gpa>, one: Count) {
        for (shard, piece) in self.pieces(span) {
            self.less(shard, piece, one);
        }
    }

    /// Whether anything counts any frame of `span`.
    #[inline]
    pub(crate) fn is_busy(&self, span: Span<Gpa>) -> bool {
        self.pieces(span)
            .any(|(shard, piece)| self.shard(shard).is_some_and(|shard| shard.is_busy(piece)))
    }

    /// What counts the frame that `address` is in.
    pub(crate) fn count(&self, address: Gpa) -> Count {
        let frame = self.frame(address);
        let shard = self.shard(frame / SHARD_FRAMES);
        shard.map_or(Count::ZERO, |shard| shard.count(index(frame % SHARD_FRAMES)))
    }

    /// The last of the short mappings that begin at the frame at `address`, to be changed: its number
    /// and one, or 0. There is no such place where nothing counts any frame of the shard by itself.
    #[inline]
    pub(crate) fn begins_mut(&mut self, address: Gpa) -> Option<&mut u32> {
        let frame = self.frame(address);
        let shard = frame / SHARD_FRAMES;
        let chunk = self.chunks[index(shard / CHUNK_SHARDS)].as_mut()?;
        chunk[index(shard % CHUNK_SHARDS)].begins_mut(index(frame % SHARD_FRAMES))
    }

    /// The last short mapping of each frame, from which all others are found that begin there, where
    /// one that reaches into `span` may begin.
    pub(crate) fn begins(&self, span: Span<Gpa>) -> impl Iterator<Item = u32> + '_ {
        let back = self.first.checked_add(SHORT_FRAMES_MAX * FRAME_BYTES);
        let far = back.and_then(|back| span.first().offset_from(back)).unwrap_or(0);
        let from = self.first.checked_add(far).unwrap_or(self.first);
        let wider = Span::new(from, span.last()).unwrap_or(span);
        self.pieces(wider).flat_map(|(shard, piece)| {
            self.shard(shard).into_iter().flat_map(move |shard| shard.begins(piece))
        })
    }
}
