//! What a client lets the function reach, and what is taken away again.

use std::sync::Arc;

use ringfence_addr::{Gpa, Iova, Rights, Span, SpanMap};
use ringfence_ledger::refusals::RETIRED;
use ringfence_refusal::{Failure, Refusal};
use ringfence_vfio_user::DmaMapping;

use super::backing::SharedMemory;
use super::blocks::{BLOCKS_MAX, Block};
use crate::refusals::TOO_MUCH_MEMORY;

/// Memory that comes in one piece.
#[derive(Clone, Copy, Debug)]
pub struct Extent<'a> {
    /// The bus addresses it is to be at.
    pub bus: Span<Iova>,
    /// The memory; as much of it as there are addresses.
    pub memory: &'a SharedMemory,
    /// What the function may do with it.
    pub rights: Rights,
}

/// Who decides what the function reaches, and has it done.
pub trait Reach: Send {
    /// Lets the function reach some blocks of a piece, each as a mapping of its own: all of them or none.
    ///
    /// # Errors
    ///
    /// It may not, or the system says no; none of them is reached.
    fn map(&mut self, extent: Extent<'_>, blocks: &[Span<Iova>]) -> Result<(), Failure>;

    /// Takes blocks away that are reached. When this returns the function reaches none of them, and
    /// remembers none.
    ///
    /// # Errors
    ///
    /// Any of them may be reached still.
    fn unmap(&mut self, blocks: &[Span<Iova>]) -> Result<(), Failure>;

    /// Whether a block is reached, or may be: somebody else may have taken it away.
    fn is_reached(&self, block: Span<Iova>) -> bool;

    /// Where the guest has the memory of a piece, if that is known.
    fn guest_memory(&self, extent: Extent<'_>) -> Option<Span<Gpa>>;

    /// Keeps the function off its bus and takes everything away.
    ///
    /// # Errors
    ///
    /// Something may be reached still.
    fn cut_off(&mut self) -> Result<(), Failure>;

    /// Lets a function that was cut off, and reset, begin anew.
    ///
    /// # Errors
    ///
    /// Something of before may be reached still.
    fn readmit(&mut self) -> Result<(), Failure>;
}

/// What one client has said, and what came of it.
#[derive(Debug)]
pub(super) struct Memory<R> {
    pub(super) reach: R,
    block: Block,
    known: SpanMap<Iova, Known>,
    /// Blocks of all pieces, reached or not.
    blocks: u64,
}

/// What is known of a piece of memory that the client mapped.
#[derive(Clone, Debug)]
enum Known {
    /// It came without a descriptor: the function reaches none of it.
    Elsewhere,
    /// It is a file's.
    Shared(Arc<SharedMemory>, Rights),
}

/// How much memory there is of a kind, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) reached: u64,
    pub(super) withheld: u64,
    pub(super) unsealed: u64,
    pub(super) elsewhere: u64,
}

impl<R: Reach> Memory<R> {
    pub(super) fn new(reach: R, block: Block) -> Self {
        Self { reach, block, known: SpanMap::new(), blocks: 0 }
    }

    pub(super) fn map(&mut self, mapping: DmaMapping) -> Result<(), Failure> {
        let DmaMapping { span, rights, memory } = mapping;
        let Some(memory) = memory else {
            self.known.insert(span, Known::Elsewhere);
            return Ok(());
        };
        let memory = SharedMemory::new(memory.descriptor, memory.file_offset)?;
        // Blocks are counted before they are made.
        let count = self.block.count(span);
        let blocks = self.blocks.saturating_add(count);
        if blocks > BLOCKS_MAX {
            let detail = format!(
                "{span}: {count} blocks of {:#x} bytes beside {}; {BLOCKS_MAX} can be mapped",
                self.block.bytes(),
                self.blocks
            );
            return Err(Refusal::new(&TOO_MUCH_MEMORY, detail).into());
        }
        let cut: Vec<_> = self.block.cut(span).collect();
        let extent = Extent { bus: span, memory: &memory, rights };
        match self.reach.map(extent, &cut) {
            Err(failure) if is_given_back(&failure) => self.map_rest(extent, &cut)?,
            mapped => mapped?,
        }
        self.blocks = blocks;
        self.known.insert(span, Known::Shared(Arc::new(memory), rights));
        Ok(())
    }

