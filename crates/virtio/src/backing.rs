//! The files that guest memory is in, and making holes in them.

use std::os::fd::{BorrowedFd, OwnedFd};

use ringfence_addr::{Alignment, Gpa, Span, SpanMap, SpanSet};
use rustix::fs::FallocateFlags;

/// `HUGETLBFS_MAGIC` of `linux/magic.h`.
const HUGE_PAGES: i64 = 0x9584_58f6;

/// What is where.
#[derive(Debug, Default)]
pub(crate) struct Backing {
    files: SpanMap<Gpa, File>,
    pub(crate) discarded_bytes: u64,
    pub(crate) failures: u64,
}

#[derive(Debug)]
struct File {
    descriptor: OwnedFd,
    offset: u64,
    /// What of it goes back at once.
    block: Alignment,
}

impl Backing {
    /// Memory begins `offset` bytes into a file. Without a descriptor to spare nothing of it is discarded.
    pub(crate) fn add(&mut self, memory: Span<Gpa>, file: BorrowedFd<'_>, offset: u64) {
        let Ok(descriptor) = file.try_clone_to_owned() else { return };
        let block = rustix::fs::fstatfs(&descriptor)
            .ok()
            .filter(|system| system.f_type == HUGE_PAGES)
            .and_then(|system| Alignment::new(u64::try_from(system.f_bsize).ok()?))
            .unwrap_or(Alignment::PAGE_4K);
        // The VMM's mappings do not overlap; one that did would be left out.
        let _in = self.files.try_insert(memory, File { descriptor, offset, block });
    }

    pub(crate) fn remove(&mut self, memory: Span<Gpa>) {
        self.files.remove_exact(memory);
    }

    /// Gives back to the host what of `memory` its files can give up: of a file of huge pages, those that
    /// are all within `free`.
    pub(crate) fn discard(&mut self, memory: Span<Gpa>, free: &SpanSet<Gpa>) {
        let Self { files, discarded_bytes, failures } = self;
        for (span, file) in files.overlapping(memory) {
            let Some(piece) = span.intersection(&memory) else { continue };
            for whole in file.whole_blocks(span, piece, free) {
                let place =
                    span.offset_of(whole.first()).and_then(|it| it.checked_add(file.offset));
                let (Some(place), Some(length)) = (place, whole.length_u64()) else { continue };
                let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                match rustix::fs::fallocate(&file.descriptor, how, place, length.get()) {
                    Ok(()) => *discarded_bytes = discarded_bytes.saturating_add(length.get()),
                    Err(_) => *failures += 1,
                }
            }
        }
    }

    /// What the files take of the host's memory. A file that holds several spans counts once.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let mut seen = std::collections::BTreeSet::new();
        let stats =
            self.files.iter().filter_map(|(_, file)| rustix::fs::fstat(&file.descriptor).ok());
        stats
            .filter(|stat| seen.insert((stat.st_dev, stat.st_ino)))
            .map(|stat| u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512))
            .sum()
    }
}

impl File {
    /// The runs of whole blocks of this file that have a page of `piece` and are all free.
    fn whole_blocks(
        &self,
        span: Span<Gpa>,
        piece: Span<Gpa>,
        free: &SpanSet<Gpa>,
    ) -> Vec<Span<Gpa>> {
        if self.block == Alignment::PAGE_4K {
            return vec![piece];
        }
        // Blocks are the file's; those of the span begin where the file's do if both are aligned alike.
        let is_alike = (span.first().get() ^ self.offset) & self.block.mask() == 0;
        let around = piece.aligned_out(self.block);
        let found = free.get(piece.first()).and_then(|run| run.intersection(&span));
        let whole = found.and_then(|run| run.intersection(&around)?.aligned_in(self.block));
        whole.filter(|_| is_alike).into_iter().collect()
    }
}
