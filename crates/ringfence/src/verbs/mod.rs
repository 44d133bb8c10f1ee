//! The verbs that are small enough for a file each.

pub(crate) mod check;
pub(crate) mod claim;
pub(crate) mod doctor;
pub(crate) mod explain;
mod explain_errno;
pub(crate) mod fence;
pub(crate) mod generate;
pub(crate) mod groups;
mod groups_diff;
mod persisted;
pub(crate) mod plan;
pub(crate) mod scrub;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod tables;
pub(crate) mod target;
pub(crate) mod why;
