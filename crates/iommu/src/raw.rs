//! The kernel's calls for type 1 with none of our checks before or behind them: for tests that show what
//! the kernel lets pass.

use std::fs::File;

use ringfence_addr::{Iova, Rights, Span};
use rustix::io::Errno;

use crate::memory::Memory;
use crate::vfio_sys;

/// Maps memory from `offset` on, as many bytes as there are bus addresses.
///
/// # Errors
///
/// What the kernel says; `EINVAL` when there is less memory.
pub fn map(
    container: &File,
    iova: Span<Iova>,
    memory: &Memory,
    offset: u64,
    rights: Rights,
) -> Result<(), Errno> {
    let offset = usize::try_from(offset).map_err(|_| Errno::INVAL)?;
    vfio_sys::map(container, iova, memory.region(), offset, rights)
}

/// Unmaps bus addresses; how many bytes the kernel says that was.
///
/// # Errors
///
/// What the kernel says.
pub fn unmap(container: &File, iova: Span<Iova>) -> Result<u64, Errno> {
    vfio_sys::unmap(container, iova)
}

/// Unmaps all there is; how many bytes the kernel says that was.
///
/// # Errors
///
/// What the kernel says.
pub fn unmap_all(container: &File) -> Result<u64, Errno> {
    vfio_sys::unmap_all(container)
}
