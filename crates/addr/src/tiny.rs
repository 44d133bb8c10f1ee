//! A space so small that a test can enumerate every span in it.

use core::fmt;

use crate::Address;
use crate::address::sealed;

/// An address of an 8-bit space, for tests: `0x0` to `0xff`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Tiny(u8);

impl Tiny {
    /// The address with this number.
    pub const fn new(raw: u8) -> Self {
        Self(raw)
    }

    /// The number, which indexes a model of 256 cells.
    pub const fn raw(self) -> u8 {
        self.0
    }
}

impl sealed::Sealed for Tiny {}

impl Address for Tiny {
    const NAME: &'static str = "Tiny";
    const SPACE: &'static str = "8-bit test";
    const FIRST: Self = Self(0);
    const LAST: Self = Self(u8::MAX);

    #[inline]
    fn try_new(raw: u64) -> Option<Self> {
        u8::try_from(raw).ok().map(Self)
    }

    #[inline]
    fn get(self) -> u64 {
        u64::from(self.0)
    }
}

impl fmt::Display for Tiny {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#x}", self.0)
    }
}

impl fmt::Debug for Tiny {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Tiny({:#x})", self.0)
    }
}
