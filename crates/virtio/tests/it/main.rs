//! The broker between two peers of a test's own, honest and hostile, over real sockets and shared
//! memory.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of tests are small, and patterns are cut to bytes on purpose"
)]

mod devices;
mod exposure;
mod honest;
mod hostile_backend;
mod hostile_frontend;
mod invariants;
mod kit;
mod mark;
mod recovery;
