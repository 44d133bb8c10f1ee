//! Memory is mapped in blocks, each a mapping of its own, so that one can be taken back while the others
//! stay.

use ringfence_addr::{Address, Alignment, Span};
use ringfence_refusal::Refusal;

use crate::refusals::TOO_MUCH_MEMORY;

/// How many a function may have: what VFIO's type 1 keeps of mappings at most (`dma_entry_limit`).
pub(super) const BLOCKS_MAX: u64 = 65_535;
/// Left for pieces smaller than a block: each of a VM's spans has two ends.
const BLOCKS_SPARE: u64 = 4096;
/// The size of a superpage, and of what a guest gives back at once.
const SMALLEST: u64 = 2 << 20;

/// The size of blocks, a power of two from 2 MiB on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Block(Alignment);

impl Block {
    /// The smallest that a VM with so much memory can be mapped in.
    ///
    /// # Errors
    ///
    /// `RF0727` for more memory than there can be.
    pub fn for_memory(bytes: u64) -> Result<Self, Refusal> {
        let refuse = || Refusal::new(&TOO_MUCH_MEMORY, format!("{bytes:#x} bytes for one VM"));
        let least = bytes.div_ceil(BLOCKS_MAX - BLOCKS_SPARE).max(SMALLEST);
        let block = least.checked_next_power_of_two().and_then(Alignment::new);
        block.map(Self).ok_or_else(refuse)
    }

    /// Its size in bytes.
    pub fn bytes(self) -> u64 {
        self.0.bytes()
    }

    /// Their size, as an alignment.
    pub fn alignment(self) -> Alignment {
        self.0
    }

    /// How many blocks have a part in a span.
    pub(super) fn count<A: Address>(self, span: Span<A>) -> u64 {
        let blocks = span.aligned_out(self.0).length() / u128::from(self.bytes());
        u64::try_from(blocks).unwrap_or(u64::MAX)
    }

    /// Cuts a span where blocks meet.
    pub(super) fn cut<A: Address>(self, span: Span<A>) -> impl Iterator<Item = Span<A>> {
        let mut rest = Some(span);
        std::iter::from_fn(move || {
            let span = rest.take()?;
            let block = Span::of(span.first()).aligned_out(self.0);
            let piece = span.intersection(&block)?;
            rest = span.minus(&piece)[1];
            Some(piece)
        })
    }
}

#[cfg(test)]
mod tests {
    use ringfence_addr::Iova;

    use super::*;

    #[test]
    fn blocks_grow_when_there_would_be_too_many_of_them() {
        let of = |gib: u64| Block::for_memory(gib << 30).expect("a block").bytes() >> 20;
        assert_eq!([1, 64, 119].map(of), [2, 2, 2]);
        assert_eq!([120, 128, 200, 1024].map(of), [4, 4, 4, 32]);
        for gib in 1..2000 {
            let bytes: u64 = gib << 30;
            assert!(bytes / (of(gib) << 20) <= BLOCKS_MAX - BLOCKS_SPARE, "{gib} GiB");
        }
        let refusal = Block::for_memory(u64::MAX).map(|block| block.bytes());
        assert_eq!(refusal, Ok(1 << 49));
    }

    #[test]
    fn a_span_is_cut_where_blocks_meet_and_all_of_it_is_there() {
        let block = Block::for_memory(1).expect("a block");
        let span = |first, last| Span::new(Iova::new(first), Iova::new(last)).expect("a span");
        let cut: Vec<_> = block.cut(span(0x10_0000, 0x4f_ffff)).collect();
        assert_eq!(
            cut,
            [span(0x10_0000, 0x1f_ffff), span(0x20_0000, 0x3f_ffff), span(0x40_0000, 0x4f_ffff)]
        );
        let top = span(!0x1f_ffff - 0x1000, u64::MAX);
        assert_eq!((block.cut(top).count(), block.count(top)), (2, 2));
        assert_eq!(block.count(Span::<Iova>::whole()), 1 << 43);
        assert_eq!(block.cut(span(0x1000, 0x1fff)).collect::<Vec<_>>(), [span(0x1000, 0x1fff)]);
    }
}
