//! The counts of every frame of an owner's memory.
//!
//! Frames come in shards of 2 MiB. A shard whose frames all count the same, as most do, is one
//! number; the others have one for each frame. Nothing is made for memory that nobody maps.
//!
//! **Invariant:** a frame's counts are the sum over the mappings that have it, begun and not
//! yet released, of what each adds.

use ringfence_addr::{Address as _, Alignment, Gpa, Span};

use crate::count::Count;

/// Bytes of a frame.
pub const FRAME_BYTES: u64 = 4096;

/// How many frames a shard has.
const SHARD: usize = 512;
const SHARD_FRAMES: u64 = SHARD as u64;
/// How many shards are made at once: 1 GiB.
const CHUNK: usize = 512;
const CHUNK_SHARDS: u64 = CHUNK as u64;
const CHUNK_FRAMES: u64 = SHARD_FRAMES * CHUNK_SHARDS;

/// A region of which mappings are counted is not longer: 64 TiB.
pub(crate) const REGION_FRAMES_MAX: u64 = 1 << 34;

/// The counts of one region of memory.
pub(crate) struct Frames {
    first: Gpa,
    chunks: Vec<Option<Box<Chunk>>>,
    /// How many frames anything counts.
    charged: u64,
}

type Chunk = [Shard; CHUNK];

/// The place of something of which there are few enough for memory.
fn index(number: u64) -> usize {
    usize::try_from(number).expect("a region has so few shards that they fit in memory")
}

/// The number of no mapping.
pub(crate) const NOBODY: u32 = u32::MAX;

struct Shard {
    counts: Counts,
    /// The first of the short mappings that begin in it, linked in their records.
    mappings: u32,
}

enum Counts {
    Same(Count),
    Each(Box<Each>),
}

struct Each {
    counts: [Count; SHARD],
    /// How many of them are not zero.
    charged: u16,
}

/// Some frames of one shard.
#[derive(Clone, Copy)]
struct Piece {
    chunk: usize,
    shard: usize,
    first: usize,
    end: usize,
}

impl Piece {
    fn is_whole(&self) -> bool {
        self.end - self.first == SHARD
    }
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
        Some(Self { first: span.first(), chunks: empty, charged: 0 })
    }

    /// How many frames anything counts.
    pub(crate) fn charged(&self) -> u64 {
        self.charged
    }

    /// The parts of `span`, which is inside of the region, in each shard.
    fn pieces(&self, span: Span<Gpa>) -> impl Iterator<Item = Piece> + use<> {
        let first = span.first().offset_from(self.first).expect("inside") / FRAME_BYTES;
        let last = span.last().offset_from(self.first).expect("inside") / FRAME_BYTES;
        (first / SHARD_FRAMES..=last / SHARD_FRAMES).map(move |shard| {
            let begin = shard * SHARD_FRAMES;
            Piece {
                chunk: index(shard / CHUNK_SHARDS),
                shard: index(shard % CHUNK_SHARDS),
                first: index(first.max(begin) - begin),
                end: index(last.min(begin + SHARD_FRAMES - 1) - begin) + 1,
            }
        })
    }

    fn shard(&self, piece: Piece) -> Option<&Shard> {
        self.chunks[piece.chunk].as_ref().map(|chunk| &chunk[piece.shard])
    }

    fn shard_mut(&mut self, piece: Piece) -> &mut Shard {
        let empty = || Shard { counts: Counts::Same(Count::ZERO), mappings: NOBODY };
        let chunk = self.chunks[piece.chunk]
            .get_or_insert_with(|| Box::new(std::array::from_fn(|_| empty())));
        &mut chunk[piece.shard]
    }

    /// Counts one mapping more for every frame of `span`.
    ///
    /// # Errors
    ///
    /// A count is full: the first address it is for. Nothing is changed then.
    pub(crate) fn add(&mut self, span: Span<Gpa>, one: Count) -> Result<(), Gpa> {
        for (done, piece) in self.pieces(span).enumerate() {
            match self.shard_mut(piece).counts.add(piece, one) {
                Ok(charged) => self.charged += charged,
                Err(frame) => {
                    for piece in self.pieces(span).take(done) {
                        let freed = self.shard_mut(piece).counts.subtract(piece, one);
                        self.charged -= freed;
                    }
                    return Err(self.address(piece, frame));
                }
            }
        }
        Ok(())
    }

    /// Counts one mapping less. Each frame of `span` counts it.
    pub(crate) fn subtract(&mut self, span: Span<Gpa>, one: Count) {
        for piece in self.pieces(span) {
            let freed = self.shard_mut(piece).counts.subtract(piece, one);
            self.charged -= freed;
        }
    }

    /// Whether anything counts any frame of `span`.
    pub(crate) fn is_busy(&self, span: Span<Gpa>) -> bool {
        self.pieces(span).any(|piece| match self.shard(piece).map(|shard| &shard.counts) {
            None => false,
            Some(Counts::Same(count)) => !count.is_zero(),
            Some(Counts::Each(each)) if piece.is_whole() => each.charged != 0,
            Some(Counts::Each(each)) => {
                each.counts[piece.first..piece.end].iter().any(|count| !count.is_zero())
            }
        })
    }

    /// What counts the frame that `address` is in.
    pub(crate) fn count(&self, address: Gpa) -> Count {
        let Some(piece) = self.pieces(Span::of(address)).next() else { return Count::ZERO };
        match self.shard(piece).map(|shard| &shard.counts) {
            None => Count::ZERO,
            Some(Counts::Same(count)) => *count,
            Some(Counts::Each(each)) => each.counts[piece.first],
        }
    }

    /// The first mapping linked to the shard that `address` is in.
    pub(crate) fn head(&self, address: Gpa) -> u32 {
        let piece = self.pieces(Span::of(address)).next();
        piece.and_then(|piece| self.shard(piece)).map_or(NOBODY, |shard| shard.mappings)
    }

    /// The same, to be changed.
    pub(crate) fn head_mut(&mut self, address: Gpa) -> &mut u32 {
        let piece = self.pieces(Span::of(address)).next().expect("one frame is in one shard");
        &mut self.shard_mut(piece).mappings
    }

    /// The first address of each shard in which a short mapping that reaches into `span` may begin.
    pub(crate) fn shards_before(&self, span: Span<Gpa>) -> impl Iterator<Item = Gpa> + use<> {
        let first = span.first().offset_from(self.first).expect("inside") / FRAME_BYTES;
        let last = span.last().offset_from(self.first).expect("inside") / FRAME_BYTES;
        let base = self.first;
        // A short mapping reaches into the next shard at most.
        ((first / SHARD_FRAMES).saturating_sub(1)..=last / SHARD_FRAMES)
            .filter_map(move |shard| base.checked_add(shard * SHARD_FRAMES * FRAME_BYTES))
    }

    fn address(&self, piece: Piece, frame: usize) -> Gpa {
        let shard = piece.chunk as u64 * CHUNK_SHARDS + piece.shard as u64;
        let frames = shard * SHARD_FRAMES + frame as u64;
        self.first.checked_add(frames * FRAME_BYTES).unwrap_or(self.first)
    }
}

