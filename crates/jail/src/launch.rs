//! Starting a program in a box of its own.
//!
//! The program is reached in stages, each of them this program started again, so that nothing has
//! to happen between fork and exec. The *outer* stage enters the namespaces. Only a process started
//! after that is in the process namespace, so it starts the *first* process there
//! (`init.rs`), which closes the box, starts the program in it, and ends with it. Where there
//! is no process namespace, the outer stage closes the box and becomes the program.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio, exit};

use nix::sys::signal::SigSet;
use ringfence_refusal::{Failure, Fault};
use serde::{Deserialize, Serialize};

pub use crate::channel::Listener;
use crate::channel::{Said, say};
use crate::namespaces::{self, Entered};
use crate::profile::Profile;
use crate::report::{Protection, Report};
use crate::root::Resolved;
use crate::{capabilities, descriptors, enter, filter, init};

/// The first argument that says the rest is for the first process of a namespace.
pub(crate) const MARKER: &str = "--ringfence-first-process";

/// The variable in which stages are told what jail to make: as an argument it would fill the list of
/// processes. The program never has it.
pub const VARIABLE: &str = "RINGFENCE_JAIL";

/// What a shell answers when a command could not be executed.
pub(crate) const EXIT_CANNOT_EXECUTE: i32 = 127;

/// What the outer stage leaves to the first process.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Rest {
    pub(crate) profile: Profile,
    pub(crate) grants: Vec<Resolved>,
    pub(crate) entered: Entered,
    pub(crate) report: Report,
}

/// Both ends of what a box says: the first stays, the other is the standard input of the process
/// that calls [`become_jailed`].
///
/// # Errors
///
/// A fault when there are no sockets to be had.
pub fn channel() -> Result<(Listener, Stdio), Fault> {
    Listener::pair().map_err(|error| Fault::new("make", "a pair of sockets", error))
}

/// Becomes the first process of a namespace, or tries what a filter lets through, if this process
/// was started for that.
///
/// To be called at the beginning of `main`; returns at once in every other case.
pub fn become_if_asked() {
    filter::try_if_asked();
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(MARKER)) {
        return;
    }
    let (Some(rest), Some(program)) = (from_variable(), arguments.next()) else {
        eprintln!("ringfence: {MARKER} is for Ringfence's own use");
        exit(2);
    };
    init::run(&rest, &program, &arguments.collect::<Vec<_>>())
}

/// What the stage before left in [`VARIABLE`].
fn from_variable<T: serde::de::DeserializeOwned>() -> Option<T> {
    serde_json::from_str(std::env::var_os(VARIABLE)?.to_str()?).ok()
}

/// Puts `program` into a box and becomes it, or waits for it and ends as it does.
///
/// [`VARIABLE`] holds the [`Profile`] as JSON. Standard input must be the end that [`channel`] gave;
/// the program's is empty. The process
/// descends from `main` begun with [`become_if_asked`].
pub fn become_jailed(program: &OsStr, arguments: &[OsString]) -> ! {
    let Some(profile) = from_variable() else {
        eprintln!("ringfence: {VARIABLE} holds no jail");
        exit(2);
    };
    let failure = match try_become(&profile, program, arguments) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    say(&Said::from(&failure));
    exit(EXIT_CANNOT_EXECUTE)
}

fn try_become(
    profile: &Profile,
    program: &OsStr,
    arguments: &[OsString],
) -> Result<std::convert::Infallible, Failure> {
    descriptors::close_inherited()?;
    let grants = enter::resolve(profile)?;
    let mut report = Report::empty();
    let entered = namespaces::enter(profile, &mut report);
    if !entered.processes {
        let report = enter::inside(profile, &grants, entered, report)?;
        say(&Said::Jailed(report));
        let error = program_command(program, arguments).exec();
        cannot_execute(program, &error);
    }
    if report.holds(Protection::UserNamespace) {
        let fault = |errno| Fault::new("keep", "the rights to make a jail", errno);
        capabilities::carry_over_exec().map_err(fault)?;
    }
    let rest = Rest { profile: profile.clone(), grants, entered, report };
    let rest = serde_json::to_string(&rest)
        .map_err(|error| Fault::new("describe", "the jail", std::io::Error::other(error)))?;
    // What ends the program is sent to all of its group, and reaches it without our help.
    let _ = SigSet::all().thread_block();
    let mut first = Command::new("/proc/self/exe")
        .arg(MARKER)
        .arg(program)
        .args(arguments)
        .env(VARIABLE, rest)
        .spawn()
        .map_err(|error| Fault::new("start", "the first process of the jail", error))?;
    exit(first.wait().map_or(EXIT_CANNOT_EXECUTE, init::code))
}

/// The program as it is begun inside.
pub(crate) fn program_command(program: &OsStr, arguments: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_remove(VARIABLE).stdin(Stdio::null());
    command
}

/// Says that the program could not be begun, and ends.
pub(crate) fn cannot_execute(program: &OsStr, error: &std::io::Error) -> ! {
    let program = Path::new(program).display();
    eprintln!(
        "ringfence: cannot execute {program} in its jail: {error} (it, and the interpreter it \
         names, must be granted)"
    );
    exit(EXIT_CANNOT_EXECUTE)
}
