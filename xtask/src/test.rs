//! `cargo xtask test`: everything CI runs, in one command.
//!
//! The lab is fetched first and all tests are built at once; then every suite runs by itself, so
//! that each has its own time beside its budget. Nothing fails by the clock. A failure does not
//! stop what comes after it.
//!
//! `cargo xtask test --long` runs the same suites, in which some cases do more: the tests are told by
//! their environment ([`tier`]).

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use ringfence_lab::{fetch, quickstart, tier};

use crate::suites::{Counts, Suites, count};

/// Runs the suites named, or all; the long tier of them if `--long` is among the words.
pub(crate) fn run(words: &[String]) -> Result<ExitCode> {
    let (options, wanted): (Vec<_>, Vec<_>) =
        words.iter().cloned().partition(|word| word.starts_with('-'));
    if let Some(option) = options.iter().find(|option| *option != LONG) {
        bail!("there is no option `{option}`: `cargo xtask test [{LONG}] [SUITE...]`");
    }
    let is_long = !options.is_empty();
    let mut run = Run { wanted: &wanted, is_long, suites: Suites::default(), lab: None };
    run.all()?;
    run.suites.report(is_long, run.lab.as_deref())?;
    Ok(if run.suites.have_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

const LONG: &str = "--long";

struct Run<'a> {
    wanted: &'a [String],
    is_long: bool,
    suites: Suites,
    /// The versions of what is in the lab, if it could be filled.
    lab: Option<String>,
}

/// A program of tests, as cargo built it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct TestProgram {
    suite: String,
    executable: PathBuf,
    folder: PathBuf,
}

impl Run<'_> {
    fn wants(&self, suite: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|wanted| wanted == suite)
    }

    fn check(&mut self, suite: &str, run: impl FnOnce() -> Result<bool>) {
        if self.wants(suite) {
            self.suites.run(suite, |_| Ok(Counts::one(run()?)));
        }
    }

    fn all(&mut self) -> Result<()> {
        self.check("format", || succeeds(crate::cargo().args(["fmt", "--all", "--check"])));
        self.check("tidy", || crate::tidy::run().map(|()| true));
        let mut versions = None;
        self.suites.run("lab", |_| {
            let (root, record) = fetch::fill()?;
            quickstart::prepare(&root)?;
            versions = Some(record.versions());
            Ok(Counts::one(true))
        });
        self.lab = versions;
        self.check("lints", || {
            let arguments = ["clippy", "--quiet", "--workspace", "--all-targets"];
            succeeds(crate::cargo().args(arguments).args(["--", "-D", "warnings"]))
        });
        self.check("documentation", || {
            let arguments = ["doc", "--quiet", "--workspace", "--no-deps"];
            succeeds(crate::cargo().args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
        });
        let mut programs = Vec::new();
        self.suites.run("build", |_| {
            programs = build()?;
            Ok(Counts::one(true))
        });
        for name in self.wanted {
            let fixed = ["format", "tidy", "lab", "lints", "documentation", "build", "examples"];
            if !fixed.contains(&name.as_str()) && !programs.iter().any(|one| one.suite == *name) {
                bail!("there is no suite `{name}`");
            }
        }
        for program in programs {
            if self.wants(&program.suite) {
                let mut command = self.command(&program);
                let part = program.folder.file_name().map(|name| name.to_string_lossy());
                let title = match program.suite.as_str() {
                    "unit" => format!("unit tests of {}", part.unwrap_or_default()),
                    suite => suite.to_owned(),
                };
                self.suites.run_part(&program.suite, &title, |skips| count(&mut command, skips));
            }
        }
        if self.wants("examples") {
            let mut command = crate::cargo();
            command.args(["test", "--quiet", "--workspace", "--doc"]);
            self.suites.run("examples", |skips| count(&mut command, skips));
        }
        Ok(())
    }

    /// How cargo itself would run the program.
    fn command(&self, program: &TestProgram) -> Command {
        let mut command = Command::new(&program.executable);
        command.current_dir(&program.folder).env("CARGO_MANIFEST_DIR", &program.folder);
        if program.suite == "unit" {
            command.arg("--quiet");
        }
        if self.lab.is_some() {
            command.env("RINGFENCE_REQUIRE_LAB", "1");
        }
        command.env(tier::LONG, if self.is_long { "1" } else { "0" });
        command
    }
}

fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(command.status().context("cannot start cargo")?.success())
}

/// Builds all tests and the programs they start.
fn build() -> Result<Vec<TestProgram>> {
    let output = crate::cargo()
        .args(["test", "--quiet", "--workspace", "--lib", "--bins", "--tests", "--no-run"])
        .arg("--message-format=json-render-diagnostics")
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut programs: Vec<TestProgram> = text.lines().filter_map(test_program).collect();
    // The quick ones first: unit tests, then suites by name.
    programs.sort_by_key(|program| (program.suite != "unit", program.suite.clone()));
    Ok(programs)
}

/// One line of cargo's account of what it built.
fn test_program(line: &str) -> Option<TestProgram> {
    let message: serde_json::Value = serde_json::from_str(line).ok()?;
    if message["profile"]["test"] != true {
        return None;
    }
    let executable = PathBuf::from(message["executable"].as_str()?);
    let manifest = Path::new(message["manifest_path"].as_str()?);
    let folder = manifest.parent()?.to_owned();
    let target = message["target"]["name"].as_str()?;
    let suite = if message["target"]["kind"][0] == "test" {
        let package = folder.file_name()?.to_str()?;
        format!("{package}/{target}")
    } else {
        "unit".to_owned()
    };
    Some(TestProgram { suite, executable, folder })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_account_names_the_suites() {
        let line = |kind: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/crates/lab/Cargo.toml",
                "target":{{"kind":["{kind}"],"name":"machines"}},"profile":{{"test":{test}}},
                "executable":"/t/machines-1"}}"#
            )
        };
        let suite = |line: &str| test_program(line).map(|program| program.suite);
        assert_eq!(suite(&line("test", true)).as_deref(), Some("lab/machines"));
        assert_eq!(suite(&line("lib", true)).as_deref(), Some("unit"));
        assert_eq!(suite(&line("bin", false)), None);
        assert_eq!(suite("not JSON"), None);
    }
}
