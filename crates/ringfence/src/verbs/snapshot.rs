//! `snapshot`: everything `--from` needs of a host, in one file.

use std::path::Path;

use ringfence_host::Fact;

use crate::cli::Snapshot;
use crate::exit::Exit;
use crate::{host_source, talk};

pub(crate) fn run(arguments: &Snapshot) -> anyhow::Result<Exit> {
    let root = arguments.from.as_deref().unwrap_or(Path::new("/"));
    let host = host_source::snapshot(root, &arguments.file, arguments.wake)?;
    let unread = host.functions.values().filter(|one| matches!(one.acs, Fact::Unknown(_))).count();
    talk::say(format_args!("{} functions", host.functions.len()));
    if let Some(one) = host.functions.values().find(|one| matches!(one.acs, Fact::Unknown(_)))
        && let Fact::Unknown(why) = one.acs
    {
        talk::say(format_args!(
            "of {unread} of them the registers that isolation turns on are not in it: {} is {why}",
            one.address
        ));
    }
    for remark in &host.remarks {
        talk::say(talk::printable(remark));
    }
    Ok(Exit::Ok)
}
