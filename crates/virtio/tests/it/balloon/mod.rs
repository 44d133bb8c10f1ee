//! The balloon behind its registers, driven by a driver of the test's own: honest, random and hostile.

mod driver;
#[expect(dead_code, reason = "the suite with a real guest uses the rest of it")]
mod gate;
mod hostile;
mod model;
mod registers;
