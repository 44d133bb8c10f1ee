//! What is known of a device while it runs, and what its backend is up to.

use std::time::Instant;

use ringfence_jail::Report;

use super::restarts::Restarts;
use crate::config::{Backend, VhostUser};
use crate::status::FenceStatus;

/// A device of the run.
pub(super) struct Life {
    /// The last its fence said of itself; none if it never did.
    pub(super) status: Option<FenceStatus>,
    /// What holds its backend; none if it is not jailed, or was not started by us.
    pub(super) jail: Option<Report>,
    /// How often its backend was started again.
    pub(super) started_again: u64,
    pub(super) restarts: Restarts,
    pub(super) backend: Standing,
    /// When it was last said that the backend died.
    pub(super) said: Option<Instant>,
}

/// What a backend is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Somebody else started it.
    NotOurs,
    /// It serves, as far as we know.
    Up,
    /// It was started again then, and does not listen yet.
    Rising(Instant),
    /// It is to be started again then.
    Due(Instant),
    /// It ended and is not started again: its device stays failed.
    Over,
}

impl Life {
    pub(super) fn new(device: &VhostUser) -> Self {
        let backend = match device.backend {
            Backend::Command { .. } => Standing::Up,
            Backend::Socket(_) => Standing::NotOurs,
        };
        Self {
            status: None,
            jail: None,
            started_again: 0,
            restarts: Restarts::new(device.restarts_max, Instant::now()),
            backend,
            said: None,
        }
    }

    /// Requests its device has completed.
    pub(super) fn completed(&self) -> u64 {
        self.status.as_ref().map_or(0, |status| status.requests)
    }
}
