//! Running cases that need the lab: at most two at a time (one in the long tier), and skipped *aloud* where it is missing.
//!
//! Tests with this harness say `harness = false` in their manifest and call [`main`].

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{root, tier, workspace};

/// What a case cannot do without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The filled lab.
    Lab,
    /// A program of the lab, by name.
    Program(&'static str),
    /// A kernel that only somebody who asks for it gets, by its series ([`crate::own_kernel`]).
    Kernel(&'static str),
    /// A folder of real machines' data, which is not part of the project ([`data`]).
    Data(&'static str),
}

/// One test case.
#[derive(Debug)]
pub struct Case {
    name: &'static str,
    needs: &'static [Need],
    run: fn() -> Result<()>,
}

impl Case {
    /// A case that fails when `run` returns an error or panics.
    pub fn new(name: &'static str, needs: &'static [Need], run: fn() -> Result<()>) -> Self {
        Self { name, needs, run }
    }
}

/// How many machines the smallest of our machines bears.
const AT_A_TIME: usize = 2;

/// In the long tier figures are printed that another machine would spoil.
const AT_A_TIME_LONG: usize = 1;

/// Runs the cases the command line asks for. Call it first in `main`: children of the lab's start
/// by becoming this same program for a moment.
pub fn main(cases: Vec<Case>) -> ExitCode {
    ringfence_vmm::become_child_if_asked();
    let mut arguments = Arguments::from_args();
    let most = if tier::is_long() { AT_A_TIME_LONG } else { AT_A_TIME };
    arguments.test_threads = Some(arguments.test_threads.unwrap_or(most).min(most));
    let trials = cases
        .into_iter()
        .map(|case| {
            Trial::ignorable_test(case.name, move || match missing(case.needs) {
                None => (case.run)().map(|()| Completion::Completed).map_err(failed),
                Some((Need::Data(_) | Need::Kernel(_), reason)) => {
                    Ok(Completion::ignored_with(reason))
                }
                Some((_, reason)) if is_required() => Err(Failed::from(reason)),
                Some((_, reason)) => Ok(Completion::ignored_with(reason)),
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn failed(error: anyhow::Error) -> Failed {
    Failed::from(format!("{error:#}"))
}

/// A folder of real machines' data, beside the folder of the repository.
pub fn data(name: &str) -> Result<PathBuf> {
    let folder = workspace().join("../shared/data").join(name);
    ensure!(folder.is_dir(), "no data at {}", folder.display());
    Ok(folder)
}

fn missing(needs: &[Need]) -> Option<(Need, String)> {
    needs.iter().find_map(|need| {
        let found = match need {
            Need::Lab => root().map(drop),
            Need::Program(name) => root().and_then(|lab| lab.program(name)).map(drop),
            Need::Kernel(series) => root().and_then(|lab| lab.kernel(series)).map(drop),
            Need::Data(name) => data(name).map(drop),
        };
        found.err().map(|error| (*need, format!("{error:#}")))
    })
}

/// Whether a missing lab is a failure: on CI, and where somebody says so.
fn is_required() -> bool {
    ["CI", "RINGFENCE_REQUIRE_LAB"]
        .into_iter()
        .any(|name| std::env::var(name).is_ok_and(|value| matches!(value.as_str(), "1" | "true")))
}
