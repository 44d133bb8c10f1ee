//! `run`: backend, fence and VMM started in order, watched together, ended together.
//!
//! Everything that was started and every file that was made belongs to a value here, and goes when
//! that value goes, whatever the reason. Order matters and is that of the declarations: the folder
//! with the sockets goes last.

mod commands;
mod crew;
mod death;
mod grants;
mod life;
mod relay;
mod report;
mod restarts;
mod screen;
mod terminal;
mod watch;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use ringfence_refusal::Refusal;

use self::commands::{Commands, DeviceCommands};
use self::crew::{Crew, News, Role};
use self::life::Life;
use self::report::{Ending, Report};
use self::screen::Screen;
use self::terminal::Lent;
use self::watch::{Watch, look};
use crate::cli;
use crate::config::{self, ConsoleChoice, Vm};
use crate::exit::Exit;
use crate::runtime::RunFolder;
use crate::signals::StopRequests;
use crate::talk::Trouble;
use crate::{refusals, status, talk};

/// How long a backend or a fence has until it listens.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether it does.
const START_LOOK: Duration = Duration::from_millis(20);

/// How long a fence has to say how it is.
const STATUS_PATIENCE: Duration = Duration::from_millis(500);

pub(crate) fn run(arguments: &cli::Run) -> anyhow::Result<Exit> {
    let vm = config::load(&arguments.vm)?;
    if let Some(function) = vm.functions.first() {
        let detail =
            format!("{}, kind `pci`: it can be planned, and not yet run", function.address);
        return Err(Refusal::new(&refusals::KIND_NOT_YET, detail).into());
    }
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
    let mut lives = vm.devices.iter().map(Life::new).collect::<Vec<_>>();
    let lent = (vm.console == ConsoleChoice::Stdio).then(Lent::standard_input);
    let begun = Instant::now();
    let started = start(&mut crew, &vm, &commands, &screen, &mut lives);
    let outcome = started.and_then(|started| match started {
        Some(ending) => Ok(ending),
        None => {
            let (crew, lives) = (&mut crew, &mut lives[..]);
            Watch { crew, vm: &vm, commands: &commands, screen: &screen, lives }.until_it_ends()
        }
    });
    look(&commands, &screen, &mut lives);
    screen.settle();
    crew.dismiss(&commands.qmp_socket);
    drop(lent);
    drop(folder);
    let report = Report::new(&vm, lives, outcome?, begun.elapsed());
    report.show(arguments.json)?;
    match report.ending() {
        Ending::Died(trouble) => Err(Trouble::from(trouble).into()),
        _ => Ok(report.exit()),
    }
}

/// Starts everything; `Some` if it ended before all of it was up.
fn start(
    crew: &mut Crew,
    vm: &Vm,
    commands: &Commands,
    screen: &Screen,
    lives: &mut [Life],
) -> anyhow::Result<Option<Ending>> {
    for (index, (device, life)) in commands.devices.iter().zip(lives).enumerate() {
        let DeviceCommands { name, backend, fence, backend_socket, status_socket, .. } = device;
        if let Some(backend) = backend {
            life.jail = crew.hire(backend.spec(), Role::Backend(index))?;
            screen.show_jail(&format!("backend of {name}"), life.jail.as_ref());
        }
        let what = format!("the backend of {name}");
        let ready = || backend_socket.exists();
        if let Some(ending) = until(crew, ready, &what, &backend_socket.display().to_string())? {
            return Ok(Some(ending));
        }
        crew.hire(fence.spec(), Role::Fence(index))?;
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
            News::Ended(departed) => return Ok(Some(Ending::Died(departed.into_death()))),
        }
        if Instant::now() >= deadline {
            let seconds = START_PATIENCE.as_secs();
            let how = format!("did not listen on {socket} within {seconds} s");
            return Ok(Some(Ending::Died(crew.blame(what, how))));
        }
    }
}

/// The path of the program we are, to start it again as a fence.
fn own_program() -> anyhow::Result<std::path::PathBuf> {
    std::env::current_exe().context("cannot find the program ringfence itself")
}
