//! Whoever of a run is killed, and whenever: the run ends or goes on as it should, it is said who
//! died, and nothing is left behind.
//!
//! | killed | before the guest is up | while it is | while all ends |
//! | --- | --- | --- | --- |
//! | backend | the run ends and names it, or goes on | it is started again, the run goes on and the guest sees no error | the same, or all ends well |
//! | fence | the run ends and names it | the same | the same, or ends well |
//! | VMM | the run ends and names it | the same | the same, or ends well |
//! | `ringfence run` | all of it ends; its folder is cleared by the next run | the same | the same |
//!
//! Left behind would be a process, memory of the guest's or a window, a socket, a file.

mod firmware_guest;
mod point;
mod processes;
mod run;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ringfence_lab::{root, tier};
use rustix::process::Signal;
use serde_json::Value;

use self::point::{End, Guest, Phase, Point, Victim};
use self::processes::{Process, files_in, memory_of, remains};
use self::run::{PATIENCE, Place, Run, Work, kill};

/// One point alone, by its number, of the seed that goes with it.
const ONLY: &str = "RINGFENCE_POINT";

/// Every failure counts; after so many no more are looked for.
const FAILURES_MAX: usize = 10;

/// What became of a point.
struct Outcome {
    /// The victim was still there.
    was_hit: bool,
    /// How long it took until all was gone: from the kill, or from the run's own good end.
    took: Duration,
    what: String,
}

