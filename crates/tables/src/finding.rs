//! What is odd about a table, and what becomes of it where the table is used.
//!
//! A table is outside input: whatever its bytes are, it is read, and what is wrong with it is told.
//! What the consumers do is from their sources (Linux 6.12, Xen 4.20) and, for what Linux prints,
//! from booting it.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing; every consumer copes.
    Note,
    /// Consumers differ, or one of them reads something else than was meant.
    Warning,
    /// A consumer gives up on the table, leaves something out, or hangs.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct FindingCode {
    /// The stable name: `rmrr-unaligned`.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one sentence.
    pub sentence: &'static str,
    /// What Linux 6.12 does with it.
    pub linux: &'static str,
    /// What Xen 4.20 does with it.
    pub xen: &'static str,
}

/// Something odd in one place of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind it is.
    pub code: &'static FindingCode,
    /// Where: bytes from the beginning of the table.
    pub offset: usize,
    /// The thing and the numbers.
    pub detail: String,
}

impl Finding {
    pub(crate) fn new(
        code: &'static FindingCode,
        offset: usize,
        detail: impl Into<String>,
    ) -> Self {
        Self { code, offset, detail: detail.into() }
    }
}

/// `warning rmrr-unaligned at 0xd0: 0x2e000000-0x2e000ffe`.
impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, offset, detail } = self;
        write!(formatter, "{} {} at {offset:#x}: {detail}", code.severity, code.name)
    }
}
