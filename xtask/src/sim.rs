//! `cargo xtask sim [--steps N] [--seed S]`: random histories of the ledger, with a plain model and a plain
//! IOMMU beside, for as long as one likes.

use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

/// How many steps when nothing is said.
const STEPS: u64 = 10_000_000;

/// How many a history has: `crates/ledger/tests/model/main.rs`.
const STEPS_EACH: u64 = 400;

/// Plays them on all processors; a failure prints its seed.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (steps, seed) = parse(arguments)?;
    let processors = u64::try_from(available_parallelism().map_or(1, usize::from)).unwrap_or(1);
    let test = ["test", "--quiet", "--package", "ringfence-ledger", "--test", "model"];
    let built = crate::cargo().args(test).arg("--no-run").status().context("cannot start cargo")?;
    ensure!(built.success(), "the model cannot be built");
    let each = steps.div_ceil(processors);
    let histories = each.div_ceil(STEPS_EACH);
    println!("{steps} steps in histories from seed {seed} on; one that fails prints its own");
    let begin = Instant::now();
    let mut running = Vec::new();
    for part in 0..processors {
        let first = seed.wrapping_add(part.wrapping_mul(histories));
        let mut command = crate::cargo();
        command.args(test).args(["--", "random_histories_keep_the_books"]);
        command.env("RINGFENCE_FIRST_SEED", first.to_string());
        command.env("RINGFENCE_STEPS", each.to_string());
        running.push(command.spawn().context("cannot start cargo")?);
    }
    let mut is_good = true;
    for mut child in running {
        is_good &= child.wait().context("cannot wait for cargo")?.success();
    }
    let each_second = u128::from(steps) * 1000 / begin.elapsed().as_millis().max(1);
    let kept = if is_good { "the books were kept" } else { "the books were not kept" };
    println!("{kept}: {each_second} steps a second");
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(arguments: &[String]) -> Result<(u64, u64)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (mut steps, mut seed) = (STEPS, now);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let value = rest.next().with_context(|| format!("{argument} wants a number"))?;
        let value = value.parse().with_context(|| format!("{argument} {value}: no number"))?;
        match argument.as_str() {
            "--steps" => steps = value,
            "--seed" => seed = value,
            _ => bail!("there is no option {argument}; there are --steps and --seed"),
        }
    }
    Ok((steps, seed))
}
