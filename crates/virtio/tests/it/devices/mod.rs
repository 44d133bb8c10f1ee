//! Devices of ours behind their registers, driven by a driver of the test's own: honest, random and hostile.

mod account;
mod balloon_hostile;
mod balloon_model;
mod driver;
#[expect(dead_code, reason = "the suite with real guests uses the rest of it")]
mod gate;
mod memory;
mod registers;
