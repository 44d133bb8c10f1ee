//! Target lists by name: which holder may map whose memory, set before either of them is there.

use ringfence_addr::{Gpa, Rights, Span, SpanSet};
use ringfence_ledger::FRAME_BYTES;

/// One line of a target list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whose memory.
    pub owner: String,
    /// Who may map it.
    pub holder: String,
    /// Which of it; all there is and will be, with `None`.
    pub memory: Option<Span<Gpa>>,
    /// With what rights.
    pub rights: Rights,
    /// How many bytes of it at most, whole frames.
    pub quota_bytes: Option<u64>,
}

/// A line of a target list, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The line.
    pub rule: Rule,
    /// Whether the owner is there.
    pub owner_is_there: bool,
    /// Whether the holder is.
    pub holder_is_there: bool,
    /// How many frames of the owner's memory it has mapped; one mapped twice counts twice.
    pub mapped_frames: u64,
}

impl Rule {
    /// What of an owner's memory it is about.
    pub(super) fn spans(&self, memory: &SpanSet<Gpa>) -> Vec<Span<Gpa>> {
        let about = self.memory.unwrap_or_else(Span::whole);
        memory.overlapping(about).filter_map(|span| span.intersection(&about)).collect()
    }

    /// The quota in frames.
    pub(super) fn quota_frames(&self) -> Option<u64> {
        self.quota_bytes.map(|bytes| bytes / FRAME_BYTES)
    }
}
