//! How a served function is, for whoever asks from another thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringfence_addr::{Gpa, Span};
use ringfence_refusal::Failure;

use super::fence::Fence;
use super::memory::{Memory, Reach};
use super::port::Port;

/// A handle of a served function.
#[derive(Debug)]
pub struct Status<P, R> {
    pub(super) fence: Fence<P>,
    pub(super) memory: Arc<Mutex<Memory<R>>>,
    pub(super) refused: Arc<Mutex<Refused>>,
}

/// What there is to say of a served function; amounts are bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Memory that it reaches.
    pub reached: u64,
    /// Memory that the VMM gave, and that it does not reach: its owner took it back, or it is fenced.
    pub withheld: u64,
    /// Memory that the VMM gave and can make shorter, by which it would harm itself.
    pub unsealed: u64,
    /// Memory of the guest that came without a descriptor: the function does not reach it.
    pub elsewhere: u64,
    /// Whether it is kept from its bus.
    pub is_fenced: bool,
    /// How often something was refused, or failed.
    pub refused: u64,
    /// What it was last.
    pub refused_last: Option<String>,
}

/// What went wrong: a count, and the last of it, however much there is.
#[derive(Debug, Default)]
pub(super) struct Refused {
    count: u64,
    last: Option<String>,
}

impl Refused {
    pub(super) fn add(&mut self, failure: &Failure) {
        self.count = self.count.saturating_add(1);
        let cause = std::error::Error::source(failure).map(|cause| format!(": {cause}"));
        self.last = Some(format!("{failure}{}", cause.unwrap_or_default()));
    }
}

impl<P, R> Clone for Status<P, R> {
    fn clone(&self) -> Self {
        let (memory, refused) = (Arc::clone(&self.memory), Arc::clone(&self.refused));
        Self { fence: self.fence.clone(), memory, refused }
    }
}

impl<P: Port, R: Reach> Status<P, R> {
    /// How it is now.
    pub fn now(&self) -> Figures {
        let amounts = self.memory().amounts();
        let is_fenced = self.fence.is_fenced();
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        Figures {
            reached: amounts.reached,
            withheld: amounts.withheld,
            unsealed: amounts.unsealed,
            elsewhere: amounts.elsewhere,
            is_fenced,
            refused: refused.count,
            refused_last: refused.last.clone(),
        }
    }

    /// Lets the function reach again what its client has mapped of some memory of the guest's, and somebody
    /// took away: whole blocks, so all of these have to be the guest's again. How many were missing.
    ///
    /// # Errors
    ///
    /// What of it the function may not reach, or cannot, it does not.
    pub fn take_up(&self, memory: Span<Gpa>) -> Result<usize, Failure> {
        self.memory().take_up(memory)
    }

    fn memory(&self) -> MutexGuard<'_, Memory<R>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
