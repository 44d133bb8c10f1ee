//! One table: its header, what it says, and whatever came behind it.

use ringfence_refusal::Refusal;

use crate::finding::Finding;
use crate::header::{HEADER_BYTES, Header};
use crate::refusals::{NOT_A_TABLE, TOO_LARGE};
use crate::wire::{Wire, split};
use crate::{Dmar, Iort, Ivrs, Viot, common};

/// Bytes of a table, at most.
pub const TABLE_BYTES_MAX: usize = 1 << 20;

/// A table as it was read, or as it will be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// What it begins with.
    pub header: Header,
    /// What it says.
    pub content: Content,
    /// Bytes behind the end that the header states.
    pub behind: Vec<u8>,
}

/// What a table says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Intel's DMA remapping.
    Dmar(Dmar),
    /// AMD's I/O virtualization.
    Ivrs(Ivrs),
    /// Arm's I/O remapping.
    Iort(Iort),
    /// Virtual IOMMUs.
    Viot(Viot),
    /// A table of another kind, or one too short for its fixed part, byte for byte.
    Other(Vec<u8>),
}

impl Table {
    /// Reads a table, and says what is odd about it. Writing gives back the same bytes.
    ///
    /// # Errors
    ///
    /// The bytes are fewer than a header has, or more than [`TABLE_BYTES_MAX`].
    pub fn read(bytes: &[u8]) -> Result<(Self, Vec<Finding>), Refusal> {
        if bytes.len() > TABLE_BYTES_MAX {
            let detail = format!("more than {TABLE_BYTES_MAX} bytes");
            return Err(Refusal::new(&TOO_LARGE, detail));
        }
        let mut rest = bytes;
        let header = Header::take(&mut rest).ok_or_else(|| {
            let detail = format!("{} bytes, where a header has {HEADER_BYTES}", bytes.len());
            Refusal::new(&NOT_A_TABLE, detail)
        })?;
        let stated = usize::try_from(header.length).unwrap_or(usize::MAX);
        let inside = stated.saturating_sub(HEADER_BYTES).min(rest.len());
        let body = split(&mut rest, inside).unwrap_or_default();
        let content = Content::read(header.signature.0, body);
        let table = Self { header, content, behind: rest.to_vec() };
        let findings = table.findings();
        Ok((table, findings))
    }

    /// A new table with this content, length and checksum right.
    pub fn new(header: Header, content: Content) -> Self {
        let mut table = Self { header, content, behind: Vec::new() };
        table.seal();
        table
    }

    /// The bytes of the table, with the length and the checksum that stand in the header.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = self.stated();
        bytes.extend(&self.behind);
        bytes
    }

    /// Puts length and checksum right, and drops what came behind the table: for one that was
    /// changed, so that firmware and kernels take it.
    pub fn seal(&mut self) {
        self.behind.clear();
        self.header.checksum = 0;
        let length = self.stated().len();
        self.header.length = u32::try_from(length).expect("no table is as long as 4 GiB");
        self.header.checksum = sum(&self.stated()).wrapping_neg();
    }

    /// What is odd about the table, by offset.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = common::findings(self);
        match &self.content {
            Content::Dmar(dmar) => dmar.find(&mut findings),
            Content::Ivrs(ivrs) => ivrs.find(&mut findings),
            Content::Iort(iort) => iort.find(self.header.revision, &mut findings),
            Content::Viot(viot) => viot.find(&mut findings),
            Content::Other(_) => {}
        }
        findings.sort_by_key(|finding| (finding.offset, finding.code.name));
        findings
    }

    /// The table without what came behind it.
    pub(crate) fn stated(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.header.put(&mut bytes);
        match &self.content {
            Content::Dmar(dmar) => dmar.put(&mut bytes),
            Content::Ivrs(ivrs) => ivrs.put(&mut bytes),
            Content::Iort(iort) => iort.put(&mut bytes),
            Content::Viot(viot) => viot.put(&mut bytes),
            Content::Other(body) => body.put(&mut bytes),
        }
        bytes
    }
}

impl Content {
    fn read(signature: [u8; 4], body: &[u8]) -> Self {
        let known = match &signature {
            b"DMAR" => Dmar::take(&mut &*body).map(Self::Dmar),
            b"IVRS" => Ivrs::take(&mut &*body).map(Self::Ivrs),
            b"IORT" => Iort::take(&mut &*body).map(Self::Iort),
            b"VIOT" => Viot::take(&mut &*body).map(Self::Viot),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other(body.to_vec()))
    }
}

/// The sum of all bytes, which is zero for a table with the right checksum.
pub(crate) fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
