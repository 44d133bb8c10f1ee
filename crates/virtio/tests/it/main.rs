//! The broker between two peers of a test's own, honest and hostile, over real sockets and shared
//! memory.

mod exposure;
mod honest;
mod hostile_backend;
mod hostile_frontend;
mod kit;
