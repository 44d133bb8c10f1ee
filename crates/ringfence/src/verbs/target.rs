//! `target`: which holder may map whose memory.

use comfy_table::{Cell, CellAlignment, Table, presets};
use ringfence_device::Root;
use serde::Serialize;

use crate::exit::Exit;
use crate::serve::client::Service;
use crate::size::Bytes;
use crate::talk::Trouble;
use crate::targets::{Line, Target, TargetState};
use crate::{cli, talk};

#[derive(Serialize)]
struct Answer {
    schema: &'static str,
    targets: Vec<TargetState>,
}

pub(crate) fn run(asked: cli::Target) -> anyhow::Result<Exit> {
    match asked {
        cli::Target::List { json, at } => {
            let targets = ask(&at.root(), Target::List)?;
            match json {
                true => talk::json(&Answer { schema: "ringfence.targets/1", targets })?,
                false => show(&targets)?,
            }
        }
        cli::Target::Add(line) => {
            let cli::AddTarget { owner, holder, memory, rights, quota, at } = line;
            let line = Line { owner, holder, memory, rights, quota_bytes: quota };
            ask(&at.root(), Target::Add(line))?;
        }
        cli::Target::Remove { owner, holder, revoke, at } => {
            ask(&at.root(), Target::Remove { owner, holder, revoke })?;
        }
    }
    Ok(Exit::Ok)
}

fn ask(root: &Root, asked: Target) -> anyhow::Result<Vec<TargetState>> {
    match Service::find(root)? {
        Some(service) => service.ask_for_targets(asked),
        None => {
            let what = "no host service runs that we may ask: it has the target lists";
            Err(Trouble::new(Exit::Unreachable, what, "start it: ringfence serve").into())
        }
    }
}

fn show(targets: &[TargetState]) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["OWNER", "HOLDER", "MEMORY", "RIGHTS", "QUOTA", "MAPPED"]);
    for TargetState { line, owner_is_there, holder_is_there, mapped_bytes } in targets {
        let gone = |name: &str, is_there: bool| match is_there {
            true => Cell::new(talk::printable(name)),
            false => Cell::new(format!("{} (not there)", talk::printable(name))),
        };
        let quota =
            line.quota_bytes.map_or_else(|| "-".to_owned(), |bytes| Bytes(bytes).to_string());
        table.add_row([
            gone(&line.owner, *owner_is_there),
            gone(&line.holder, *holder_is_there),
            Cell::new(line.memory.as_deref().unwrap_or("all")),
            Cell::new(&line.rights),
            Cell::new(quota).set_alignment(CellAlignment::Right),
            Cell::new(Bytes(*mapped_bytes)).set_alignment(CellAlignment::Right),
        ]);
    }
    talk::data(&format!("{table}\n"))
}
