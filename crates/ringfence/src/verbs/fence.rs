//! `fence vhost-user`: one fence by itself, from its sockets to its last word.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::Path;

use ringfence_jail::{Profile, Report};
use ringfence_refusal::Failure;
use ringfence_vmm::device::DeviceKind;
use ringfence_vmm::qemu::{VhostUserDevice, snippet};

use super::status::BY_ITSELF;
use crate::cli::{FenceVhostUser, Jail};
use crate::exit::Exit;
use crate::fence;
use crate::runtime::RunFolder;
use crate::signals::StopRequests;
use crate::size::Bytes;
use crate::socket::Socket;
use crate::sweeper::Sweeper;
use crate::teller::Teller;
use crate::{status, talk};

pub(crate) fn run(arguments: &FenceVhostUser) -> anyhow::Result<Exit> {
    if enters_jail(arguments.jail) {
        // Before anything of ours is open.
        ringfence_jail::close_inherited()?;
    }
    let stop = StopRequests::listen()?;
    let (folder, status_path) = match &arguments.status {
        Some(path) => (None, path.clone()),
        None => {
            let folder = RunFolder::claim(&format!("{BY_ITSELF}{}", std::process::id()))?;
            let path = folder.socket(&format!("{}{}", arguments.name, status::SUFFIX))?;
            (Some(folder), path)
        }
    };
    let (listener, listen_socket) = Socket::bind(&arguments.listen)?;
    let mut fence = fence::Fence::new(listener, arguments)?;
    let (status_listener, status_socket) = Socket::bind(&status_path)?;
    let _sweeper = match enters_jail(arguments.jail) {
        true => {
            let folder = folder.as_ref().map(RunFolder::path);
            Some(Sweeper::start(&[listen_socket.path(), status_socket.path()], folder)?)
        }
        false => None,
    };
    // While there is one thread: from here on there are no files.
    if let Some(report) = enter_jail(arguments)? {
        if !arguments.quiet {
            talk::say(format_args!("{}: {report}", arguments.name));
        }
        fence.note_jail(report);
    }
    status::serve(status_listener, fence.observer());
    let observer = fence.observer();
    if !arguments.quiet {
        talk::say(format_args!(
            "{}: fence up at {}; {} can see {}",
            arguments.name,
            arguments.listen.display(),
            arguments.backend.display(),
            Bytes(arguments.window),
        ));
        show_what_to_add(arguments);
    }
    let teller = (!arguments.quiet).then(|| Teller::start(&arguments.name, fence.refusals()));
    let stopper = fence.stopper();
    std::thread::spawn(move || {
        // If signals cannot be waited for, stopping at once is the safe answer.
        let _ = stop.wait();
        stopper();
    });
    let outcome = fence.run();
    let last = observer();
    if let Some(teller) = teller {
        teller.finish();
    }
    if !arguments.quiet {
        talk::say(format_args!(
            "{}: fence down after {} sessions, {} requests, {} refused",
            arguments.name,
            last.sessions,
            last.requests,
            last.refused_count()
        ));
        if last.reconnects > 0 {
            talk::say(format_args!(
                "{}: recovered {} from a backend's end, {} requests given again",
                arguments.name,
                talk::times(last.reconnects),
                last.replayed
            ));
        }
    }
    outcome?;
    Ok(if last.has_refused() { Exit::No } else { Exit::Ok })
}

fn enters_jail(jail: Jail) -> bool {
    matches!(jail, Jail::On | Jail::Require)
}

/// Jails this process as far as the arguments say, and says what holds it.
fn enter_jail(arguments: &FenceVhostUser) -> Result<Option<Report>, Failure> {
    match arguments.jail {
        Jail::Off => return Ok(None),
        Jail::Verify => return Ok(Some(ringfence_jail::verify_for_fence()?)),
        Jail::On | Jail::Require => {}
    }
    let backend = std::path::absolute(&arguments.backend).unwrap_or(arguments.backend.clone());
    // If it is a link, what it leads to is elsewhere.
    let real = backend.canonicalize().unwrap_or_else(|_| backend.clone());
    let folders: BTreeSet<_> = [&backend, &real]
        .into_iter()
        .filter_map(|path| path.parent())
        .map(Path::to_owned)
        .collect();
    let mut profile = Profile::for_fence(folders);
    if arguments.jail == Jail::Require {
        profile = profile.require_all();
    }
    ringfence_jail::enter(&profile).map(Some)
}

/// Shows a person what to add to a QEMU command of their own.
fn show_what_to_add(arguments: &FenceVhostUser) {
    let disk = DeviceKind::named("blk").filter(|_| std::io::stderr().is_terminal());
    let Some(kind) = disk else { return };
    let device = VhostUserDevice {
        id: arguments.name.clone(),
        kind,
        socket: std::path::absolute(&arguments.listen).unwrap_or(arguments.listen.clone()),
        queues: None,
        properties: Vec::new(),
    };
    talk::say("to a QEMU command of your own add (here for a disk, and with its -m 1G):");
    for line in snippet(1 << 30, &device).lines() {
        talk::say(format_args!("  {line}"));
    }
}
