//! Memory shared between processes, as a test sees it: a memory file and its mapping.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::MemfdFlags;
use vm_memory::{Bytes, FileOffset, MmapRegion, VolatileMemory};

/// A whole file, mapped.
#[derive(Clone)]
pub(crate) struct Memory {
    file: Arc<OwnedFd>,
    mapping: Arc<MmapRegion<()>>,
}

impl Memory {
    /// A new memory file of `bytes` zeroes.
    pub(crate) fn new(name: &str, bytes: usize) -> Self {
        let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).expect("a memory file");
        rustix::fs::ftruncate(&file, bytes as u64).expect("a size");
        Self::of(file)
    }

    /// Maps a file from its first byte to its last.
    pub(crate) fn of(file: OwnedFd) -> Self {
        let bytes = rustix::fs::fstat(&file).expect("a file").st_size;
        let bytes = usize::try_from(bytes).expect("a size");
        let mapped = file.try_clone().expect("a duplicate");
        let mapping = MmapRegion::from_file(FileOffset::new(mapped.into(), 0), bytes);
        Self { file: Arc::new(file), mapping: Arc::new(mapping.expect("a mapping")) }
    }

    /// The file, to hand to somebody.
    pub(crate) fn file(&self) -> OwnedFd {
        self.file.try_clone().expect("a duplicate")
    }

    pub(crate) fn length(&self) -> usize {
        self.mapping.size()
    }

    pub(crate) fn write(&self, at: usize, bytes: &[u8]) {
        self.mapping.get_slice(at, bytes.len()).expect("within").copy_from(bytes);
    }

    pub(crate) fn read(&self, at: usize, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.mapping.get_slice(at, length).expect("within").copy_to(&mut bytes);
        bytes
    }

    pub(crate) fn all(&self) -> Vec<u8> {
        self.read(0, self.length())
    }

    pub(crate) fn fill(&self, byte: u8) {
        self.write(0, &vec![byte; self.length()]);
    }

    pub(crate) fn load(&self, at: usize) -> u16 {
        let slice = self.mapping.get_slice(at, 2).expect("within");
        slice.load(0, Ordering::Acquire).expect("aligned")
    }

    pub(crate) fn store(&self, at: usize, value: u16) {
        let slice = self.mapping.get_slice(at, 2).expect("within");
        slice.store(value, 0, Ordering::Release).expect("aligned");
    }

    /// Stores an address in one access, as a racing processor would.
    pub(crate) fn store_address(&self, at: usize, value: u64) {
        let slice = self.mapping.get_slice(at, 8).expect("within");
        slice.store(value, 0, Ordering::Release).expect("aligned");
    }

    /// Whether the bytes occur anywhere.
    pub(crate) fn contains(&self, needle: &[u8]) -> bool {
        let all = self.all();
        all.windows(needle.len()).any(|window| window == needle)
    }
}
