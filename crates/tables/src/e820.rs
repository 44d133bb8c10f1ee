//! Memory maps as Linux's x86 boot protocol has them: the zero page, and what does not fit there.
//!
//! Linux `Documentation/arch/x86/boot.rst` and `zero-page.rst`: entries of 20 bytes at 0x2d0 of the
//! zero page, at most 128, counted by the byte at 0x1e8; more in nodes of `setup_data`.

use ringfence_addr::{Address, Span};
use ringfence_refusal::Refusal;

use crate::refusals::{NOT_A_ZERO_PAGE, NOT_AN_E820_EXTENSION};
use crate::wire::{Wire, wire};

/// Bytes of the zero page.
pub const ZERO_PAGE_BYTES: usize = 4096;
/// Entries it holds.
pub const ZERO_PAGE_ENTRIES: usize = 128;
const COUNT_AT: usize = 0x1e8;
const ENTRIES_AT: usize = 0x2d0;
const ENTRY_BYTES: usize = 20;
/// `SETUP_E820_EXT`.
const EXTENSION: u32 = 1;

wire! {
    /// One entry of a memory map.
    pub struct E820Entry {
        /// The first byte.
        pub address: u64,
        /// Bytes.
        pub size: u64,
        /// [`E820Kind`] as a number.
        pub kind: u32,
    }
}

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum E820Kind {
    /// 1: memory to use.
    Ram,
    /// 2: not to be touched.
    Reserved,
    /// 3: ACPI tables.
    Acpi,
    /// 4: kept over sleep.
    Nvs,
    /// 5: broken.
    Unusable,
    /// 7: persistent.
    Persistent,
    /// Another number.
    Other(u32),
}

impl E820Kind {
    /// The number in the map.
    pub fn number(self) -> u32 {
        match self {
            Self::Ram => 1,
            Self::Reserved => 2,
            Self::Acpi => 3,
            Self::Nvs => 4,
            Self::Unusable => 5,
            Self::Persistent => 7,
            Self::Other(number) => number,
        }
    }
}

impl From<u32> for E820Kind {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Ram,
            2 => Self::Reserved,
            3 => Self::Acpi,
            4 => Self::Nvs,
            5 => Self::Unusable,
            7 => Self::Persistent,
            other => Self::Other(other),
        }
    }
}

impl E820Entry {
    /// An entry for this span; none for all of a 64-bit space, whose size is no number of 64 bits.
    pub fn new<A: Address>(span: Span<A>, kind: E820Kind) -> Option<Self> {
        let size = span.length_u64()?.get();
        Some(Self { address: span.first().get(), size, kind: kind.number() })
    }

    /// Where it is; none if it is empty or runs over the last address.
    pub fn span<A: Address>(&self) -> Option<Span<A>> {
        Span::from_parts(A::try_new(self.address)?, self.size)
    }

    /// What it is for.
    pub fn kind(&self) -> E820Kind {
        self.kind.into()
    }
}

/// Reads the entries of a zero page.
///
/// # Errors
///
/// It is shorter than a page, or counts more entries than it holds.
pub fn read_zero_page(page: &[u8]) -> Result<Vec<E820Entry>, Refusal> {
    let page = zero_page(page.len()).map(|()| page)?;
    let count = usize::from(page[COUNT_AT]);
    if count > ZERO_PAGE_ENTRIES {
        let detail = format!("it counts {count} entries and holds {ZERO_PAGE_ENTRIES}");
        return Err(Refusal::new(&NOT_A_ZERO_PAGE, detail));
    }
    let mut entries = &page[ENTRIES_AT..];
    Ok((0..count).filter_map(|_| E820Entry::take(&mut entries)).collect())
}

/// Writes the first 128 entries into a zero page and counts them; returns those it has no room for,
/// which go into an [`E820Extension`].
///
/// # Errors
///
/// It is shorter than a page.
pub fn write_zero_page<'a>(
    page: &mut [u8],
    entries: &'a [E820Entry],
) -> Result<&'a [E820Entry], Refusal> {
    zero_page(page.len())?;
    let (first, rest) = entries.split_at(entries.len().min(ZERO_PAGE_ENTRIES));
    let mut bytes = Vec::new();
    first.iter().for_each(|entry| entry.put(&mut bytes));
    page[ENTRIES_AT..ENTRIES_AT + bytes.len()].copy_from_slice(&bytes);
    page[COUNT_AT] = u8::try_from(first.len()).expect("at most 128");
    Ok(rest)
}

fn zero_page(length: usize) -> Result<(), Refusal> {
    if length < ZERO_PAGE_BYTES {
        let detail = format!("{length} bytes, where a page has {ZERO_PAGE_BYTES}");
        return Err(Refusal::new(&NOT_A_ZERO_PAGE, detail));
    }
    Ok(())
}

/// A node of `setup_data` with more entries (`SETUP_E820_EXT`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct E820Extension {
    /// Physical address of the next node; zero for none.
    pub next: u64,
    /// The entries.
    pub entries: Vec<E820Entry>,
}

impl E820Extension {
    /// Reads a node. What comes behind it is left alone.
    ///
    /// # Errors
    ///
    /// It is of another type, not as long as it says, or no whole number of entries.
    pub fn read(mut bytes: &[u8]) -> Result<Self, Refusal> {
        let refuse = |detail: String| Refusal::new(&NOT_AN_E820_EXTENSION, detail);
        let given = bytes.len();
        let fields = (u64::take(&mut bytes), u32::take(&mut bytes), u32::take(&mut bytes));
        let (Some(next), Some(kind), Some(length)) = fields else {
            return Err(refuse(format!("{given} bytes, where a node has at least 16")));
        };
        if kind != EXTENSION {
            return Err(refuse(format!("it is of type {kind}, not {EXTENSION}")));
        }
        let data = usize::try_from(length).ok().and_then(|length| bytes.get(..length));
        let Some(mut data) = data.filter(|data| data.len() % ENTRY_BYTES == 0) else {
            let there = bytes.len();
            return Err(refuse(format!("{length} bytes of entries of 20, {there} are there")));
        };
        let mut entries = Vec::new();
        while let Some(entry) = E820Entry::take(&mut data) {
            entries.push(entry);
        }
        Ok(Self { next, entries })
    }

    /// The bytes of the node.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.next.put(&mut bytes);
        EXTENSION.put(&mut bytes);
        let length = self.entries.len() * ENTRY_BYTES;
        u32::try_from(length).expect("entries fit into memory below 4 GiB").put(&mut bytes);
        self.entries.iter().for_each(|entry| entry.put(&mut bytes));
        bytes
    }
}

#[cfg(test)]
mod tests;
