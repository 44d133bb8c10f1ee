//! Clients over real sockets, honest and hostile.

mod devices;
mod hostile;
mod kit;
mod memory;
mod session;
