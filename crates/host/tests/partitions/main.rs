//! Groups by every model: against real kernels, on hand-made hosts, and on random trees.

mod data;
mod oracle;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

fn main() -> ExitCode {
    let with_data: &[(&'static str, fn())] =
        &[("oracle::linux_as_captured", oracle::linux_as_captured)];
    let trials = with_data.iter().map(|&(name, run)| {
        Trial::ignorable_test(name, move || {
            if data::topologies().is_none() {
                return Ok(Completion::ignored_with("no ../shared/data/topology here"));
            }
            run();
            Ok(Completion::Completed)
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
