//! Base address registers: where a function answers to reads and writes.

use std::num::NonZeroU64;

use ringfence_addr::{Hpa, Span};

use crate::fact::Fact;

/// A base address register that asks for memory (PCI Local Bus 3.0, section 6.2.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Which of the six it is; a wide one takes the next one's place, too.
    pub index: u8,
    /// Where it is, `None` while nobody gave it a place. From config space this is what the bus
    /// sees, from the kernel what the processor sees; on x86 they are the same.
    pub first: Option<Hpa>,
    /// How much it is: the register alone does not say, the kernel does.
    pub length: Fact<NonZeroU64>,
    /// It takes addresses of 64 bits.
    pub wide: bool,
    /// Reads of it change nothing.
    pub prefetchable: bool,
}

impl Bar {
    /// What it covers, if its place and its size are known.
    pub fn span(&self) -> Option<Span<Hpa>> {
        Span::from_length(self.first?, *self.length.known()?)
    }
}
