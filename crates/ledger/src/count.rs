//! How many mappings count a frame, by where they appear and by right.

use std::fmt;

use ringfence_addr::Rights;

/// Where a mapping appears: each place is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Appears {
    /// In the holder's bus addresses: its device reaches the memory.
    Device,
    /// In the holder's own address space: its processor does.
    Host,
    /// In both.
    Both,
}

impl Appears {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Device, Self::Host, Self::Both];

    /// Whether a device reaches it.
    pub const fn device(self) -> bool {
        matches!(self, Self::Device | Self::Both)
    }

    /// Whether a process does.
    pub const fn host(self) -> bool {
        matches!(self, Self::Host | Self::Both)
    }
}

/// Counts of a frame in some form: four lanes, each of which may be full.
pub(crate) trait Lanes: Copy + Eq {
    const ZERO: Self;

    /// The same counts, unless one is too large for this form.
    fn of_count(count: Count) -> Option<Self>;

    fn count(self) -> Count;

    /// Both together, or `None` if a count is full.
    fn plus(self, other: Self) -> Option<Self>;

    /// What is left without `other`, which is part of it.
    fn minus(self, other: Self) -> Self;
}

/// Four counts in one word, 15 bits each: device and host, read and write. The sixteenth bit of each
/// is free, so that a sum shows at once whether any of the four is full.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Count(u64);

const LANE: u32 = 16;
const FULL: u64 = 0x8000_8000_8000_8000;

impl Count {
    pub(crate) const ZERO: Self = Self(0);

    /// What one mapping adds to every frame of it.
    pub(crate) const fn of(appears: Appears, rights: Rights) -> Self {
        let mut sum = 0;
        if rights.allows(Rights::READ) {
            sum += 1;
        }
        if rights.allows(Rights::WRITE) {
            sum += 1 << LANE;
        }
        match appears {
            Appears::Device => Self(sum),
            Appears::Host => Self(sum << (2 * LANE)),
            Appears::Both => Self(sum | sum << (2 * LANE)),
        }
    }

    /// Both together, or `None` if a count is full.
    #[inline]
    pub(crate) const fn plus(self, other: Self) -> Option<Self> {
        // Each lane is at most 0x7fff, so no carry passes from one to the next.
        let sum = self.0 + other.0;
        if sum & FULL == 0 { Some(Self(sum)) } else { None }
    }

    /// What is left without `other`, which is part of it.
    #[inline]
    pub(crate) const fn minus(self, other: Self) -> Self {
        debug_assert!(self.contains(other), "more is taken away than was counted");
        Self(self.0 - other.0)
    }

    /// Whether each of the four is at least that of `other`.
    pub(crate) const fn contains(self, other: Self) -> bool {
        ((self.0 | FULL) - other.0) & FULL == FULL
    }

    #[inline]
    pub(crate) const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The four counts.
    pub(crate) const fn lanes(self) -> Counts {
        let [a, b, c, d, e, f, g, h] = self.0.to_le_bytes();
        Counts {
            device_read: u16::from_le_bytes([a, b]),
            device_write: u16::from_le_bytes([c, d]),
            host_read: u16::from_le_bytes([e, f]),
            host_write: u16::from_le_bytes([g, h]),
        }
    }
}

impl Lanes for Count {
    const ZERO: Self = Self::ZERO;

    #[inline]
    fn of_count(count: Count) -> Option<Self> {
        Some(count)
    }

    #[inline]
    fn count(self) -> Count {
        self
    }

    #[inline]
    fn plus(self, other: Self) -> Option<Self> {
        self.plus(other)
    }

    #[inline]
    fn minus(self, other: Self) -> Self {
        self.minus(other)
    }
}

/// The same four in half a word, 7 bits each: enough for nearly every frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Narrow(u32);

const NARROW_FULL: u32 = 0x8080_8080;

impl Lanes for Narrow {
    const ZERO: Self = Self(0);

