//! The counts of the 512 frames of a shard.
//!
//! A shard whose frames all count the same, as most do, is one number. Another has one for each frame, in
//! half a word as long as none is above 127; beside it stands which mapping begins there.

use crate::count::{Count, Lanes, Narrow};

/// How many frames a shard has.
pub(crate) const SHARD: usize = 512;
const ALL: u16 = 512;

/// So many empty ones are kept at most.
const SPARE_MAX: usize = 64;

pub(crate) struct Shard {
    counts: Counts,
    /// How many frames have a count that is not zero.
    charged: u16,
}

enum Counts {
    Same(Count),
    Each(Box<Each<Narrow>>),
    Wide(Box<Each<Count>>),
}

/// All zero, and no mapping begins in it.
pub(crate) struct Spare(Box<Each<Narrow>>);

struct Each<L> {
    frames: [Frame<L>; SHARD],
}

#[derive(Clone, Copy)]
struct Frame<L> {
    count: L,
    /// The last of the short mappings that begin here: its number and one, or 0.
    begins: u32,
}

/// Some frames of one shard.
#[derive(Clone, Copy)]
pub(crate) struct Piece {
    pub(crate) first: usize,
    pub(crate) end: usize,
}

impl Piece {
    #[inline]
    fn is_whole(self) -> bool {
        self.end - self.first == SHARD
    }
}

impl<L: Lanes> Each<L> {
    /// Adds; how many frames were counted by nothing before.
    #[inline]
    fn add(&mut self, piece: Piece, one: L) -> Result<u16, usize> {
        let frames = &mut self.frames[piece.first..piece.end];
        if let [frame] = frames {
            let before = frame.count;
            frame.count = before.plus(one).ok_or(piece.first)?;
            return Ok(u16::from(before == L::ZERO));
        }
        // All of them are looked at before any is changed: nothing has to be taken back.
        if let Some(full) = frames.iter().position(|frame| frame.count.plus(one).is_none()) {
            return Err(piece.first + full);
        }
        let mut charged = 0;
        for frame in frames {
            charged += u16::from(frame.count == L::ZERO);
            frame.count = frame.count.plus(one).expect("looked at");
        }
        Ok(charged)
    }

    /// Subtracts; how many frames are counted by nothing now.
    #[inline]
    fn subtract(&mut self, piece: Piece, one: L) -> u16 {
        let mut freed = 0;
        for frame in &mut self.frames[piece.first..piece.end] {
            frame.count = frame.count.minus(one);
            freed += u16::from(frame.count == L::ZERO);
        }
        freed
    }
}

impl Shard {
    pub(crate) const EMPTY: Self = Self { counts: Counts::Same(Count::ZERO), charged: 0 };

    /// Adds what is not zero; how many frames were counted by nothing before.
    ///
    /// # Errors
    ///
    /// The first frame whose count is full. Nothing is changed then.
    #[inline]
    pub(crate) fn add(
        &mut self,
        piece: Piece,
        one: Count,
        spare: &mut Vec<Spare>,
    ) -> Result<u16, usize> {
        loop {
            let charged = match &mut self.counts {
                Counts::Each(each) => {
                    let added = Narrow::of_count(one).ok_or(piece.first);
                    match added.and_then(|one| each.add(piece, one)) {
                        Ok(charged) => charged,
                        Err(_) => {
                            self.widen();
                            continue;
                        }
                    }
                }
                Counts::Same(count) if piece.is_whole() => {
                    *count = count.plus(one).ok_or(piece.first)?;
                    ALL - self.charged
                }
                Counts::Same(_) => {
                    self.part(spare);
                    continue;
                }
                Counts::Wide(each) => each.add(piece, one)?,
            };
            self.charged += charged;
            return Ok(charged);
        }
    }

    /// Subtracts what was added; how many frames are counted by nothing now.
    #[inline]
    pub(crate) fn subtract(&mut self, piece: Piece, one: Count, spare: &mut Vec<Spare>) -> u16 {
        if let (Counts::Same(_), false) = (&self.counts, piece.is_whole()) {
            self.part(spare);
        }
        let freed = match &mut self.counts {
            Counts::Each(each) => {
                let one = Narrow::of_count(one).expect("it was added to such counts");
                each.subtract(piece, one)
            }
            Counts::Wide(each) => each.subtract(piece, one),
            Counts::Same(count) => {
                *count = count.minus(one);
                if count.is_zero() { ALL } else { 0 }
            }
        };
        self.charged -= freed;
        if self.charged == 0
            && let Counts::Each(each) =
                std::mem::replace(&mut self.counts, Counts::Same(Count::ZERO))
            && spare.len() < SPARE_MAX
        {
            spare.push(Spare(each));
        }
        freed
    }

    /// One number for each frame from now on, of those that are the same.
    #[cold]
    #[inline(never)]
    fn part(&mut self, spare: &mut Vec<Spare>) {
        let Counts::Same(count) = self.counts else { return };
        self.counts = match (Narrow::of_count(count), spare.pop()) {
            (Some(Narrow::ZERO), Some(Spare(each))) => Counts::Each(each),
            (Some(count), _) => {
                Counts::Each(Box::new(Each { frames: [Frame { count, begins: 0 }; SHARD] }))
            }
            (None, _) => {
                Counts::Wide(Box::new(Each { frames: [Frame { count, begins: 0 }; SHARD] }))
            }
        };
    }

    /// Room for larger numbers.
    #[cold]
    #[inline(never)]
    fn widen(&mut self) {
        let Counts::Each(each) = &self.counts else { return };
        let wide =
            |frame: Frame<Narrow>| Frame { count: frame.count.count(), begins: frame.begins };
        self.counts = Counts::Wide(Box::new(Each { frames: each.frames.map(wide) }));
    }

    /// Whether anything counts any of these frames.
    #[inline]
    pub(crate) fn is_busy(&self, piece: Piece) -> bool {
        if self.charged == 0 || self.charged == ALL || piece.is_whole() {
            return self.charged != 0;
        }
        (piece.first..piece.end).any(|frame| !self.count(frame).is_zero())
    }

    /// What counts a frame.
    #[inline]
    pub(crate) fn count(&self, frame: usize) -> Count {
        match &self.counts {
            Counts::Same(count) => *count,
            Counts::Each(each) => each.frames[frame].count.count(),
            Counts::Wide(each) => each.frames[frame].count,
        }
    }

    #[inline]
    pub(crate) fn begins_mut(&mut self, frame: usize) -> Option<&mut u32> {
        match &mut self.counts {
            Counts::Same(_) => None,
            Counts::Each(each) => Some(&mut each.frames[frame].begins),
            Counts::Wide(each) => Some(&mut each.frames[frame].begins),
        }
    }

    /// The last short mapping at each of these frames that has any.
    pub(crate) fn begins(&self, piece: Piece) -> impl Iterator<Item = u32> + '_ {
        let of = |frame: usize| match &self.counts {
            Counts::Same(_) => 0,
            Counts::Each(each) => each.frames[frame].begins,
            Counts::Wide(each) => each.frames[frame].begins,
        };
        (piece.first..piece.end).filter_map(move |frame| of(frame).checked_sub(1))
    }
}
