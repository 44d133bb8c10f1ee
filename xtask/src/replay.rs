//! `cargo xtask replay --all`: the tables of all real machines, each given to a real Linux, and what it
//! lists beside what is predicted.
//!
//! Tables that come to the same machine are replayed once for all. Results go to
//! `target/replay.txt` as they come in, a line per table, so that a run that is cut short has told
//! what it found.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use ringfence_lab::replay::{OwnTables, Replay, Verdict};
use ringfence_lab::{LabRoot, harness, root, workspace};

/// How many machines at a time.
const AT_A_TIME: usize = 2;

/// Replays that are one: the machine, or why there can be none, and the tables.
struct Job {
    replay: Result<Replay>,
    names: Vec<String>,
}

/// What is known so far.
struct Results {
    file: File,
    counts: BTreeMap<&'static str, usize>,
    boots: usize,
}

/// Replays the tables named, or all.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let lab = root()?;
    let jobs = jobs(&harness::data("acpi")?, arguments)?;
    let path = workspace().join("target/replay.txt");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    let results = Mutex::new(Results { file, counts: BTreeMap::new(), boots: 0 });
    let (own, total) = (OwnTables::default(), jobs.len());
    let queue = Mutex::new(jobs.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(job) = lock(&queue).next() {
                    let told = one(&job, &lab, &own);
                    lock(&results).add(&job.names, &told, total);
                }
            });
        }
    });
    let Results { counts, boots, .. } =
        results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let tables: usize = counts.values().sum();
    let of_each: Vec<String> =
        counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    println!("{tables} tables in {boots} machines: {}; {}", of_each.join(", "), path.display());
    let is_good = counts.keys().all(|what| *what == EQUAL);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const EQUAL: &str = "equal";

/// The tables wanted, as replays, by the names of their files.
fn jobs(folder: &Path, arguments: &[String]) -> Result<Vec<Job>> {
    let is_all = arguments == ["--all"];
    ensure!(!arguments.is_empty(), "say `--all`, or names of tables in {}", folder.display());
    let mut names = Vec::new();
    for entry in folder.read_dir()? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".bin").map(str::to_owned));
    }
    names.sort();
    if let Some(unknown) = arguments.iter().find(|it| !is_all && !names.contains(it)) {
        bail!("there is no table `{unknown}` in {}", folder.display());
    }
    let (mut jobs, mut places) = (Vec::<Job>::new(), BTreeMap::new());
    for name in names.into_iter().filter(|name| is_all || arguments.contains(name)) {
        let bytes = std::fs::read(folder.join(format!("{name}.bin")))?;
        let replay = Replay::of(&name, &bytes);
        let essence = replay.as_ref().map(Replay::essence).ok();
        match essence.as_ref().and_then(|it| places.get(it)) {
            Some(&place) => {
                let job: &mut Job = &mut jobs[place];
                job.names.push(name);
            }
            None => {
                essence.map(|it| places.insert(it, jobs.len()));
                jobs.push(Job { replay, names: vec![name] });
            }
        }
    }
    Ok(jobs)
}

/// What came of a replay: in a word, how many regions were compared, and more of it.
fn one(job: &Job, lab: &LabRoot, own: &OwnTables) -> (&'static str, usize, String) {
    let came = match &job.replay {
        Ok(replay) => replay.run(lab, own),
        Err(error) => return ("impossible", 0, format!("{error:#}").replace('\n', " ")),
    };
    match came {
        Ok(came) if came.verdict == Verdict::Equal => (EQUAL, came.regions, String::new()),
        Ok(came) => ("different", came.regions, came.verdict.to_string()),
        Err(error) => ("failed", 0, format!("{error:#}").replace('\n', " | ")),
    }
}

impl Results {
    fn add(&mut self, names: &[String], told: &(&'static str, usize, String), total: usize) {
        let (what, regions, more) = told;
        self.boots += 1;
        *self.counts.entry(what).or_default() += names.len();
        for name in names {
            let line = format!("{name} {what} {regions} {more}");
            let _ = writeln!(self.file, "{}", line.trim_end());
        }
        let others = names.len() - 1;
        eprintln!("{}/{total} {} (+{others}) {what}, {regions} regions", self.boots, names[0]);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_to_be_named() {
        let folder = workspace().join("xtask");
        assert!(jobs(&folder, &[]).is_err());
        assert!(jobs(&folder, &["DMAR_0".to_owned()]).is_err());
        assert!(jobs(&folder, &["--all".to_owned()]).is_ok_and(|jobs| jobs.is_empty()));
    }
}
