//! How a claim is locked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a claim is to be locked for as long as the host service runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// Its groups are kept open: the kernel turns down other drivers, and nobody else can open them,
    /// a VMM that wants to do so by itself included.
    #[default]
    Held,
    /// Overrides keep other drivers away, and what comes in all the same is reported.
    Watched,
}

impl fmt::Display for Strength {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Held => "held",
            Self::Watched => "watched",
        })
    }
}
