//! The atomics that readers and the writer share; a test that tries every interleaving has its own.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
pub(crate) use std::sync::{Arc, Mutex, PoisonError};
