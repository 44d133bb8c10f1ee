//! A claim: a group that was taken, with what was done for it.

use serde::{Deserialize, Serialize};

use crate::plan::ClaimPlan;
use crate::strength::Strength;

/// A group that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What names it, in the folder of claims too.
    pub name: String,
    /// The functions as they were before, and what was done.
    pub plan: ClaimPlan,
    /// How it is to be locked.
    pub strength: Strength,
}
