//! Finding out what a source is, and reading it.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ringfence_refusal::{Failure, Fault, Refusal};

use crate::host::Host;
use crate::refusals::SOURCE_TOO_LARGE;

use super::snapshot::TITLE;
use super::tree::{self, Directories, Miss};
use super::{Snapshot, capture, lspci};

/// The largest file taken: `lspci -vvvxxxx` of 20,000 functions.
const LARGEST: u64 = 512 << 20;

/// How to read a live host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Read the registers of functions that sleep, which wakes them.
    pub wake: bool,
    /// A source without functions is read for what firmware tables say, if it has any of those that
    /// this crate looks into. Without functions there are no groups, but there is reserved memory.
    pub tables_suffice: bool,
}

/// Reads the host this runs on.
///
/// # Errors
///
/// `/sys` has no list of PCI functions, or it cannot be read.
pub fn live(options: Options) -> Result<Host, Fault> {
    directory(Path::new("/"), options)
}

/// Reads the host whose `/` is `root`: the live one's, or a directory shaped like it.
///
/// # Errors
///
/// There is no list of PCI functions in it, nor tables instead where those suffice, or it cannot be
/// read.
pub fn directory(root: &Path, options: Options) -> Result<Host, Fault> {
    tree::read(&Directories::new(root), options).map_err(|miss| no_list(root, miss))
}

/// The list of functions is not to be had.
pub(super) fn no_list(root: &Path, miss: Miss) -> Fault {
    let kind = match miss {
        Miss::Absent => std::io::ErrorKind::NotFound,
        Miss::Denied => std::io::ErrorKind::PermissionDenied,
        Miss::Failed => std::io::ErrorKind::Other,
    };
    let list = root.join("sys/bus/pci/devices");
    Fault::new("list the PCI functions in", list.display().to_string(), kind)
}

/// Reads whatever is at `path`: a snapshot, a directory shaped like `/`, or what `lspci` printed.
///
/// # Errors
///
/// It cannot be read, or it is none of these.
pub fn from_path(path: &Path) -> Result<Host, Failure> {
    from_path_with(path, Options::default())
}

/// Reads whatever is at `path`, as [`from_path`] does. Nothing there can be woken.
///
/// # Errors
///
/// It cannot be read, or it is none of these.
pub fn from_path_with(path: &Path, options: Options) -> Result<Host, Failure> {
    let fault = |operation| {
        move |error: std::io::Error| Fault::new(operation, path.display().to_string(), error)
    };
    if std::fs::metadata(path).map_err(fault("read"))?.is_dir() {
        return Ok(directory(path, Options { wake: false, ..options })?);
    }
    let file = File::open(path).map_err(fault("open"))?;
    let read = bounded(file, LARGEST).map_err(fault("read"))?;
    let read = read.and_then(|bytes| from_bytes_with(bytes, options));
    Ok(read.map_err(|refusal| refusal.within(path.display()))?)
}

/// All bytes of a file (or of a pipe, which says nothing of its length), unless they are too many.
fn bounded(file: impl Read, largest: u64) -> std::io::Result<Result<Vec<u8>, Refusal>> {
    let mut bytes = Vec::new();
    file.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        let detail = format!("more than {largest} bytes");
        return Ok(Err(Refusal::new(&SOURCE_TOO_LARGE, detail)));
    }
    Ok(Ok(bytes))
}

/// Reads the bytes of a file, whichever kind it is.
///
/// # Errors
///
/// They are of no kind that is known, or garbled.
pub fn from_bytes(bytes: Vec<u8>) -> Result<Host, Refusal> {
    from_bytes_with(bytes, Options::default())
}

fn from_bytes_with(bytes: Vec<u8>, options: Options) -> Result<Host, Refusal> {
    if bytes.starts_with(TITLE.as_bytes()) {
        let text = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        return Snapshot::from_text(text).read_with(options);
    }
    // A console begins with what firmware and the kernel print, which is shorter than this.
    let beginning = bytes.get(..1 << 20).unwrap_or(&bytes);
    if beginning.windows(6).any(|window| window == b"@@dev ") {
        return capture(&bytes);
    }
    lspci(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_read_no_further_than_hosts_are_large() {
        let refusal =
            bounded(std::io::repeat(0), 1000).expect("it is read").expect_err("too large");
        assert_eq!(refusal.code(), &SOURCE_TOO_LARGE);
        let bytes = bounded(std::io::repeat(0).take(1000), 1000).expect("it is read");
        assert_eq!(bytes.expect("not too large").len(), 1000);
    }
}
