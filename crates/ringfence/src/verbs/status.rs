//! `status`: every fence that is up, as it says itself, and every claim, as its keeper says.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use ringfence_device::Root;
use serde::Serialize;

use crate::claims::{self, ClaimState, Claims, TheirLock};
use crate::cli;
use crate::exit::Exit;
use crate::size::Bytes;
use crate::status::{FenceStatus, SUFFIX, ask};
use crate::{runtime, talk};

/// How long a fence has to answer.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    folder: PathBuf,
    fences: Vec<Fence>,
    stale: Vec<Stale>,
    /// None if they are not for us to read.
    claims: Option<Vec<OneClaim>>,
}

/// A claim and how it is locked.
#[derive(Serialize)]
struct OneClaim {
    name: String,
    functions: Vec<String>,
    breaches: Vec<String>,
    #[serde(flatten)]
    lock: TheirLock,
}

/// A fence and whose it is.
#[derive(Serialize)]
struct Fence {
    /// The VM it belongs to; none for a fence put up by itself.
    vm: Option<String>,
    #[serde(flatten)]
    status: FenceStatus,
}

/// A socket that does not answer.
#[derive(Serialize)]
struct Stale {
    socket: PathBuf,
    reason: String,
}

pub(crate) fn run(arguments: &cli::Status) -> anyhow::Result<Exit> {
    let mut answer = look_around()?;
    let claims = claims(&arguments.at.root());
    let unread = claims.as_ref().err().map(|error| format!("{error:#}"));
    answer.claims = claims.ok();
    if arguments.json {
        talk::json(&answer)?;
        return Ok(Exit::Ok);
    }
    for stale in &answer.stale {
        talk::say(format_args!("{}: {}; skipped", stale.socket.display(), stale.reason));
    }
    if answer.fences.is_empty() {
        talk::say(format_args!("no fence is up (looked in {})", answer.folder.display()));
    } else {
        talk::data(&format!("{}\n{}", table(&answer.fences), details(&answer.fences)))?;
    }
    if let Some(why) = unread {
        talk::say(format_args!("what is claimed cannot be read: {why}"));
    }
    let claims = answer.claims.unwrap_or_default();
    if !claims.is_empty() {
        talk::data(&format!("{}\n{}", table_of_claims(&claims), breaches(&claims)))?;
    }
    Ok(Exit::Ok)
}

/// The claims of the host at `root`; there is no service to start for this, and no folder to make.
fn claims(root: &Root) -> anyhow::Result<Vec<OneClaim>> {
    let folder = claims::store(root);
    match folder.folder().symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    let one = |state: &ClaimState| OneClaim {
        name: state.claim.name.clone(),
        functions: state.claim.plan.members.iter().map(|one| one.address.to_string()).collect(),
        breaches: state.breaches.clone(),
        lock: TheirLock::from(state),
    };
    Ok(Claims::of(root)?.list()?.iter().map(one).collect())
}

/// What is not as it was claimed: a line each.
fn breaches(claims: &[OneClaim]) -> String {
    let line = |(name, breach): (&String, &String)| {
        format!(" {}: {}\n", talk::printable(name), talk::printable(breach))
    };
    let all = claims.iter().flat_map(|one| one.breaches.iter().map(move |it| (&one.name, it)));
    all.map(line).collect()
}

fn table_of_claims(claims: &[OneClaim]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["CLAIM", "FUNCTIONS", "LOCK", "EVENTS"]);
    for OneClaim { name, functions, lock, .. } in claims {
        table.add_row([
            Cell::new(talk::printable(name)),
            Cell::new(functions.join(" ")),
            Cell::new(talk::printable(&lock.words())),
            Cell::new(lock.events).set_alignment(CellAlignment::Right),
        ]);
    }
    table
}

fn look_around() -> anyhow::Result<Answer> {
    let folder = runtime::root();
    let mut answer = Answer {
        schema: "ringfence.status/1",
        folder: folder.clone(),
        fences: Vec::new(),
        stale: Vec::new(),
        claims: None,
    };
    for run in entries(&folder)? {
        let name = run.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let live = runtime::is_live(&run);
        for socket in entries(&run)? {
            if !socket.to_string_lossy().ends_with(SUFFIX) {
                continue;
            }
            match ask(&socket, PATIENCE) {
                Ok(status) => {
                    let vm = (!name.starts_with(BY_ITSELF)).then(|| name.clone());
                    answer.fences.push(Fence { vm, status });
                }
                Err(error) => {
                    let reason = match error.kind() {
                        ErrorKind::NotFound => continue,
                        _ if !live => "left behind by a run that is gone".to_owned(),
                        ErrorKind::TimedOut => "no answer within 2 s".to_owned(),
                        _ => error.to_string(),
                    };
                    answer.stale.push(Stale { socket, reason });
                }
            }
        }
    }
    Ok(answer)
}

/// How the folder of a fence that was put up by itself begins.
pub(super) const BY_ITSELF: &str = "fence-";

/// What is in a folder, sorted; nothing if it is not there or goes away meanwhile.
fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut paths = listed.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Who was refused what, and what was recovered from: a line each.
fn details(fences: &[Fence]) -> String {
    let mut text = String::new();
    for Fence { vm, status } in fences {
        let mut line = |words: String| {
            let whose = vm.as_ref().map_or_else(String::new, |vm| format!("{vm}/"));
            text.push_str(&format!(" {}{}\n", whose, talk::printable(&words)));
        };
        if status.reconnects > 0 {
            let (recovered, again) = (talk::times(status.reconnects), status.replayed);
            line(format!(
                "{}: recovered {recovered} from a backend's end, {again} requests given again",
                status.name
            ));
        }
        for offence in &status.offences {
            line(format!("{}: {}", status.name, offence.in_full()));
        }
    }
    text
}

fn table(fences: &[Fence]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "VM",
        "DEVICE",
        "STATE",
        "WINDOW",
        "IN USE",
        "GUEST MEMORY",
        "REQUESTS",
        "TO DEVICE",
        "TO GUEST",
        "REFUSED",
    ]);
    for Fence { vm, status } in fences {
        let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        table.add_row([
            Cell::new(vm.as_deref().unwrap_or("-")),
            Cell::new(talk::printable(&status.name)),
            Cell::new(match status.queues_throttled {
                0 => talk::printable(&status.state).to_string(),
                count => format!("{}, {count} throttled", talk::printable(&status.state)),
            }),
            number(Bytes(status.window_bytes).to_string()),
            number(Bytes(status.window_used_bytes).to_string()),
            number(Bytes(status.guest_memory_bytes).to_string()),
            number(status.requests.to_string()),
            number(Bytes(status.bytes_to_device).to_string()),
            number(Bytes(status.bytes_to_guest).to_string()),
            number(status.refused_count().to_string()),
        ]);
    }
    table
}
