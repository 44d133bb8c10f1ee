//! What is said between the host service and the verbs that ask it: one request and one answer a
//! connection, each a JSON value, each bounded.

use std::time::Duration;

use ringfence_device::Strength;
use ringfence_refusal::Failure;
use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::claims::ClaimState;
use crate::scrubbing::{Extent, Told};
use crate::targets::{Target, TargetState};

/// The one version there is.
pub(crate) const SCHEMA: &str = "ringfence.request/1";

/// A request for every function there can be is not longer.
pub(crate) const REQUEST_BYTES_MAX: u64 = 4 << 20;

/// Nor is an answer about all of them.
pub(crate) const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// How long a request may take to arrive.
pub(crate) const REQUEST_PATIENCE: Duration = Duration::from_secs(2);

/// A request with the name of its shape.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) schema: String,
    #[serde(flatten)]
    pub(crate) request: Request,
}

/// What the host service can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub(crate) enum Request {
    /// To tell of all claims.
    Status,
    /// To take these functions, which are whole groups.
    Claim {
        /// Their addresses.
        functions: Vec<String>,
        /// How they are to be locked.
        strength: Strength,
    },
    /// To give back the claim that this function is in.
    Release {
        /// Its address.
        function: String,
    },
    /// To clear the memory that firmware took for this function.
    Scrub {
        /// Its address.
        function: String,
        /// How far to go.
        extent: Extent,
    },
    /// To read or change target lists.
    Target(Target),
    /// To lock the claim that this function is in another way.
    Lock {
        /// Its address.
        function: String,
        /// Which way.
        strength: Strength,
    },
}

/// What the host service answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub(crate) enum Reply {
    /// It is done; these are the claims it is about.
    Done {
        /// The claims.
        claims: Vec<ClaimState>,
    },
    /// This is what came of scrubbing.
    Scrubbed(Box<Told>),
    /// These are the target lists.
    Targets {
        /// Their lines.
        targets: Vec<TargetState>,
    },
    /// It was refused.
    Refused {
        /// The number of the code.
        code: u16,
        /// What was refused.
        detail: String,
    },
    /// The environment failed.
    Failed {
        /// What failed, whole.
        what: String,
    },
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refusal) => {
                let detail = refusal.detail().to_owned();
                Self::Refused { code: refusal.code().number, detail }
            }
            Failure::Faulted(fault) => {
                Self::Failed { what: format!("{fault}: {}", fault.io_error()) }
            }
        }
    }
}

/// The code of this number, if this version knows it.
pub(crate) fn code(number: u16) -> Option<&'static ringfence_refusal::Code> {
    catalogue::all().into_iter().find(|code| code.number == number)
}