/// A mapping of so many frames reaches into two shards at most.
pub(crate) const SHORT_FRAMES_MAX: u64 = SHARD_FRAMES;

impl Counts {
    /// Adds; how many frames were counted by nothing before.
    fn add(&mut self, piece: Piece, one: Count) -> Result<u64, usize> {
        if let Self::Same(count) = self
            && piece.is_whole()
        {
            let was_zero = count.is_zero();
            *count = count.plus(one).ok_or(piece.first)?;
            return Ok(if was_zero && !count.is_zero() { SHARD_FRAMES } else { 0 });
        }
        let each = self.each();
        let counts = &mut each.counts[piece.first..piece.end];
        // All of them are looked at before any is changed: nothing has to be taken back.
        if let Some(full) = counts.iter().position(|count| count.plus(one).is_none()) {
            return Err(piece.first + full);
        }
        let mut charged = 0;
        for count in counts {
            let was_zero = count.is_zero();
            *count = count.plus(one).expect("looked at");
            charged += u16::from(was_zero && !count.is_zero());
        }
        each.charged += charged;
        Ok(charged.into())
    }

    /// Subtracts; how many frames are counted by nothing now.
    fn subtract(&mut self, piece: Piece, one: Count) -> u64 {
        if let Self::Same(count) = self
            && piece.is_whole()
        {
            let was_zero = count.is_zero();
            *count = count.minus(one);
            return if !was_zero && count.is_zero() { SHARD_FRAMES } else { 0 };
        }
        let each = self.each();
        let mut freed = 0;
        for count in &mut each.counts[piece.first..piece.end] {
            let was_zero = count.is_zero();
            *count = count.minus(one);
            freed += u16::from(!was_zero && count.is_zero());
        }
        each.charged -= freed;
        if each.charged == 0 {
            *self = Self::Same(Count::ZERO);
        }
        freed.into()
    }

    /// One number for each frame from now on.
    fn each(&mut self) -> &mut Each {
        if let Self::Same(count) = self {
            let charged = if count.is_zero() { 0 } else { 512 };
            *self = Self::Each(Box::new(Each { counts: [*count; SHARD], charged }));
        }
        match self {
            Self::Each(each) => each,
            Self::Same(_) => unreachable!("it was just made"),
        }
    }
}
