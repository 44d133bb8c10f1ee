//! What is remembered of a mapping, in half a line of a cache.

use ringfence_addr::{Address as _, Gpa, Iova, Rights, Span};

use crate::count::{Appears, Count};
use crate::frames::FRAME_BYTES;
use crate::mapping::Phase;

/// A mapping of so many frames can be remembered: 64 PiB.
pub(crate) const MAPPING_FRAMES_MAX: u64 = (1 << 44) - 1;

/// Addresses are of whole frames: the lowest twelve bits are free for something else.
const ADDRESS: u64 = !(FRAME_BYTES - 1);

const APPEARS_SHIFT: u32 = 2;
const PHASE_SHIFT: u32 = 4;
const PHASE: u64 = 7 << PHASE_SHIFT;
const FOLLOWED: u64 = 1 << 7;
const FOLLOWS: u64 = 1 << 8;

/// Two of them have a line of a cache to themselves.
#[derive(Clone, Copy)]
#[repr(align(32))]
pub(crate) struct Row {
    /// Where its memory begins; rights, where it appears, phase (0 for no mapping) and links.
    memory: u64,
    /// Where its bus addresses begin, if it has any; and the upper twelve bits of its length.
    bus: u64,
    /// The lower 32 bits of its length in frames.
    frames: u32,
    pub(crate) generation: u32,
    /// The places of those whose mapping it is. They stay where they are as long as it is there.
    pub(crate) holder: u32,
    pub(crate) owner: u32,
}

const PHASES: [Phase; 5] =
    [Phase::Begun, Phase::Live, Phase::Removing, Phase::Removed, Phase::Quarantined];

fn rights_bits(rights: Rights) -> u64 {
    u64::from(rights.allows(Rights::READ)) | u64::from(rights.allows(Rights::WRITE)) << 1
}

impl Row {
    /// No mapping.
    pub(crate) const EMPTY: Self =
        Self { memory: 0, bus: 0, frames: 0, generation: 0, holder: 0, owner: 0 };

    /// One that has begun. Its memory is not more than [`MAPPING_FRAMES_MAX`] whole frames.
    #[inline]
    pub(crate) fn begun(
        (holder, owner): (u32, u32),
        memory: Span<Gpa>,
        bus: Option<Iova>,
        rights: Rights,
        appears: Appears,
    ) -> Self {
        let frames = (memory.last().get() - memory.first().get()) / FRAME_BYTES + 1;
        let shown = match appears {
            Appears::Device => 0,
            Appears::Host => 1,
            Appears::Both => 2,
        };
        let flags = rights_bits(rights) | shown << APPEARS_SHIFT | 1 << PHASE_SHIFT;
        Self {
            memory: memory.first().get() & ADDRESS | flags,
            bus: bus.map_or(0, |bus| bus.get() & ADDRESS) | frames >> 32,
            frames: u32::try_from(frames & u64::from(u32::MAX)).expect("32 bits"),
            generation: 0,
            holder,
            owner,
        }
    }

    /// Whether it is that of a mapping.
    #[inline]
    pub(crate) fn is_used(&self) -> bool {
        self.memory & PHASE != 0
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        let place = (self.memory & PHASE) >> PHASE_SHIFT;
        usize::try_from(place)
            .ok()
            .and_then(|it| PHASES.get(it.wrapping_sub(1)))
            .copied()
            .unwrap_or(Phase::Quarantined)
    }

    #[inline]
    pub(crate) fn set_phase(&mut self, phase: Phase) {
        let value = match phase {
            Phase::Begun => 1,
            Phase::Live => 2,
            Phase::Removing => 3,
            Phase::Removed => 4,
            Phase::Quarantined => 5,
        };
        self.memory = self.memory & !PHASE | value << PHASE_SHIFT;
    }

    /// Leaves the generation alone.
    pub(crate) fn clear(&mut self) {
        *self = Self { generation: self.generation, ..Self::EMPTY };
    }

    #[inline]
    pub(crate) fn rights(&self) -> Rights {
        match self.memory & 3 {
            0 => Rights::NONE,
            1 => Rights::READ,
            2 => Rights::WRITE,
            _ => Rights::READ_WRITE,
        }
    }

    #[inline]
    pub(crate) fn appears(&self) -> Appears {
        match self.memory >> APPEARS_SHIFT & 3 {
            0 => Appears::Device,
            1 => Appears::Host,
            _ => Appears::Both,
        }
    }

    /// How many frames it has.
    #[inline]
    pub(crate) fn frames(&self) -> u64 {
        (self.bus & !ADDRESS) << 32 | u64::from(self.frames)
    }

    #[inline]
    pub(crate) fn memory(&self) -> Span<Gpa> {
        let first = Gpa::new(self.memory & ADDRESS);
        let length = self.frames() * FRAME_BYTES;
        Span::from_parts(first, length).unwrap_or(Span::of(first))
    }

    /// Where the holder's device finds it, if it does.
    #[inline]
    pub(crate) fn bus(&self) -> Option<Span<Iova>> {
        let first = Iova::try_new(self.bus & ADDRESS)?;
        if self.appears().device() { self.memory().rebase(first) } else { None }
    }

    /// What it adds to each frame.
    #[inline]
    pub(crate) fn count(&self) -> Count {
        Count::of(self.appears(), self.rights())
    }

    /// Whether another that begins at the same frame comes after it in the list.
    #[inline]
    pub(crate) fn is_followed(&self) -> bool {
        self.memory & FOLLOWED != 0
    }

    /// Whether one comes before it.
    #[inline]
    pub(crate) fn follows(&self) -> bool {
        self.memory & FOLLOWS != 0
    }

    pub(crate) fn set_followed(&mut self, is_followed: bool) {
        self.memory = self.memory & !FOLLOWED | u64::from(is_followed) << 7;
    }

    pub(crate) fn set_follows(&mut self, follows: bool) {
        self.memory = self.memory & !FOLLOWS | u64::from(follows) << 8;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_fit_in_a_line_of_a_cache() {
        assert_eq!((size_of::<Row>(), align_of::<Row>()), (32, 32));
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out(
            (first, frames) in (0..1_u64 << 51, prop_oneof![1..5_u64, 1..MAPPING_FRAMES_MAX]),
            (bus, shape, phase) in (0..1_u64 << 51, 0..9_usize, 0..PHASES.len()),
            (holder, owner) in (any::<u32>(), any::<u32>()),
        ) {
            let memory = Span::from_parts(Gpa::new(first << 12), frames << 12).expect("a span");
            let rights = [Rights::READ, Rights::WRITE, Rights::READ_WRITE][shape % 3];
            let appears = Appears::ALL[shape / 3];
            let first = appears.device().then(|| Iova::new(bus << 12));
            let mut row = Row::begun((holder, owner), memory, first, rights, appears);
            for phase in [Phase::Begun, PHASES[phase]] {
                row.set_phase(phase);
                row.set_followed(phase == Phase::Live);
                row.set_follows(phase == Phase::Removed);
                prop_assert_eq!((row.phase(), row.is_used()), (phase, true));
                prop_assert_eq!((row.is_followed(), row.follows()), (phase == Phase::Live, phase == Phase::Removed));
                prop_assert_eq!((row.memory(), row.frames()), (memory, frames));
                prop_assert_eq!((row.rights(), row.appears()), (rights, appears));
                prop_assert_eq!((row.holder, row.owner), (holder, owner));
                prop_assert_eq!(row.bus(), first.and_then(|first| memory.rebase(first)));
            }
            row.clear();
            prop_assert!(!row.is_used());
        }
    }
}
