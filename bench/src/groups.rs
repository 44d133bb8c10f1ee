//! Groups with all their reasons, beside what people look at groups with.
//!
//! The host is made up: 4,096 functions behind switches, as a directory shaped like `/` and as a
//! snapshot of it. In one process it is parsed, grouped and explained, against the aim of ten
//! milliseconds, and again with four and sixteen times the functions, to see it grow; and our
//! program runs beside `lspci` and beside a loop of the shell over the groups.

mod layout;
mod peers;
mod tree;

use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use ringfence_host::Model;
use ringfence_host::read::{Options, Snapshot};

use crate::backend::{fence_program, version};
use crate::folder::Folder;
use crate::report::Row;
use crate::settings::Settings;
use tree::Tree;

const FUNCTIONS: usize = 4096;
/// How many times the smallest host the larger ones are.
const TIMES: [usize; 3] = [1, 4, 16];
/// Milliseconds in which the smallest should be parsed, grouped and explained.
const AIM: f64 = 10.0;
/// How many functions the shell's loop is given: with all of them it takes minutes.
const FUNCTIONS_OF_LOOP: usize = 256;

/// Measures the steps within a process, then programs.
pub(crate) fn run(settings: &Settings) -> Result<Vec<Row>> {
    let folder = Folder::in_memory()?;
    eprintln!("groups: making a host of {FUNCTIONS} functions");
    let tree = Tree::make(folder.path().join("host"), FUNCTIONS)?;
    let (snapshot, _) = Snapshot::take(&tree.root, Options::default())?;
    let mut rows = within(settings, snapshot.as_text())?;
    let Some(lspci) = peers::lspci() else {
        eprintln!(
            "groups: skipped what is beside lspci: there is none (`cargo xtask lab` fetches it)"
        );
        return Ok(rows);
    };
    eprintln!("groups: beside {} ({})", version(&lspci)?, lspci.display());
    let file = folder.path().join("snapshot");
    std::fs::write(&file, snapshot.as_text()).context("cannot write the snapshot")?;
    let program = fence_program()?;
    rows.push(beside_lspci(settings, "groups/tree-4k", (&program, &tree.root), (&lspci, &tree))?);
    rows.push(beside_lspci(settings, "groups/snapshot-4k", (&program, &file), (&lspci, &tree))?);
    let tree = Tree::make(folder.path().join("small"), FUNCTIONS_OF_LOOP)?;
    rows.push(beside_the_loop(settings, &program, (&lspci, &tree))?);
    Ok(rows)
}

/// What the steps of one reckoning took, in milliseconds.
#[derive(Clone, Copy)]
struct Took {
    parse: f64,
    /// To group and to explain every group.
    group: f64,
    /// To answer why one function is where it is, with what would part it.
    why: f64,
    /// Of a processor, to parse, group and explain.
    processor: f64,
}

impl Took {
    const NEVER: Self = Self {
        parse: f64::INFINITY,
        group: f64::INFINITY,
        why: f64::INFINITY,
        processor: f64::INFINITY,
    };

    fn all(&self) -> f64 {
        self.parse + self.group
    }

    /// The lesser of each: whatever else the machine does can only add.
    fn least(&self, other: &Self) -> Self {
        Self {
            parse: self.parse.min(other.parse),
            group: self.group.min(other.group),
            why: self.why.min(other.why),
            processor: self.processor.min(other.processor),
        }
    }
}

fn within(settings: &Settings, text: &str) -> Result<Vec<Row>> {
    let hosts = TIMES.iter().map(|&times| Ok(Snapshot::from_text(enlarged(text, times)?)));
    let hosts: Vec<Snapshot> = hosts.collect::<Result<_>>()?;
    let passes = if settings.quick { 5 } else { 20 };
    let mut took: [Vec<Took>; TIMES.len()] = Default::default();
    for round in 1..=settings.rounds {
        for ((times, host), took) in TIMES.iter().zip(&hosts).zip(&mut took) {
            settings.stop_if_asked()?;
            took.push(reckon(host, FUNCTIONS * times, usize::div_ceil(passes, *times))?);
        }
        eprintln!("groups: round {round} of {}", settings.rounds);
    }
    print_growth(&took);
    let all: Vec<Vec<f64>> =
        took.iter().map(|rounds| rounds.iter().map(Took::all).collect()).collect();
    let aim = vec![AIM; settings.rounds];
    let mut rows = vec![Row::of_times(
        "groups/explain-4k".into(),
        "ms",
        &all[0],
        ("the aim", &aim),
        Some(1.0),
    )];
    for (times, ours) in TIMES.iter().zip(&all).skip(1) {
        // What the larger would take if it were the smallest many times.
        let linear: Vec<f64> = all[0].iter().map(|took| took * *times as f64).collect();
        let name = format!("groups/explain-{}k", 4 * times);
        rows.push(Row::of_times(name, "ms", ours, ("so many times 4k", &linear), Some(0.5)));
    }
    Ok(rows)
}

