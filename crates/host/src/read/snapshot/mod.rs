//! A snapshot: everything a reading of a host asked for and was given, in one text file.
//!
//! ```text
//! ringfence snapshot 1
//! in sys/bus/pci/devices
//! names 0000:00:00.0 0000:00:01.0
//! in sys/bus/pci/devices/0000:00:01.0
//! to . pci0000:00/0000:00:01.0
//! config 4096 0:8680011907040000… 40:0d000000 100:0d000100
//! to driver pcieport
//! denied reset_method
//! in proc/sys/kernel
//! text osrelease 6.12.107
//! end
//! ```
//!
//! It is made by recording the reader, so reading it back asks for the same and gets the same.
//! What the reader has no use for is not in it: of config space only the header, the chains of
//! capabilities and the registers of some, and thereby no serial number, neither the extended
//! capability of that name nor vital product data; of the command line only what is about memory
//! and devices.

mod recorder;
mod text;

use std::path::Path;

use ringfence_refusal::{Fault, Refusal};

use crate::host::Host;
use crate::refusals::NOTHING_OF_A_HOST;

use super::Options;
use super::tree::{self, Directories};
use recorder::Recorder;
use text::Recorded;

/// What the first line of a snapshot begins with.
pub(super) const TITLE: &str = "ringfence snapshot ";
/// The only version there is.
const VERSION: &str = "1";

/// A host as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    text: String,
}

impl Snapshot {
    /// Records the host whose `/` is `root`.
    ///
    /// # Errors
    ///
    /// It has no list of PCI functions, nor tables instead where those suffice, or the list cannot be
    /// read.
    pub fn take(root: &Path, options: Options) -> Result<(Self, Host), Fault> {
        let recorder = Recorder::new(Directories::new(root));
        let host = tree::read(&recorder, options).map_err(|miss| super::no_list(root, miss))?;
        Ok((Self { text: recorder.into_text() }, host))
    }

    /// The file.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// Takes `text` for a snapshot, unchecked until it is read.
    pub fn from_text(text: String) -> Self {
        Self { text }
    }

    /// The host.
    ///
    /// # Errors
    ///
    /// The file is not a snapshot of a version known here, it is cut short, or a line of it is
    /// garbled.
    pub fn read(&self) -> Result<Host, Refusal> {
        self.read_with(Options::default())
    }

    /// The host; firmware tables may suffice.
    ///
    /// # Errors
    ///
    /// As of [`Snapshot::read`].
    pub fn read_with(&self, options: Options) -> Result<Host, Refusal> {
        let recorded = Recorded::parse(&self.text)?;
        // What was not read when it was taken is not in it, whatever may be woken now.
        tree::read(&recorded, Options { wake: false, ..options }).map_err(|_| {
            Refusal::new(&NOTHING_OF_A_HOST, "a snapshot without the list of PCI functions")
        })
    }
}

#[cfg(test)]
mod tests;
