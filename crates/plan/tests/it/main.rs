//! The planner, case by case.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cases;
mod emit;
mod graphics;
mod parts;
mod support;
mod tree;
mod viommu;
