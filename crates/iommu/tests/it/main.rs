//! Page tables against plain models, at their edges, and under readers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod edges;
mod histories;
mod model;
mod random;
mod readers;
mod refused;
mod tables;
