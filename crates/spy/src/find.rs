//! Looking through memory.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use memchr::memmem;
use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::pread;
use serde::Serialize;

use crate::device::Region;

/// Bytes looked at in one go, and how far goes overlap so that nothing hides between two.
const PIECE: usize = 1 << 20;
const OVERLAP: usize = 256;

/// The longest text that is taken down.
const TEXT_MAX: usize = 64;

/// The most different texts that are taken down.
const TEXTS_MAX: usize = 16;

/// What Linux begins its banner with.
const BANNER: &[u8] = b"Linux version ";

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    /// Memory regions it was handed.
    pub(crate) regions: usize,
    /// Bytes of their files, all of which it can read and write.
    pub(crate) bytes_visible: u64,
    /// Texts that follow the marker.
    pub(crate) texts: BTreeSet<String>,
    /// The kernel's banner.
    pub(crate) banner: Option<String>,
    /// Addresses of the VMM's own memory that it was told.
    pub(crate) vmm_addresses: Vec<String>,
}

/// Looks through every file it was handed, from its first byte to its last.
pub(crate) fn look(regions: &[Region], marker: &[u8]) -> Found {
    let mut found = Found { regions: regions.len(), ..Found::default() };
    for region in regions {
        found.vmm_addresses.push(format!("{:#x}", region.claim.user_address));
        let size = fstat(&region.file).map_or(0, |status| status.st_size);
        let size = u64::try_from(size).unwrap_or(0);
        found.bytes_visible += size;
        look_through(&region.file, size, marker, &mut found);
    }
    found
}

fn look_through(file: &OwnedFd, size: u64, marker: &[u8], found: &mut Found) {
    let mut piece = vec![0; PIECE + OVERLAP];
    let mut offset = 0;
    // Memory nobody has touched is a hole, and holds nothing.
    while let Some(data) = seek(file, SeekFrom::Data(offset)).ok().filter(|data| *data < size) {
        let Ok(length) = pread(file, piece.as_mut_slice(), data) else {
            return;
        };
        let bytes = &piece[..length];
        for position in memmem::find_iter(bytes, marker) {
            if found.texts.len() < TEXTS_MAX
                && let Some(text) = text(&bytes[position + marker.len()..])
            {
                found.texts.insert(text);
            }
        }
        if found.banner.is_none() {
            let banners = memmem::find_iter(bytes, BANNER).filter_map(|at| text(&bytes[at..]));
            // The kernel holds the format of its banner too.
            found.banner = banners.into_iter().find(|text| !text.contains('%'));
        }
        offset = data + PIECE as u64;
    }
}

/// The printable text at the beginning of some bytes.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| !(b' '..=b'~').contains(byte)).unwrap_or(bytes.len());
    let text = String::from_utf8_lossy(&bytes[..end.min(TEXT_MAX)]).trim().to_owned();
    (!text.is_empty()).then_some(text)
}
