//! Groups with all their reasons, beside what people look at groups with.
//!
//! The host is made up: 4,096 functions behind switches, as a directory shaped like `/` and as a
//! snapshot of it. In one process it is parsed, grouped and explained, against the aim of ten
//! milliseconds, and again with sixteen times the functions; and our program runs beside `lspci`.

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
/// How many times the larger host is the smaller.
const TIMES: usize = 16;
/// Milliseconds in which the smaller should be parsed, grouped and explained.
const AIM: f64 = 10.0;

/// Measures the steps within a process, then programs.
pub(crate) fn run(settings: &Settings) -> Result<Vec<Row>> {
    let folder = Folder::in_memory()?;
    eprintln!("groups: making a host of {FUNCTIONS} functions");
    let tree = Tree::make(folder.path().join("host"), FUNCTIONS)?;
    let (snapshot, _) = Snapshot::take(&tree.root, Options::default())?;
    let mut rows = within(settings, snapshot.as_text())?;
    let Some(lspci) = peers::lspci() else {
        eprintln!(
            "groups: skipped what is beside lspci: there is none (Debian has it in pciutils)"
        );
        return Ok(rows);
    };
    eprintln!("groups: beside {} ({})", version(&lspci)?, lspci.display());
    let file = folder.path().join("snapshot");
    std::fs::write(&file, snapshot.as_text()).context("cannot write the snapshot")?;
    let program = fence_program()?;
    rows.push(beside_lspci(settings, "groups/tree-4k", (&program, &tree.root), (&lspci, &tree))?);
    rows.push(beside_lspci(settings, "groups/snapshot-4k", (&program, &file), (&lspci, &tree))?);
    rows.push(beside_the_loop(settings, (&program, &tree.root), (&lspci, &tree))?);
    Ok(rows)
}

/// What the steps of one reckoning took, in milliseconds.
struct Took {
    parse: f64,
    group: f64,
}

impl Took {
    fn all(&self) -> f64 {
        self.parse + self.group
    }
}

fn within(settings: &Settings, text: &str) -> Result<Vec<Row>> {
    let small = Snapshot::from_text(text.to_owned());
    let large = Snapshot::from_text(enlarged(text)?);
    let passes = if settings.quick { 5 } else { 20 };
    let (mut ours, mut larger) = (Vec::new(), Vec::new());
    for round in 1..=settings.rounds {
        settings.stop_if_asked()?;
        let one = reckon(&small, FUNCTIONS, passes)?;
        let many = reckon(&large, FUNCTIONS * TIMES, passes.div_ceil(8))?;
        eprintln!(
            "groups: round {round} of {}: {FUNCTIONS} functions: parsed in {:.2} ms, grouped and \
             explained in {:.2}; {}: {:.1} and {:.1}",
            settings.rounds,
            one.parse,
            one.group,
            FUNCTIONS * TIMES,
            many.parse,
            many.group
        );
        ours.push(one.all());
        larger.push(many.all());
    }
    let aim = vec![AIM; ours.len()];
    // What the larger would take if it were the smaller many times.
    let linear: Vec<f64> = ours.iter().map(|took| took * TIMES as f64).collect();
    Ok(vec![
        Row::of_times("groups/explain-4k".into(), &ours, ("the aim", &aim), Some(1.0)),
        Row::of_times("groups/explain-64k".into(), &larger, ("16 times 4k", &linear), Some(0.5)),
    ])
}

/// Parses, groups and explains everything, several times: the fastest of each step counts, as
/// whatever else the machine does can only add.
fn reckon(snapshot: &Snapshot, functions: usize, passes: usize) -> Result<Took> {
    let mut took = Took { parse: f64::INFINITY, group: f64::INFINITY };
    for _ in 0..passes {
        let begin = Instant::now();
        let host = snapshot.read()?;
        let parsed = Instant::now();
        let partition = Model::Linux612.partition(&host);
        let end = Instant::now();
        took.parse = took.parse.min((parsed - begin).as_secs_f64() * 1e3);
        took.group = took.group.min((end - parsed).as_secs_f64() * 1e3);
        let grouped: usize = partition.groups.iter().map(|group| group.functions.len()).sum();
        ensure!(grouped == functions, "{grouped} of {functions} functions are in groups");
        let explained = partition.groups.iter().all(|group| !group.reasons.is_empty());
        ensure!(explained, "a group is without reasons");
        black_box(partition);
    }
    Ok(took)
}

/// The snapshot of a host that has all of this one's domains many times over.
fn enlarged(text: &str) -> Result<String> {
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
    let lists: Vec<String> = (0..TIMES).map(|time| moved(&list, time)[6..].to_owned()).collect();
    let head = head.replace(&list, &format!("names {}", lists.join(" ")));
    let functions: String = (0..TIMES).map(|time| moved(&functions, time)).collect();
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
        ours.push(our_time(program, from)?);
        let (took, named) = peers::time(peers::all(lspci, &tree.pci()), peers::begins_a_function)?;
        ensure!(named == FUNCTIONS, "lspci shows {named} of {FUNCTIONS} functions");
        theirs.push(took);
        eprintln!("{name}: round {round} of {}", settings.rounds);
    }
    Ok(Row::of_times(name.to_owned(), &ours, ("lspci -vvv", &theirs), Some(1.0)))
}

/// Our program over the tree, beside the shell's loop, which is slow: once is enough.
fn beside_the_loop(
    settings: &Settings,
    (program, from): (&Path, &Path),
    (lspci, tree): (&Path, &Tree),
) -> Result<Row> {
    settings.stop_if_asked()?;
    eprintln!("groups/loop-4k: one round");
    let ours = our_time(program, from)?;
    let command = peers::shell_loop(lspci, &tree.root);
    let (took, named) = peers::time(command, peers::begins_a_function)?;
    ensure!(named == FUNCTIONS, "the loop shows {named} of {FUNCTIONS} functions");
    let peer: (_, &[f64]) = ("lspci in a loop of the shell", &[took]);
    Ok(Row::of_times("groups/loop-4k".into(), &[ours], peer, Some(1.0)))
}

fn our_time(program: &Path, from: &Path) -> Result<f64> {
    let (took, lines) = peers::time(peers::ours(program, from), |line| !line.is_empty())?;
    ensure!(lines >= FUNCTIONS, "our program shows {lines} lines for {FUNCTIONS} functions");
    Ok(took)
}