/// The least of all rounds, by the number of functions.
fn print_growth(took: &[Vec<Took>]) {
    eprintln!("groups: functions  parse ms  group+explain ms  one why ms  us/function  cpu ms");
    for (times, rounds) in TIMES.iter().zip(took) {
        let least = rounds.iter().fold(Took::NEVER, |least, took| least.least(took));
        let functions = FUNCTIONS * times;
        eprintln!(
            "groups: {functions:>9} {:>9.2} {:>17.2} {:>11.2} {:>12.2} {:>7.2}",
            least.parse,
            least.group,
            least.why,
            least.all() * 1e3 / functions as f64,
            least.processor
        );
    }
}

/// Parses, groups and explains everything, several times: the fastest of each step counts.
fn reckon(snapshot: &Snapshot, functions: usize, passes: usize) -> Result<Took> {
    let mut least = Took::NEVER;
    for _ in 0..passes {
        let processor = processor_time();
        let begin = Instant::now();
        let host = snapshot.read()?;
        let parsed = Instant::now();
        let partition = Model::Linux612.partition(&host);
        let end = Instant::now();
        let processor = processor_time() - processor;
        let grouped: usize = partition.groups.iter().map(|group| group.functions.len()).sum();
        ensure!(grouped == functions, "{grouped} of {functions} functions are in groups");
        let explained = partition.groups.iter().all(|group| !group.reasons.is_empty());
        ensure!(explained, "a group is without reasons");
        black_box(partition);
        let last = *host.functions.keys().next_back().context("a host has functions")?;
        let asked = Instant::now();
        let why = ringfence_host::why(&host, Model::Linux612, last);
        let why_took = asked.elapsed().as_secs_f64() * 1e3;
        ensure!(why.is_some(), "nothing is said of {last}");
        least = least.least(&Took {
            parse: (parsed - begin).as_secs_f64() * 1e3,
            group: (end - parsed).as_secs_f64() * 1e3,
            why: why_took,
            processor,
        });
    }
    Ok(least)
}

/// Milliseconds that this thread has had a processor.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

/// The snapshot of a host that has all of this one's domains many times over.
fn enlarged(text: &str, times: usize) -> Result<String> {
    let domains = FUNCTIONS.div_ceil(layout::FUNCTIONS_A_DOMAIN);
    let list = text.lines().find_map(|line| line.strip_prefix("names 0000:")).map(str::to_owned);
    let list = format!("names 0000:{}", list.context("a snapshot lists its functions")?);
    let (head, rest) = text.split_once("in sys/bus/pci/devices/").context("it has functions")?;
    let end = rest.match_indices("\nin ").map(|(at, _)| at + 1);
    let end = end.into_iter().find(|&at| !rest[at..].starts_with("in sys/bus/pci/devices/"));
    let (functions, tail) = rest.split_at(end.context("it has more than functions")?);
    let functions = format!("in sys/bus/pci/devices/{functions}");
    let moved = |text: &str, time: usize| {
        (0..domains).rev().fold(text.to_owned(), |text, domain| {
            text.replace(&format!("{domain:04x}:"), &format!("{:04x}:", domain + domains * time))
        })
    };
    let lists: Vec<String> = (0..times).map(|time| moved(&list, time)[6..].to_owned()).collect();
    let head = head.replace(&list, &format!("names {}", lists.join(" ")));
    let functions: String = (0..times).map(|time| moved(&functions, time)).collect();
    Ok(format!("{head}{functions}{tail}"))
}

/// Our program over `from`, beside `lspci -vvv` over the tree.
fn beside_lspci(
    settings: &Settings,
    name: &str,
    (program, from): (&Path, &Path),
    (lspci, tree): (&Path, &Tree),
) -> Result<Row> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=settings.rounds {
        settings.stop_if_asked()?;
        ours.push(our_time(program, from, FUNCTIONS)?);
        let (took, named) = peers::time(peers::all(lspci, &tree.pci()), peers::begins_a_function)?;
        ensure!(named == FUNCTIONS, "lspci shows {named} of {FUNCTIONS} functions");
        theirs.push(took);
        eprintln!("{name}: round {round} of {}", settings.rounds);
    }
    Ok(Row::of_times(name.to_owned(), "ms", &ours, ("lspci -vvv", &theirs), Some(1.0)))
}

/// Our program over a small tree, beside the shell's loop, which is slow: once is enough.
fn beside_the_loop(
    settings: &Settings,
    program: &Path,
    (lspci, tree): (&Path, &Tree),
) -> Result<Row> {
    settings.stop_if_asked()?;
    eprintln!("groups/loop-{FUNCTIONS_OF_LOOP}: one round");
    let ours = our_time(program, &tree.root, FUNCTIONS_OF_LOOP)?;
    let command = peers::shell_loop(lspci, &tree.root);
    let (took, named) = peers::time(command, peers::begins_a_function)?;
    ensure!(named == FUNCTIONS_OF_LOOP, "the loop shows {named} of {FUNCTIONS_OF_LOOP} functions");
    let peer: (_, &[f64]) = ("lspci in a loop of the shell", &[took]);
    Ok(Row::of_times(format!("groups/loop-{FUNCTIONS_OF_LOOP}"), "ms", &[ours], peer, Some(1.0)))
}

fn our_time(program: &Path, from: &Path, functions: usize) -> Result<f64> {
    let (took, lines) = peers::time(peers::ours(program, from), |line| !line.is_empty())?;
    ensure!(lines >= functions, "our program shows {lines} lines for {functions} functions");
    Ok(took)
}