    #[inline]
    fn of_count(count: Count) -> Option<Self> {
        if count.0 & !0x007f_007f_007f_007f != 0 {
            return None;
        }
        let [a, _, b, _, c, _, d, _] = count.0.to_le_bytes();
        Some(Self(u32::from_le_bytes([a, b, c, d])))
    }

    #[inline]
    fn count(self) -> Count {
        let [a, b, c, d] = self.0.to_le_bytes();
        Count(u64::from_le_bytes([a, 0, b, 0, c, 0, d, 0]))
    }

    #[inline]
    fn plus(self, other: Self) -> Option<Self> {
        // Each lane is at most 0x7f, so no carry passes from one to the next.
        let sum = self.0 + other.0;
        if sum & NARROW_FULL == 0 { Some(Self(sum)) } else { None }
    }

    #[inline]
    fn minus(self, other: Self) -> Self {
        debug_assert!(self.count().contains(other.count()), "more is taken away than was counted");
        Self(self.0 - other.0)
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lanes().fmt(formatter)
    }
}

/// How many mappings count a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// In bus addresses, readable.
    pub device_read: u16,
    /// In bus addresses, writable.
    pub device_write: u16,
    /// In a process, readable.
    pub host_read: u16,
    /// In a process, writable.
    pub host_write: u16,
}

impl Counts {
    /// Whether nothing counts it.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many mappings can count a frame for each right and place.
    const COUNT_MAX: u16 = 0x7fff;

    #[test]
    fn each_place_and_right_is_counted_by_itself() {
        let lanes = |appears, rights| {
            let Counts { device_read, device_write, host_read, host_write } =
                Count::of(appears, rights).lanes();
            [device_read, device_write, host_read, host_write]
        };
        assert_eq!(lanes(Appears::Device, Rights::READ), [1, 0, 0, 0]);
        assert_eq!(lanes(Appears::Device, Rights::READ_WRITE), [1, 1, 0, 0]);
        assert_eq!(lanes(Appears::Host, Rights::WRITE), [0, 0, 0, 1]);
        assert_eq!(lanes(Appears::Both, Rights::READ_WRITE), [1, 1, 1, 1]);
        assert_eq!(lanes(Appears::Both, Rights::NONE), [0, 0, 0, 0]);
    }

    #[test]
    fn narrow_counts_are_the_same_counts_until_they_are_full() {
        for appears in Appears::ALL {
            for rights in [Rights::READ, Rights::WRITE, Rights::READ_WRITE] {
                let one = Count::of(appears, rights);
                let narrow = Narrow::of_count(one).expect("it fits");
                let (mut sum, mut wide) = (Narrow::ZERO, Count::ZERO);
                for _ in 0..0x7f {
                    (sum, wide) = (sum.plus(narrow).expect("room"), wide.plus(one).expect("room"));
                    assert_eq!(sum.count(), wide);
                    assert_eq!(Narrow::of_count(wide).map(Narrow::count), Some(wide));
                    assert_eq!(sum.minus(narrow).count(), wide.minus(one));
                }
                assert!(sum.plus(narrow).is_none());
                assert!(Narrow::of_count(wide.plus(one).expect("room")).is_none());
            }
        }
    }

    #[test]
    fn a_full_count_takes_no_more_and_spills_into_no_other() {
        for appears in Appears::ALL {
            for rights in [Rights::READ, Rights::WRITE, Rights::READ_WRITE] {
                let one = Count::of(appears, rights);
                let mut sum = Count::ZERO;
                for _ in 0..COUNT_MAX {
                    sum = sum.plus(one).expect("room");
                }
                assert_eq!(sum.plus(one), None);
                let other = Count::of(Appears::Both, Rights::READ_WRITE);
                assert_eq!(sum.plus(other), None);
                assert!(sum.contains(one) && !Count::ZERO.contains(one));
                assert_eq!(sum.minus(one).plus(one), Some(sum));
            }
        }
    }
}
