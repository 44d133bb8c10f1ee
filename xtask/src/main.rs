//! Ringfence's automation: `cargo xtask VERB`.

mod bench;
mod demo;
mod fuzz;
mod lab;
mod replay;
mod sim;
mod suites;
mod test;
mod tidy;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

const USAGE: &str = "\
usage: cargo xtask VERB

  lab            fetch QEMU, kernels and what tests need into target/lab (no root, nothing installed)
  lab --iommufd  build Linux with iommufd from Debian's source, for the tests that need it (10 minutes)
  test           everything CI runs: format, tidy, lints, documentation, unit tests, lab tests
  test SUITE...  some of it, by the names in the table it ends with
  test --long [SUITE...]  the same with what takes longer: 1,000 kills, 500 kill points
  demo           run the quickstart: a real Linux whose disk is fenced
  bench [...]    ours and the peer's in turn, and the ratio; arguments go to the benchmark
  fuzz [TARGET...] [--seconds N]
                 every fuzz target, or those named, for N seconds each (60); needs a nightly compiler
  replay --all | TABLE...
                 give real machines' tables to a real Linux and compare what it lists with predictions
  sim [--steps N] [--seed S]
                 random histories of the ledger beside a plain model, 10,000,000 steps of them
  tidy           the rules of the house that a compiler does not check
";

fn main() -> ExitCode {
    ringfence_vmm::become_child_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (verb, rest) = match arguments.split_first() {
        Some((verb, rest)) => (verb.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    let outcome = match verb {
        "lab" if rest.is_empty() => lab::run(),
        "lab" if rest == ["--iommufd"] => lab::iommufd(),
        "test" => test::run(rest),
        "demo" if rest.is_empty() => demo::run(),
        "bench" => bench::run(rest),
        "fuzz" => fuzz::run(rest),
        "replay" => replay::run(rest),
        "sim" => sim::run(rest),
        "tidy" if rest.is_empty() => tidy::run().map(|()| ExitCode::SUCCESS),
        "help" | "-h" | "--help" => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("error: no such verb or option: {}\n\n{USAGE}", arguments.join(" "));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A command of cargo's, in the workspace.
fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(ringfence_lab::workspace());
    command
}

/// Runs a command to its end with our own input and output; its exit code becomes ours.
fn hand_over(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
