//! A guest's memory for the targets, with secrets around it, and how to tell that one got out.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use ringfence_addr::Hva;
use rustix::fs::{MemfdFlags, SeekFrom};
use vm_memory::{FileOffset, MmapRegion};

use crate::guards::Guards;
use crate::guest_memory::GuestMemory;
use crate::shared::Area;
use crate::wire::MemoryRegion;

/// What everything secret is filled with. Nothing a peer of a target writes contains it, so a run
/// of it where it does not belong was copied there.
pub(super) const SECRET: u8 = 0xc5;

/// How long a run of [`SECRET`] tells: indices and lengths of the broker's own may have two.
const RUN: usize = 3;

/// Where the guest's memory is for it, and for its VMM.
pub(super) const GPA: u64 = 0x0005_afe0_0000;
pub(super) const UVA: u64 = 0x7ea1_5ec2_e000;

/// The guest's memory is two regions of one file, next to each other for the guest, each with
/// secrets after it. The first ends in the middle of a page.
pub(super) const FIRST_BYTES: usize = 0x3800;
pub(super) const SECOND_BYTES: usize = 0x2000;
const SECOND_AT: usize = 0x5000;
const FILE_BYTES: usize = 0x8000;

/// Bytes of the guest's memory.
pub(super) const GUEST_BYTES: usize = FIRST_BYTES + SECOND_BYTES;

/// The file, mapped as the guest and its VMM have it.
#[derive(Clone)]
pub(super) struct Ram {
    file: Arc<OwnedFd>,
    all: Area,
}

impl Ram {
    /// Zeroes, and secrets around them.
    pub(super) fn new() -> Self {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("fuzz-guest", flags).expect("a memory file");
        rustix::fs::ftruncate(&file, FILE_BYTES as u64).expect("a size");
        let mapped = FileOffset::new(file.try_clone().expect("a duplicate").into(), 0);
        let all = MmapRegion::from_file(mapped, FILE_BYTES).expect("a mapping");
        let ram = Self { file: Arc::new(file), all: Area::whole(Arc::new(all)) };
        for (first, last) in ram.secrets() {
            ram.all.write(first, &vec![SECRET; last - first]);
        }
        ram
    }

    fn secrets(&self) -> [(usize, usize); 2] {
        [(FIRST_BYTES, SECOND_AT), (SECOND_AT + SECOND_BYTES, FILE_BYTES)]
    }

    /// The file, to hand to somebody.
    pub(super) fn file(&self) -> OwnedFd {
        self.file.try_clone().expect("a duplicate")
    }

    /// The regions as a VMM names them.
    pub(super) fn regions(&self) -> [MemoryRegion; 2] {
        let region = |at: usize, size: usize, offset: usize| MemoryRegion {
            guest_address: GPA + at as u64,
            size: size as u64,
            user_address: UVA + at as u64,
            mmap_offset: offset as u64,
        };
        [region(0, FIRST_BYTES, 0), region(FIRST_BYTES, SECOND_BYTES, SECOND_AT)]
    }

    /// The broker's view of it.
    pub(super) fn named(&self, window: (u64, u64), guards: Guards) -> GuestMemory {
        let mut memory = GuestMemory::new("fuzzed", window, guards);
        for region in self.regions() {
            memory.add(&region, self.file()).expect("it is as it says");
        }
        memory
    }

    /// The guest writes; nothing it writes looks like a secret, nor past its memory.
    pub(super) fn write(&self, at: usize, bytes: &[u8]) {
        let bytes: Vec<u8> = bytes.iter().copied().map(without_secret).collect();
        self.write_as_it_is(at, &bytes);
    }

    /// The guest fills its own memory with what looks like a secret: nothing it publishes.
    pub(super) fn hide(&self, at: usize, length: usize) {
        self.write_as_it_is(at, &vec![SECRET; length]);
    }

    fn write_as_it_is(&self, at: usize, bytes: &[u8]) {
        let end = (at + bytes.len()).min(GUEST_BYTES);
        for (first, last, place) in [(0, FIRST_BYTES, 0), (FIRST_BYTES, GUEST_BYTES, SECOND_AT)] {
            let (from, to) = (at.max(first), end.min(last));
            if from < to {
                self.all.write(from - first + place, &bytes[from - at..to - at]);
            }
        }
    }

    /// All of the guest's memory.
    pub(super) fn read(&self) -> Vec<u8> {
        let mut bytes = vec![0; GUEST_BYTES];
        self.all.read(0, &mut bytes[..FIRST_BYTES]);
        self.all.read(SECOND_AT, &mut bytes[FIRST_BYTES..]);
        bytes
    }

    /// Panics when what lies around the guest's memory was written to.
    pub(super) fn assert_secrets_stand(&self) {
        for (first, last) in self.secrets() {
            let mut bytes = vec![0; last - first];
            self.all.read(first, &mut bytes);
            let changed = bytes.iter().position(|byte| *byte != SECRET);
            assert_eq!(changed, None, "written outside of guest memory, after {first:#x}");
        }
    }
}

/// What a peer writes instead of `byte`, so that it has no secrets to tell.
pub(super) fn without_secret(byte: u8) -> u8 {
    if byte == SECRET { !SECRET } else { byte }
}

/// The VMM's address of the guest's byte `at`.
pub(super) fn user(at: usize) -> Hva {
    Hva::new(UVA + at as u64)
}

/// Panics when a backend finds a secret in the file of its window. Only what was ever written is
/// looked at: the rest reads as zeroes.
pub(super) fn assert_no_secret_in(window: &OwnedFd) {
    let end = rustix::fs::fstat(window).map_or(0, |status| status.st_size.unsigned_abs());
    let mut at = 0;
    while let Ok(first) = rustix::fs::seek(window, SeekFrom::Data(at)) {
        let after = rustix::fs::seek(window, SeekFrom::Hole(first)).unwrap_or(end);
        let mut bytes = vec![0; usize::try_from(after - first).expect("a window's size")];
        let read = rustix::io::pread(window, bytes.as_mut_slice(), first).expect("it is read");
        let mut run = 0;
        let found = bytes[..read].iter().position(|byte| {
            run = if *byte == SECRET { run + 1 } else { 0 };
            run == RUN
        });
        assert_eq!(found, None, "a secret in the window, after {first:#x}");
        at = after;
    }
}
