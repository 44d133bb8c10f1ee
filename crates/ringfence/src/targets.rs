//! Target lists as they are asked for and told: which holder may map whose memory, how, and how much.

use ringfence_addr::{Gpa, Rights, Span};
use ringfence_iommu::service::{Allowed, Rule};
use serde::{Deserialize, Serialize};

/// What can be asked about target lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub(crate) enum Target {
    /// To tell of all of them.
    List,
    /// To add a line, or to change the one about the same memory.
    Add(Line),
    /// To take a holder off.
    Remove {
        /// Whose list.
        owner: String,
        /// Who.
        holder: String,
        /// With what it has mapped.
        revoke: bool,
    },
}

/// A line of a target list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// Whose memory.
    pub(crate) owner: String,
    /// Who may map it.
    pub(crate) holder: String,
    /// Which of it, as guest-physical addresses; all there is and will be, without.
    pub(crate) memory: Option<String>,
    /// `read`, `write` or `read-write`, as the device sees it.
    pub(crate) rights: String,
    /// How much at most; as much as there is, without.
    pub(crate) quota_bytes: Option<u64>,
}

/// A line, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TargetState {
    /// The line.
    #[serde(flatten)]
    pub(crate) line: Line,
    /// Whether the owner is connected.
    pub(crate) owner_is_there: bool,
    /// Whether the holder is.
    pub(crate) holder_is_there: bool,
    /// How much of the owner's memory the holder has mapped; what is mapped twice counts twice.
    pub(crate) mapped_bytes: u64,
}

/// Rights by name.
pub(crate) const RIGHTS: [(&str, Rights); 3] =
    [("read", Rights::READ), ("write", Rights::WRITE), ("read-write", Rights::READ_WRITE)];

impl Line {
    /// As the account takes it; what is wrong with it.
    pub(crate) fn into_rule(self) -> Result<Rule, String> {
        let rights = RIGHTS.iter().find(|(name, _)| *name == self.rights);
        let Some((_, rights)) = rights else {
            return Err(format!("`{}` is no right: read, write or read-write", self.rights));
        };
        let span =
            |text: String| text.parse::<Span<Gpa>>().map_err(|error| format!("`{text}`: {error}"));
        Ok(Rule {
            owner: self.owner,
            holder: self.holder,
            memory: self.memory.map(span).transpose()?,
            rights: *rights,
            quota_bytes: self.quota_bytes,
        })
    }
}

impl From<Allowed> for TargetState {
    fn from(allowed: Allowed) -> Self {
        let Allowed { rule, owner_is_there, holder_is_there, mapped_frames } = allowed;
        let rights = RIGHTS.iter().find(|(_, rights)| *rights == rule.rights);
        let line = Line {
            owner: rule.owner,
            holder: rule.holder,
            memory: rule.memory.map(|span| span.to_string()),
            rights: rights.map_or("none", |(name, _)| name).to_owned(),
            quota_bytes: rule.quota_bytes,
        };
        let mapped_bytes = mapped_frames.saturating_mul(ringfence_ledger::FRAME_BYTES);
        Self { line, owner_is_there, holder_is_there, mapped_bytes }
    }
}
