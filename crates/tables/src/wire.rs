//! Fields one after another, read and written by the same list.
//!
//! A structure of a table is declared once, in the order of its bytes; reading and writing follow
//! from that, so neither can forget a field the other has. What a structure does not name goes into
//! a tail, so that writing gives back the bytes that were read.

/// Something with a form in bytes, little-endian as all of ACPI.
pub(crate) trait Wire: Sized {
    /// Takes the value from the front of `bytes`, or nothing if they end too early.
    fn take(bytes: &mut &[u8]) -> Option<Self>;
    /// Appends the value.
    fn put(&self, bytes: &mut Vec<u8>);

    /// How many bytes it takes.
    fn size(&self) -> usize {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        bytes.len()
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Wire for $number {
            fn take(bytes: &mut &[u8]) -> Option<Self> {
                let (number, rest) = bytes.split_first_chunk()?;
                *bytes = rest;
                Some(Self::from_le_bytes(*number))
            }

            fn put(&self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }
        }
    )*};
}

numbers! { u8 u16 u32 u64 }

impl<const N: usize> Wire for [u8; N] {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let (array, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(*array)
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self);
    }
}

/// All that is left.
impl Wire for Vec<u8> {
    fn take(bytes: &mut &[u8]) -> Option<Self> {
        Some(std::mem::take(bytes).to_vec())
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self);
    }
}

/// The first `length` bytes, if there are as many.
pub(crate) fn split<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (part, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(part)
}

/// Each of the items with the offset at which it is written, the first at `start`.
pub(crate) fn placed<T: Wire>(items: &[T], start: usize) -> impl Iterator<Item = (usize, &T)> {
    items.iter().scan(start, |next, item| {
        let at = *next;
        *next += item.size();
        Some((at, item))
    })
}

/// The length of something in two bytes.
///
/// # Panics
///
/// It is longer: such a structure was not read, and whoever makes one breaks the format.
pub(crate) fn length16(length: usize) -> u16 {
    u16::try_from(length).expect("a structure of a table is shorter than 64 KiB")
}

/// Declares a structure by its fields in the order of their bytes.
macro_rules! wire {
    (
        $(#[$about:meta])*
        pub struct $name:ident {
            $($(#[$field_about:meta])* pub $field:ident: $type:ty,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)*
        }

        impl $crate::wire::Wire for $name {
            fn take(bytes: &mut &[u8]) -> Option<Self> {
                $(let $field = $crate::wire::Wire::take(bytes)?;)*
                Some(Self { $($field,)* })
            }

            fn put(&self, bytes: &mut Vec<u8>) {
                $($crate::wire::Wire::put(&self.$field, bytes);)*
            }
        }
    };
}

pub(crate) use wire;
