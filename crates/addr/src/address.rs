//! Addresses, each of one space.
//!
//! A number from a peer becomes an address by naming its space once, at the edge; from there on
//! the compiler keeps guest-physical addresses from being used as bus addresses. There are no
//! operators: `checked_add` and its kin answer `None` where the space ends.

use core::fmt;
use core::hash::Hash;

use crate::{Alignment, ParseAddressError};

/// Keeps [`Address`] to the spaces of this crate.
pub(crate) mod sealed {
    /// Implemented only here.
    pub trait Sealed {}
}

/// An address of one space.
pub trait Address:
    sealed::Sealed + Copy + Ord + Hash + fmt::Debug + fmt::Display + Send + Sync + 'static
{
    /// The type's name, as it stands in debug output: `Gpa`.
    const NAME: &'static str;
    /// The space in words, as messages say it: `guest-physical`.
    const SPACE: &'static str;
    /// The lowest address of the space.
    const FIRST: Self;
    /// The highest address of the space.
    const LAST: Self;

    /// The address with this number, or `None` if it is above [`Address::LAST`].
    fn try_new(raw: u64) -> Option<Self>;

    /// The number, for a wire, a system call or a message.
    fn get(self) -> u64;

    /// The address `bytes` higher, or `None` if the space ends before it.
    #[inline]
    fn checked_add(self, bytes: u64) -> Option<Self> {
        self.get().checked_add(bytes).and_then(Self::try_new)
    }

    /// The address `bytes` lower, or `None` if the space starts after it.
    #[inline]
    fn checked_sub(self, bytes: u64) -> Option<Self> {
        self.get().checked_sub(bytes).and_then(Self::try_new)
    }

    /// How many bytes this is above `base`, or `None` if it is below.
    #[inline]
    fn offset_from(self, base: Self) -> Option<u64> {
        self.get().checked_sub(base.get())
    }

    /// Whether this is a multiple of `alignment`.
    #[inline]
    fn is_aligned(self, alignment: Alignment) -> bool {
        self.get() & alignment.mask() == 0
    }

    /// The highest multiple of `alignment` that is not above this.
    #[inline]
    #[must_use]
    fn align_down(self, alignment: Alignment) -> Self {
        Self::try_new(self.get() & !alignment.mask()).expect("not above an address of the space")
    }

    /// The lowest multiple of `alignment` that is not below this, or `None` if the space ends
    /// before it.
    #[inline]
    fn align_up(self, alignment: Alignment) -> Option<Self> {
        self.get().checked_next_multiple_of(alignment.bytes()).and_then(Self::try_new)
    }
}

/// Makes the type of one 64-bit space.
macro_rules! space {
    ($(#[$documentation:meta])* $name:ident, $words:literal) => {
        $(#[$documentation])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The address with this number.
            #[inline]
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The number, for a wire, a system call or a message.
            #[inline]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl sealed::Sealed for $name {}

        impl Address for $name {
            const NAME: &'static str = stringify!($name);
            const SPACE: &'static str = $words;
            const FIRST: Self = Self(0);
            const LAST: Self = Self(u64::MAX);

            #[inline]
            fn try_new(raw: u64) -> Option<Self> {
                Some(Self(raw))
            }

            #[inline]
            fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl core::str::FromStr for $name {
            type Err = ParseAddressError;

            /// Reads what [`fmt::Display`] prints: `0x1000`.
            fn from_str(text: &str) -> Result<Self, ParseAddressError> {
                crate::text::address(text)
            }
        }
    };
}

space!(
    /// A guest-physical address: what the guest's page tables point at and what its drivers put
    /// in descriptors when there is no virtual IOMMU.
    Gpa,
    "guest-physical"
);
space!(
    /// A device-visible address: what a device puts on the bus, before any IOMMU translates it.
    Iova,
    "device-visible"
);
space!(
    /// A host-physical address: what the memory controller sees.
    Hpa,
    "host-physical"
);
space!(
    /// A virtual address in one host process. Which process is said by who holds it: the type
    /// does not know.
    Hva,
    "host-virtual"
);
space!(
    /// A graphics memory address: what a GPU's engines see through its global page table.
    Gma,
    "graphics memory"
);

#[cfg(test)]
mod tests;