pub(crate) fn nothing_is_left() -> Result<()> {
    let seed = tier::seed()?;
    let points = match std::env::var(ONLY) {
        Ok(number) => {
            let number: u32 = number.parse().with_context(|| format!("{ONLY}={number}"))?;
            number..number + 1
        }
        Err(_) => 0..tier::choose(20, 500),
    };
    let count = points.len();
    eprintln!("{count} kill points; again with {}={seed}, one alone with {ONLY}=N", tier::SEED);
    let place = Place::new(root()?)?;
    let mut failures = Vec::new();
    let mut tally: BTreeMap<(Victim, Phase), (u32, u32)> = BTreeMap::new();
    let mut longest = Duration::ZERO;
    for index in points {
        let point = Point::new(seed, index);
        match exercise(&place, &point) {
            Ok(outcome) => {
                eprintln!(
                    "{point}: {}; gone after {:.2} s",
                    outcome.what,
                    outcome.took.as_secs_f64()
                );
                let (all, hit) = tally.entry((point.victim, point.phase)).or_default();
                *all += 1;
                *hit += u32::from(outcome.was_hit);
                longest = longest.max(outcome.took);
            }
            Err(error) => {
                let failure = format!("{point} ({}={seed}): {error:#}", tier::SEED);
                eprintln!("FAILED: {failure}");
                failures.push(failure);
                if failures.len() == FAILURES_MAX {
                    break;
                }
            }
        }
    }
    for ((victim, phase), (all, hit)) in &tally {
        eprintln!("{victim:?}, {phase:?}: {all} well, {hit} of them before it was gone by itself");
    }
    eprintln!("nothing was left after {:.2} s at the latest", longest.as_secs_f64());
    ensure!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

fn exercise(place: &Place, point: &Point) -> Result<Outcome> {
    let work = match (point.phase, point.end, point.victim) {
        (Phase::Ending, End::ByItself, _) => Work::Little,
        // It goes on, and is to come to an end.
        (_, _, Victim::Backend) => Work::Some,
        _ => Work::Endless,
    };
    let mut run = place.start(point.guest, work)?;
    wait_for_phase(&mut run, point)?;
    std::thread::sleep(point.delay);
    let known = look(&run, point)?;
    let memory = memory_of(&known);
    if point.phase == Phase::Working {
        // What is looked for afterwards can be found at all.
        let there = remains(place.folder(), &known, &memory)?;
        for what in ["process", "memory", "open socket"] {
            let is_found = there.iter().any(|found| found.starts_with(what));
            ensure!(is_found, "no {what} found while all is up: {there:#?}");
        }
    }
    let victims = run.who(&known, point.victim);
    let was_hit = match victims.as_slice() {
        [] => false,
        some => kill(some[point.pick % some.len()])?,
    };
    let mut since = Instant::now();
    let status = run.ending()?;
    let what = judge(&run, point, status)?;
    if matches!(status.code(), Some(0 | 1)) {
        since = Instant::now();
    }
    if point.victim == Victim::Run && point.next_at_once {
        next_run(place)?;
    }
    wait_for_nothing(|| remains(place.folder(), &known, &memory))?;
    if point.victim == Victim::Run && !point.next_at_once {
        // What stays is files in its own folder, and for the next run to clear.
        let own = place.runs().join("killed");
        let strangers = files_in(&place.runs()).into_iter().filter(|path| !path.starts_with(&own));
        ensure!(strangers.count() == 0, "left behind: {:?}", files_in(&place.runs()));
        next_run(place)?;
    }
    wait_for_nothing(|| Ok(files_in(&place.runs())))?;
    Ok(Outcome { was_hit, took: since.elapsed(), what })
}

/// The processes of the run. Who is in the middle of an `exec` has no arguments to be known by, so
/// one that must be there is looked for again.
fn look(run: &Run, point: &Point) -> Result<Vec<Process>> {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let known = run.processes()?;
        let is_found = !run.who(&known, point.victim).is_empty();
        if is_found || point.phase == Phase::Ending || Instant::now() >= deadline {
            return Ok(known);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn wait_for_phase(run: &mut Run, point: &Point) -> Result<()> {
    let is_there =
        |victim: Victim| move |run: &Run| Ok(!run.who(&run.processes()?, victim).is_empty());
    match (point.phase, point.end) {
        (Phase::Starting, _) => run.wait_until("victim", is_there(point.victim)),
        (Phase::Booting, _) => run.wait_until("VMM", is_there(Victim::Vmm)),
        (Phase::Working, _) => run.wait_until("word of the guest's", |run| Ok(run.has_said("@b"))),
        (Phase::Ending, End::ByItself) => {
            run.wait_until("end of the guest's", |run| Ok(run.has_said("@d")))
        }
        (Phase::Ending, End::Asked) => {
            run.wait_until("word of the guest's", |run| Ok(run.has_said("@b")))?;
            run.ask_to_stop()
        }
    }
}

/// Whether the run ended as it should have, and how that was.
fn judge(run: &Run, point: &Point, status: ExitStatus) -> Result<String> {
    let talk = run.talk();
    for (line, what) in [("@f", "a request failed"), ("@w", "bytes were wrong")] {
        ensure!(!run.has_said(line), "in the guest {what}; the run said:\n{talk}");
    }
    if point.victim == Victim::Run && status.signal() == Some(Signal::KILL.as_raw()) {
        return Ok("killed".to_owned());
    }
    let name = match point.victim {
        Victim::Backend => "the backend of disk",
        Victim::Fence => "the fence of disk",
        Victim::Vmm => "the VMM",
        Victim::Run => "nobody",
    };
    let may_die = match point.victim {
        // While the VMM sets its device up, there is no request yet to hold back.
        Victim::Backend => matches!(point.phase, Phase::Starting | Phase::Booting),
        Victim::Fence | Victim::Vmm => true,
        Victim::Run => false,
    };
    let may_end_well =
        point.phase == Phase::Ending || matches!(point.victim, Victim::Backend | Victim::Run);
    match status.code() {
        Some(5) if may_die => {
            let error = talk.lines().find(|line| line.starts_with("error: "));
            let error = error.with_context(|| format!("no error was named:\n{talk}"))?;
            ensure!(error.contains(name), "who died was {name}, not as in\n{talk}");
            Ok(error.to_owned())
        }
        Some(0 | 1) if may_end_well => {
            let report = run.report().with_context(|| format!("no report:\n{talk}"))?;
            let ending = report["ending"].as_str().unwrap_or_default();
            let is_well = ending == "stopped" || (ending == "guest-ended" && run.has_said("@d"));
            ensure!(is_well, "it ended with {report:#}, and said:\n{talk}");
            let refused = match &report["devices"][0]["fence"]["last_refusal"] {
                Value::String(refusal) if report["exit_code"] != 0 => format!(" ({refusal})"),
                _ => String::new(),
            };
            Ok(format!("{ending}, exit code {}{refused}", report["exit_code"]))
        }
        _ => bail!("it ended with {status}, and said:\n{talk}"),
    }
}

/// A run with the same name, that must be as good as the first.
fn next_run(place: &Place) -> Result<()> {
    let mut next = place.start(Guest::Firmware, Work::Little)?;
    let status = next.ending().context("the next run")?;
    let is_well = status.success() && next.has_said("@d");
    ensure!(is_well, "the next run ended with {status}; it said:\n{}", next.talk());
    Ok(())
}

/// Waits until a list is empty; what was killed takes a moment to be gone.
fn wait_for_nothing<T: std::fmt::Debug>(list: impl Fn() -> Result<Vec<T>>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = list()?;
        if found.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "left behind: {found:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
