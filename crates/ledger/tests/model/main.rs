//! The ledger against a plain model of it and a plain IOMMU: after every step the books are what the
//! model says, and whatever a device can reach is counted.
//!
//! A history is made from a seed, which a failure prints: `RINGFENCE_SEED=N` plays it again.

mod exhaustive;
mod hardware;
mod plain;
mod steps;
mod world;

use std::fmt::Write as _;

use world::World;

/// How many steps the histories of one run have in all, and each.
const STEPS: u64 = 1_000_000;
const STEPS_EACH: u64 = 400;

#[test]
fn random_histories_keep_the_books() {
    if let Ok(seed) = std::env::var("RINGFENCE_SEED") {
        let seed = seed.parse().expect("a number");
        if let Err(problem) = history(seed) {
            panic!("seed {seed}: {problem}");
        }
        return;
    }
    let steps = std::env::var("RINGFENCE_STEPS").ok().and_then(|text| text.parse().ok());
    let first = std::env::var("RINGFENCE_FIRST_SEED").ok().and_then(|text| text.parse().ok());
    let (first, steps): (u64, u64) = (first.unwrap_or(0), steps.unwrap_or(STEPS));
    let mut faults = 0;
    for seed in first..first.saturating_add(steps / STEPS_EACH) {
        match history(seed) {
            Ok(injected) => faults += injected,
            Err(problem) => panic!("seed {seed}: {problem}"),
        }
    }
    assert!(steps < STEPS || faults > 5000, "only {faults} faults were injected");
}

/// Plays one; how many faults there were, or what went wrong after which steps.
fn history(seed: u64) -> Result<u64, String> {
    let mut world = World::new(seed, 0);
    let mut told = Vec::new();
    for _ in 0..STEPS_EACH {
        let outcome = world.step(&mut told).and_then(|()| world.check());
        if let Err(problem) = outcome {
            let mut text = format!("{problem}\n");
            for line in told.iter().rev().take(25).rev() {
                let _ = writeln!(text, "  {line}");
            }
            return Err(text);
        }
    }
    Ok(world.faults)
}
