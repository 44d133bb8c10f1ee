//! `cargo xtask bench`: build the benchmarks as they would be released, and run them.

use std::process::ExitCode;

use anyhow::Result;
use ringfence_lab::fetch;

/// Runs the benchmarks with these arguments. The lab holds the peers.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    fetch::fill()?;
    let mut command = crate::cargo();
    command.args(["run", "--quiet", "--release", "--package", "ringfence-bench", "--"]);
    crate::hand_over(command.args(arguments))
}
