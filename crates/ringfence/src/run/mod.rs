//! `run`: backend, fence and VMM started in order, watched together, ended together.
//!
//! Everything that was started and every file that was made belongs to a value here, and goes when
//! that value goes, whatever the reason. Order matters and is that of the declarations: the folder
//! with the sockets goes last.

mod commands;
mod crew;
mod grants;
mod relay;
mod report;
mod screen;
mod terminal;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use self::commands::{Commands, DeviceCommands};
use self::crew::{Crew, News, Role};
use self::report::{Ending, Report};
use self::screen::Screen;
use self::terminal::Lent;
use crate::cli;
use crate::config::{self, ConsoleChoice, Vm};
use crate::exit::Exit;
use crate::runtime::RunFolder;
use crate::signals::StopRequests;
use crate::status::FenceStatus;
use crate::talk::Trouble;
use crate::{status, talk};

/// How long a backend or a fence has until it listens.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether it does.
const START_LOOK: Duration = Duration::from_millis(20);

/// How often the fences are asked how they are.
const TICK: Duration = Duration::from_millis(300);

/// How long a fence has to say how it is.
const STATUS_PATIENCE: Duration = Duration::from_millis(500);

/// How long after a helper that ended in peace the VMM may end, too, for that to be one event.
const AFTERMATH: Duration = Duration::from_millis(700);

pub(crate) fn run(arguments: &cli::Run) -> anyhow::Result<Exit> {
    let vm = config::load(&arguments.vm)?;
    let stop = StopRequests::listen()?;
    let folder = RunFolder::claim(&vm.name)?;
    let commands = Commands::plan(&vm, &folder)?;
    if arguments.dry_run {
        talk::data(&commands.to_string())?;
        return Ok(Exit::Ok);
    }
    commands.check_programs()?;
    let screen = Arc::new(Screen::new(&vm, arguments.json, stop.handle()?));
    let mut crew = Crew::new(stop, Arc::clone(&screen));
    let mut watched = vm.devices.iter().map(|_| None).collect::<Vec<Option<FenceStatus>>>();
    let lent = (vm.console == ConsoleChoice::Stdio).then(Lent::standard_input);
    let begun = Instant::now();
    let mut jails = Vec::new();
    let started = start(&mut crew, &vm, &commands, &screen, &mut jails);
    let outcome = started.and_then(|started| match started {
        Some(ending) => Ok(ending),
        None => watch(&mut crew, &vm, &commands, &screen, &mut watched),
    });
    look(&commands, &screen, &mut watched);
    screen.settle();
    crew.dismiss(&commands.qmp_socket);
    drop(lent);
    drop(folder);
    let report = Report::new(&vm, watched, jails, outcome?, begun.elapsed());
    report.show(arguments.json)?;
    match report.ending() {
        Ending::Died(trouble) => Err(Trouble::from(trouble).into()),
        _ => Ok(report.exit()),
    }
}

/// Starts everything; `jails` gets what holds each backend. `Some` if it ended before all of it was
/// up.
fn start(
    crew: &mut Crew,
    vm: &Vm,
    commands: &Commands,
    screen: &Screen,
    jails: &mut Vec<Option<ringfence_jail::Report>>,
) -> anyhow::Result<Option<Ending>> {
    for DeviceCommands { name, backend, fence, backend_socket, status_socket, .. } in
        &commands.devices
    {
        let mut jail = None;
        if let Some(backend) = backend {
            jail = crew.hire(backend.spec(), Role::Backend)?;
            screen.show_jail(&format!("backend of {name}"), jail.as_ref());
        }
        jails.push(jail);
        let what = format!("the backend of {name}");
        let ready = || backend_socket.exists();
        if let Some(ending) = until(crew, ready, &what, &backend_socket.display().to_string())? {
            return Ok(Some(ending));
        }
        crew.hire(fence.spec(), Role::Fence)?;
        let answer = RefCell::new(None);
        let ready = || {
            *answer.borrow_mut() = status::ask(status_socket, STATUS_PATIENCE).ok();
            answer.borrow().is_some()
        };
        let what = format!("the fence of {name}");
        if let Some(ending) = until(crew, ready, &what, &status_socket.display().to_string())? {
            return Ok(Some(ending));
        }
        let jail = answer.into_inner().and_then(|answer| answer.jail);
        screen.show_jail(&format!("fence of {name}"), jail.as_ref());
    }
    let role = match vm.console {
        ConsoleChoice::Log => Role::Vmm,
        ConsoleChoice::Stdio => Role::VmmWithTerminal,
    };
    crew.hire(commands.vmm.spec(), role)?;
    Ok(None)
}

/// Waits until `ready`; `Some` if the run ended instead.
fn until(
    crew: &mut Crew,
    ready: impl Fn() -> bool,
    what: &str,
    socket: &str,
) -> anyhow::Result<Option<Ending>> {
    let deadline = Instant::now() + START_PATIENCE;
    loop {
        if ready() {
            return Ok(None);
        }
        match crew.wait(START_LOOK)? {
            News::Nothing => {}
            News::AskedToStop => return Ok(Some(Ending::Stopped)),
            News::Ended(death) => return Ok(Some(Ending::Died(death))),
        }
        if Instant::now() >= deadline {
            let seconds = START_PATIENCE.as_secs();
            let how = format!("did not listen on {socket} within {seconds} s");
            return Ok(Some(Ending::Died(crew.blame(what, how))));
        }
    }
}

/// Watches until something ends.
fn watch(
    crew: &mut Crew,
    vm: &Vm,
    commands: &Commands,
    screen: &Screen,
    watched: &mut [Option<FenceStatus>],
) -> anyhow::Result<Ending> {
    screen.say(&format!(
        "{}: up, {} fenced; Ctrl-C ends it",
        vm.name,
        match vm.devices.len() {
            1 => "1 device".to_owned(),
            count => format!("{count} devices"),
        }
    ));
    let mut next_look = Instant::now();
    loop {
        if Instant::now() >= next_look {
            look(commands, screen, watched);
            next_look = Instant::now() + TICK;
        }
        match crew.wait(next_look.saturating_duration_since(Instant::now()))? {
            News::Nothing => {}
            News::AskedToStop if screen.output_is_closed() => return Ok(Ending::OutputClosed),
            News::AskedToStop => return Ok(Ending::Stopped),
            News::Ended(death) if death.is_vmm && death.in_peace => return Ok(Ending::GuestEnded),
            // Some backends end when their VMM does, and are noticed first.
            News::Ended(death) if death.in_peace && crew.vmm_ends_in_peace(AFTERMATH)? => {
                return Ok(Ending::GuestEnded);
            }
            News::Ended(death) => return Ok(Ending::Died(death)),
        }
    }
}

/// Asks every fence how it is. One that does not answer keeps its last answer.
fn look(commands: &Commands, screen: &Screen, watched: &mut [Option<FenceStatus>]) {
    for (index, device) in commands.devices.iter().enumerate() {
        if let Ok(answer) = status::ask(&device.status_socket, STATUS_PATIENCE) {
            screen.show(index, &answer);
            watched[index] = Some(answer);
        }
    }
}

/// The path of the program we are, to start it again as a fence.
fn own_program() -> anyhow::Result<std::path::PathBuf> {
    std::env::current_exe().context("cannot find the program ringfence itself")
}