    /// Takes away what is left of a piece that the client mapped.
    pub(super) fn unmap(&mut self, span: Span<Iova>) -> Result<(), Failure> {
        self.let_go(span)?;
        if let Some(Known::Shared(..)) = self.known.remove_exact(span) {
            self.blocks -= self.block.count(span);
        }
        Ok(())
    }

    /// Maps what can be of a piece of which the owner has given some back: it comes when that is taken again.
    fn map_rest(&mut self, extent: Extent<'_>, blocks: &[Span<Iova>]) -> Result<(), Failure> {
        for (count, block) in blocks.iter().enumerate() {
            match self.reach.map(extent, &[*block]) {
                Err(failure) if !is_given_back(&failure) => {
                    let mut done = blocks[..count].to_vec();
                    done.retain(|block| self.reach.is_reached(*block));
                    self.reach.unmap(&done)?;
                    return Err(failure);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes away every block that has a part in `span`.
    fn let_go(&mut self, span: Span<Iova>) -> Result<(), Failure> {
        let mut blocks = self.blocks_in(span);
        blocks.retain(|block| self.reach.is_reached(*block));
        if !blocks.is_empty() {
            self.reach.unmap(&blocks)?;
        }
        Ok(())
    }

    /// Lets the function reach again all that the client has mapped, as far as it may: it was reset.
    pub(super) fn take_up_all(&mut self) {
        let Self { reach, block, known, .. } = self;
        for (bus, known) in known.iter() {
            let Known::Shared(memory, rights) = known else { continue };
            let extent = Extent { bus, memory, rights: *rights };
            for one in block.cut(bus) {
                // One that is not to be had, because its owner gave it back, say, is not reached.
                let _taken = reach.is_reached(one) || reach.map(extent, &[one]).is_ok();
            }
        }
    }

    /// Lets the function reach again what the client has mapped of some memory of the guest's, in whole
    /// blocks; how many were missing.
    pub(super) fn take_up(&mut self, wanted: Span<Gpa>) -> Result<usize, Failure> {
        let Self { reach, block, known, .. } = self;
        let mut count = 0;
        for (bus, known) in known.iter() {
            let Known::Shared(memory, rights) = known else { continue };
            let extent = Extent { bus, memory, rights: *rights };
            let Some(guest) = reach.guest_memory(extent) else { continue };
            let part = guest
                .intersection(&wanted)
                .and_then(|part| bus.subspan(guest.offset_of(part.first())?, part.length_u64()?));
            let Some(part) = part else { continue };
            for one in block.cut(bus).filter(|one| one.overlaps(&part)) {
                if !reach.is_reached(one) {
                    reach.map(extent, &[one])?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Blocks that the client has mapped and that have a part in `span`.
    fn blocks_in(&self, span: Span<Iova>) -> Vec<Span<Iova>> {
        let shared = self.known.overlapping(span).filter(|(_, known)| known.is_shared());
        let blocks = shared.flat_map(|(piece, _)| self.block.cut(piece));
        blocks.filter(|block| block.overlaps(&span)).collect()
    }

    pub(super) fn amounts(&self) -> Amounts {
        let mut amounts = Amounts::default();
        let bytes =
            |span: Span<Iova>| span.length_u64().map_or(u64::MAX, std::num::NonZeroU64::get);
        for (piece, known) in self.known.iter() {
            let Known::Shared(memory, _) = known else {
                amounts.elsewhere = amounts.elsewhere.saturating_add(bytes(piece));
                continue;
            };
            if !memory.is_sealed() {
                amounts.unsealed = amounts.unsealed.saturating_add(bytes(piece));
            }
            for block in self.block.cut(piece) {
                let of_kind = match self.reach.is_reached(block) {
                    true => &mut amounts.reached,
                    false => &mut amounts.withheld,
                };
                *of_kind = of_kind.saturating_add(bytes(block));
            }
        }
        amounts
    }
}

impl Known {
    fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(..))
    }
}

fn is_given_back(failure: &Failure) -> bool {
    matches!(failure, Failure::Refused(refusal) if refusal.code() == &RETIRED)
}
