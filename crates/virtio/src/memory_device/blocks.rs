//! Which blocks of the region are plugged.

use std::num::NonZeroU64;

use ringfence_addr::Alignment;
use ringfence_refusal::Refusal;

use crate::refusals::NO_REGION;

/// The most blocks of a region: 512 GiB in blocks of 2 MiB.
const BLOCKS_MAX: u64 = 1 << 18;

/// One flag for each block.
#[derive(Debug)]
pub(super) struct Blocks {
    block: Alignment,
    plugged: Vec<bool>,
    count: u64,
}

/// How blocks are, `VIRTIO_MEM_STATE_*` of `linux/virtio_mem.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Plugged = 0,
    Unplugged = 1,
    Mixed = 2,
}

impl Blocks {
    /// None of so many bytes is plugged.
    pub(super) fn new(bytes: u64, block: Alignment) -> Result<Self, Refusal> {
        let count = bytes / block.bytes();
        let is_whole = bytes & block.mask() == 0 && (1..=BLOCKS_MAX).contains(&count);
        let Some(length) = usize::try_from(count).ok().filter(|_| is_whole) else {
            let detail = format!(
                "{bytes:#x} bytes are not 1 to {BLOCKS_MAX} blocks of {:#x}",
                block.bytes()
            );
            return Err(Refusal::new(&NO_REGION, detail));
        };
        // What a guest pages is in whole pages.
        if block.bytes() < Alignment::PAGE_4K.bytes() {
            return Err(Refusal::new(&NO_REGION, format!("blocks of {:#x} bytes", block.bytes())));
        }
        Ok(Self { block, plugged: vec![false; length], count: 0 })
    }

    pub(super) fn block(&self) -> Alignment {
        self.block
    }

    pub(super) fn bytes(&self) -> u64 {
        self.plugged.len() as u64 * self.block.bytes()
    }

    pub(super) fn plugged_bytes(&self) -> u64 {
        self.count * self.block.bytes()
    }

    /// The flags of so many bytes from an offset, if the region has them.
    fn range(&self, offset: u64, bytes: u64) -> Option<std::ops::Range<usize>> {
        let first = usize::try_from(offset / self.block.bytes()).ok()?;
        let count = usize::try_from(bytes / self.block.bytes()).ok()?;
        let end = first.checked_add(count)?;
        (end <= self.plugged.len()).then_some(first..end)
    }

    /// Whether the region has these bytes, and all of their blocks are plugged, or none is.
    pub(super) fn are_all(&self, offset: u64, bytes: u64, plugged: bool) -> bool {
        let range = self.range(offset, bytes);
        range.is_some_and(|range| self.plugged[range].iter().all(|it| *it == plugged))
    }

    pub(super) fn set(&mut self, offset: u64, bytes: u64, plugged: bool) {
        let Some(range) = self.range(offset, bytes) else { return };
        for flag in &mut self.plugged[range] {
            self.count += u64::from(plugged && !*flag);
            self.count -= u64::from(!plugged && *flag);
            *flag = plugged;
        }
    }

    pub(super) fn state(&self, offset: u64, bytes: u64) -> State {
        match (self.are_all(offset, bytes, true), self.are_all(offset, bytes, false)) {
            (true, _) => State::Plugged,
            (_, true) => State::Unplugged,
            _ => State::Mixed,
        }
    }

    /// Offsets and lengths of all runs of blocks that are plugged, or are not.
    pub(super) fn runs(&self, plugged: bool) -> Vec<(u64, NonZeroU64)> {
        let mut runs = Vec::new();
        let mut at = 0;
        for run in self.plugged.chunk_by(|one, next| one == next) {
            let bytes = run.len() as u64 * self.block.bytes();
            if let (true, Some(bytes)) = (run.first() == Some(&plugged), NonZeroU64::new(bytes)) {
                runs.push((at, bytes));
            }
            at += bytes;
        }
        runs
    }

    pub(super) fn clear(&mut self) {
        self.plugged.fill(false);
        self.count = 0;
    }
}
