//! `status`: every fence that is up, as it says itself.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde::Serialize;

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
    let answer = look_around()?;
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
    Ok(Exit::Ok)
}

fn look_around() -> anyhow::Result<Answer> {
    let folder = runtime::root();
    let mut answer = Answer {
        schema: "ringfence.status/1",
        folder: folder.clone(),
        fences: Vec::new(),
        stale: Vec::new(),
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
