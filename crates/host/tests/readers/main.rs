//! Readers over hosts that nobody here made.

mod captures;
mod data;
mod listings;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Completion, Trial};

fn main() -> ExitCode {
    let cases: &[(&'static str, fn())] = &[
        ("captures::every_capture_with_functions_parses", captures::every_capture_parses),
        ("captures::virtual_functions_know_theirs", captures::virtual_functions_know_theirs),
        ("listings::every_listing_parses", listings::every_listing_parses),
        ("listings::words_and_registers_agree", listings::words_and_registers_agree),
    ];
    let trials = cases
        .iter()
        .map(|&(name, run)| {
            Trial::ignorable_test(name, move || {
                if !data::root().is_dir() {
                    return Ok(data::skipped());
                }
                run();
                Ok(Completion::Completed)
            })
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
