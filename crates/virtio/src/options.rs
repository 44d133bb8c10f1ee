//! What can be chosen about a fence.

use std::time::Duration;

use crate::clock::Clock;
use crate::guards::Guards;
use crate::quota::Quota;
use crate::window::WINDOW_BYTES_DEFAULT;

/// Options of a fence; start from the default.
#[derive(Clone, Debug)]
pub struct FenceOptions {
    /// The device's name, for messages.
    pub name: String,
    /// Size of the window in bytes, rounded up to whole pages.
    pub window_bytes: u64,
    /// The longest the broker looks at idle rings before it sleeps. It does so only while that
    /// pays, and never when zero.
    pub spin: Duration,
    /// What each queue of the device may use.
    pub quota: Quota,
    /// Whether guest memory must be sealed against shrinking.
    pub sealed_memory: bool,
    /// The time that quotas go by.
    pub clock: Clock,
    /// How long a peer may take for one message.
    pub message_deadline: Duration,
    /// How long requests in flight may take when a queue is stopped.
    pub drain_deadline: Duration,
    /// How long to look for a backend that went away before its queues are stopped for good. Zero
    /// does not look.
    pub patience: Duration,
    /// Which guards stand: all, unless compiled for tests.
    pub guards: Guards,
}

impl Default for FenceOptions {
    fn default() -> Self {
        Self {
            name: "device".into(),
            window_bytes: WINDOW_BYTES_DEFAULT,
            spin: Duration::from_micros(50),
            quota: Quota::default(),
            sealed_memory: false,
            clock: Clock::default(),
            message_deadline: Duration::from_secs(5),
            drain_deadline: Duration::from_secs(5),
            patience: Duration::from_secs(30),
            guards: Guards::default(),
        }
    }
}
