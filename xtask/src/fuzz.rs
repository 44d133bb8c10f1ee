//! `cargo xtask fuzz [TARGET…] [--seconds N]`: every fuzz target for a while, set up as needed.
//!
//! What is found stays in `target/fuzz`: inputs that reach something new in `corpus`, those that
//! break something in `artifacts`. The inputs kept in `fuzz/corpus` are read and never written.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

/// How long each target runs when nothing is said.
const SECONDS: u64 = 60;

/// The longest input. Longer ones say nothing new.
const INPUT_BYTES_MAX: u32 = 512;

/// What one input may make the process allocate at once, and hold in all.
const ALLOCATION_MEGABYTES: u32 = 64;
const MEMORY_MEGABYTES: u32 = 2048;

/// Runs the targets named, or all.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let root = ringfence_lab::workspace();
    let known = targets(&root)?;
    let (wanted, seconds) = parse(arguments, &known)?;
    let program = set_up(&root)?;
    let mut broken = Vec::new();
    for target in &wanted {
        eprintln!("\n== {target}, {seconds} s");
        if !fuzz(&root, &program, target, seconds)? {
            broken.push(target.as_str());
        }
    }
    for target in &broken {
        println!("{target}: found something; the input is in target/fuzz/artifacts/{target}");
    }
    println!("{} targets ran for {seconds} s each, {} found something", wanted.len(), broken.len());
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Every target there is, by the files of their programs.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/targets");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("{}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// The targets wanted, and for how many seconds each.
fn parse(arguments: &[String], known: &[String]) -> Result<(Vec<String>, u64)> {
    let (mut wanted, mut seconds) = (Vec::new(), SECONDS);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument == "--seconds" {
            let number = rest.next().and_then(|number| number.parse().ok());
            seconds = number.context("--seconds takes a number")?;
        } else if known.contains(argument) {
            wanted.push(argument.clone());
        } else {
            bail!("there is no target `{argument}`; there are {}", known.join(", "));
        }
    }
    ensure!(seconds > 0, "--seconds takes a number above zero");
    Ok((if wanted.is_empty() { known.to_vec() } else { wanted }, seconds))
}

/// Finds cargo-fuzz, or builds it into `target/tools`, and sees that there is a nightly compiler.
fn set_up(root: &Path) -> Result<PathBuf> {
    let has_nightly = Command::new("rustc").args(["+nightly", "--version"]).output();
    ensure!(
        has_nightly.is_ok_and(|output| output.status.success()),
        "fuzzing needs a nightly compiler, for its sanitizer: rustup toolchain install nightly\n\
         (without one, `cargo xtask test fuzz/targets` runs the targets over the inputs kept)"
    );
    let found = std::env::var_os("PATH").and_then(|path| {
        std::env::split_paths(&path).map(|folder| folder.join("cargo-fuzz")).find(|it| it.exists())
    });
    let ours = root.join("target/tools/bin/cargo-fuzz");
    if let Some(program) = found.or_else(|| ours.exists().then(|| ours.clone())) {
        return Ok(program);
    }
    let mut install = crate::cargo();
    install.args(["install", "cargo-fuzz", "--locked", "--root"]).arg(root.join("target/tools"));
    let status = install.status().context("cannot start cargo")?;
    ensure!(
        status.success(),
        "cargo-fuzz could not be installed; it needs a C++ compiler and crates.io"
    );
    Ok(ours)
}

/// Runs one target; false when it found something.
fn fuzz(root: &Path, program: &Path, target: &str, seconds: u64) -> Result<bool> {
    let folder = root.join("target/fuzz");
    let (corpus, artifacts) =
        (folder.join("corpus").join(target), folder.join("artifacts").join(target));
    for folder in [&corpus, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    }
    let mut command = Command::new(program);
    // The compiler this program was built with is not the one that is needed.
    command.env("RUSTUP_TOOLCHAIN", "nightly").env_remove("CARGO").env_remove("RUSTC");
    command.current_dir(root).args(["fuzz", "run", "--fuzz-dir", "fuzz", "--target-dir"]);
    command.arg(folder.join("build")).arg(target).arg(&corpus);
    command.arg(root.join("fuzz/corpus").join(target)).arg("--");
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-max_len={INPUT_BYTES_MAX}"));
    command.arg(format!("-malloc_limit_mb={ALLOCATION_MEGABYTES}"));
    command.arg(format!("-rss_limit_mb={MEMORY_MEGABYTES}"));
    // Long inputs from the start: short ones do not get far.
    command.args(["-len_control=0", "-timeout=20", "-print_final_stats=1"]);
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
    Ok(status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_seconds_are_taken_and_nothing_else() {
        let owned =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let known = targets(&ringfence_lab::workspace()).expect("there are targets");
        assert!(known.contains(&"guest_rings".to_owned()), "{known:?}");
        let parsed = parse(&owned(&["guest_rings", "--seconds", "5"]), &known).expect("it is good");
        assert_eq!(parsed, (owned(&["guest_rings"]), 5));
        assert_eq!(parse(&[], &known).expect("it is good"), (known.clone(), SECONDS));
        for bad in [&["guests"][..], &["--seconds"], &["--seconds", "0"], &["--seconds", "soon"]] {
            assert!(parse(&owned(bad), &known).is_err(), "{bad:?}");
        }
    }
}
