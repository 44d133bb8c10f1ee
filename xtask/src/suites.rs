//! What a suite of tests came to, and the table of all of them beside their budgets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Deserialize;

/// What became of the tests of one suite. A check that is not made of tests counts as one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tests that passed.
    pub(crate) passed: u64,
    /// Tests that failed.
    pub(crate) failed: u64,
    /// Tests that were skipped, each with its reason in the output.
    pub(crate) skipped: u64,
}

impl Counts {
    /// One check.
    pub(crate) fn one(has_passed: bool) -> Self {
        Self { passed: has_passed.into(), failed: (!has_passed).into(), skipped: 0 }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// One suite, run.
#[derive(Debug)]
pub(crate) struct Suite {
    name: String,
    counts: Counts,
    took: Duration,
}

/// All suites run so far.
#[derive(Debug, Default)]
pub(crate) struct Suites {
    done: Vec<Suite>,
    skips: Vec<String>,
}

/// `budget.toml`: what each suite may take.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Budget {
    seconds: BTreeMap<String, u64>,
    /// What the long tier of a suite may take, where that is more.
    long: BTreeMap<String, u64>,
}

const BUDGET: &str = include_str!("../budget.toml");

impl Suites {
    /// Runs one suite and says how it ended. An error counts as a failure and is shown.
    pub(crate) fn run(&mut self, name: &str, run: impl FnOnce(&mut Vec<String>) -> Result<Counts>) {
        self.run_part(name, name, run);
    }

    /// Runs a part of a suite; the parts' counts and times add up.
    pub(crate) fn run_part(
        &mut self,
        name: &str,
        title: &str,
        run: impl FnOnce(&mut Vec<String>) -> Result<Counts>,
    ) {
        eprintln!("\n== {title}");
        let started = Instant::now();
        let counts = run(&mut self.skips).unwrap_or_else(|error| {
            eprintln!("{title}: {error:#}");
            Counts::one(false)
        });
        self.add(name, counts, started.elapsed());
    }

    fn add(&mut self, name: &str, counts: Counts, took: Duration) {
        if let Some(suite) = self.done.iter_mut().find(|suite| suite.name == name) {
            suite.counts.add(counts);
            suite.took += took;
        } else {
            self.done.push(Suite { name: name.to_owned(), counts, took });
        }
    }

    /// Whether anything failed.
    pub(crate) fn have_failed(&self) -> bool {
        self.total().failed > 0
    }

    fn total(&self) -> Counts {
        self.done.iter().fold(Counts::default(), |mut total, suite| {
            total.add(suite.counts);
            total
        })
    }

    /// Prints the table, the skips, what is over its budget, what the lab held, and the sum as the
    /// last line.
    pub(crate) fn report(&self, is_long: bool, lab: Option<&str>) -> Result<()> {
        let budget: Budget = toml::from_str(BUDGET).context("xtask/budget.toml")?;
        let mut seconds = budget.seconds;
        if is_long {
            seconds.extend(budget.long);
        }
        let width = self.done.iter().map(|suite| suite.name.len()).max().unwrap_or(0);
        println!("\n{:width$}  passed  failed  skipped     time   budget", "suite");
        let mut over = Vec::new();
        for Suite { name, counts: Counts { passed, failed, skipped }, took } in &self.done {
            let allowed = seconds.get(name);
            let shown = allowed.map_or("none".to_owned(), |seconds| format!("{seconds} s"));
            let took = took.as_secs_f64();
            println!(
                "{name:width$}  {passed:6}  {failed:6}  {skipped:7}  {took:5.1} s  {shown:>7}"
            );
            match allowed {
                Some(&allowed) if took > Duration::from_secs(allowed).as_secs_f64() => {
                    over.push(format!("{name} took {took:.0} s of {allowed} s"));
                }
                Some(_) => {}
                None => over.push(format!("{name} has no budget in xtask/budget.toml")),
            }
        }
        for skip in &self.skips {
            println!("skipped: {skip}");
        }
        for line in over {
            println!("over budget: {line}");
        }
        println!("the lab: {}", lab.unwrap_or("none"));
        let all: Duration = self.done.iter().map(|suite| suite.took).sum();
        println!("all of it: {:.0} s", all.as_secs_f64());
        let Counts { passed, failed, skipped } = self.total();
        println!("{passed} passed, {failed} failed, {skipped} skipped");
        Ok(())
    }
}

/// Runs a program of tests, showing what it prints, and counts what became of them.
pub(crate) fn count(command: &mut Command, skips: &mut Vec<String>) -> Result<Counts> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let mut counts = Counts::default();
    let mut has_summary = false;
    for line in lines(child.stdout.take().context("a pipe was asked for")?) {
        println!("{line}");
        if line.starts_with("test ") && line.contains(" ... ignored") {
            skips.push(line.trim_start_matches("test ").to_owned());
        }
        if let Some(found) = summary(&line) {
            counts.add(found);
            has_summary = true;
        }
    }
    let status = child.wait()?;
    // One that died in the middle, or failed without saying what, is a failure all the same.
    if !status.success() && counts.failed == 0 {
        eprintln!("{name} ended badly: {status}");
        counts.failed += 1;
    } else if !has_summary {
        eprintln!("{name} ran no tests that could be counted");
        counts.failed += 1;
    }
    Ok(counts)
}

/// Lines of a program's output; bytes that are no text do not end them.
fn lines(from: impl std::io::Read) -> impl Iterator<Item = String> {
    BufReader::new(from)
        .split(b'\n')
        .map_while(Result::ok)
        .map(|line| String::from_utf8_lossy(&line).into_owned())
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; …` → the counts.
fn summary(line: &str) -> Option<Counts> {
    let (_, rest) = line.split_once("test result: ")?;
    let (_, rest) = rest.split_once(". ")?;
    let of = |what: &str| {
        let part = rest.split(';').find_map(|part| part.trim().strip_suffix(what))?;
        part.trim().parse().ok()
    };
    Some(Counts { passed: of("passed")?, failed: of("failed")?, skipped: of("ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_line_of_libtest_is_read() {
        let line = "test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 3 filtered out; \
                    finished in 0.02s";
        assert_eq!(summary(line), Some(Counts { passed: 12, failed: 1, skipped: 2 }));
        assert_eq!(summary("test a ... ok"), None);
    }

    #[test]
    fn a_program_that_dies_is_a_failure_whatever_it_said() {
        let mut skips = Vec::new();
        let said = "echo 'test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured'; \
                    echo 'test a case ... ignored (no lab)'; kill -9 $$";
        let counts = count(Command::new("sh").args(["-c", said]), &mut skips).expect("sh starts");
        assert_eq!(counts, Counts { passed: 2, failed: 1, skipped: 1 });
        assert_eq!(skips, ["a case ... ignored (no lab)"]);
        let counts = count(Command::new("sh").args(["-c", "true"]), &mut skips).expect("sh starts");
        assert_eq!(counts, Counts { passed: 0, failed: 1, skipped: 0 });
    }

    #[test]
    fn the_budget_is_a_table_of_seconds() {
        let budget: Budget = toml::from_str(BUDGET).expect("budget.toml is well formed");
        assert!(budget.seconds.contains_key("build"));
        for (suite, seconds) in &budget.long {
            let short = budget.seconds.get(suite).expect("the long tier has no suites of its own");
            assert!(seconds > short, "{suite}: {seconds} s are not more than {short} s");
        }
    }
}
