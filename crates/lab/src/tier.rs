//! How much the tests do: what there is time for on every change, or all of it.

use anyhow::{Context, Result};

/// Asks for the long tier when it is 1. `cargo xtask test --long` sets it.
pub const LONG: &str = "RINGFENCE_LONG";

/// The seed of whatever a test leaves to chance.
pub const SEED: &str = "RINGFENCE_SEED";

/// Whether the long tier is asked for.
pub fn is_long() -> bool {
    std::env::var(LONG).is_ok_and(|value| value == "1")
}

/// One number for the test run, another for the long tier.
pub fn choose(short: u32, long: u32) -> u32 {
    if is_long() { long } else { short }
}

/// The seed somebody gave, or a new one. Whoever uses it prints it.
pub fn seed() -> Result<u64> {
    match std::env::var(SEED) {
        Ok(text) => text.parse().with_context(|| format!("{SEED} must be a number, not `{text}`")),
        Err(_) => {
            let now = std::time::UNIX_EPOCH.elapsed().context("the clock is before 1970")?;
            // Short enough to be typed again.
            Ok(u64::from(now.subsec_nanos()))
        }
    }
}
