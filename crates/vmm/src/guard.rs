//! The few instructions a child process runs of ours before it becomes the program asked for.
//!
//! A child must not outlive us, whatever kills us: `kill -9` runs no destructor. Linux can send a
//! process a signal when its parent dies, but only the process itself can ask for that. So we start
//! *ourselves* with a marker in front of the real command; [`become_child_if_asked`] sees the marker,
//! asks for the signal, and replaces itself with the real program. That needs no `unsafe`, unlike
//! running code between fork and exec.
//!
//! It is also where a child enters its jail, for the same reason ([`ringfence_jail::launch`]).
//!
//! **Holes.** The signal is sent when the *thread* that started the child ends, not the process: start
//! children from a thread that lives as long as they should. It reaches the child only, not the
//! child's own children, and is lost by programs that gain privileges as they start (set-user-ID).

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, exit};
use std::sync::atomic::{AtomicBool, Ordering};

use ringfence_jail::{Profile, launch};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

/// The first argument that says the rest is a command to become.
const MARKER: &str = "--ringfence-become-child";

/// The same, in the jail that the environment says.
const MARKER_JAILED: &str = "--ringfence-become-jailed";

/// What a shell answers when a command could not be executed.
const EXIT_CANNOT_EXECUTE: i32 = 127;

/// The child found its parent gone before it began, so nobody is left to read this.
const EXIT_ORPHANED: i32 = 126;

/// Whether this process would honour the marker, were it started with it.
static HONOURED: AtomicBool = AtomicBool::new(false);

/// Becomes the program named on the command line, if this process was started for that.
///
/// Must be the first statement of `main` of any program that uses [`crate::Child`]; returns at once
/// in every other case.
pub fn become_child_if_asked() {
    HONOURED.store(true, Ordering::Relaxed);
    launch::become_if_asked();
    let mut arguments = std::env::args_os().skip(1);
    let is_jailed = match arguments.next() {
        Some(marker) if marker == MARKER => false,
        Some(marker) if marker == MARKER_JAILED => true,
        _ => return,
    };
    let Some(parent) = arguments.next().and_then(|text| text.to_str()?.parse::<i32>().ok()) else {
        not_for_you()
    };
    let Some(program) = arguments.next() else { not_for_you() };
    let rest: Vec<OsString> = arguments.collect();
    become_child(parent, is_jailed, &program, &rest)
}

fn not_for_you() -> ! {
    eprintln!("ringfence: {MARKER} and {MARKER_JAILED} are for Ringfence's own use");
    exit(2)
}

fn become_child(parent: i32, is_jailed: bool, program: &OsStr, arguments: &[OsString]) -> ! {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("ringfence: cannot tie {} to its parent: {error}", Path::new(program).display());
        exit(EXIT_CANNOT_EXECUTE);
    }
    // The parent may have died before the request was in place; then no signal will ever come.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        exit(EXIT_ORPHANED);
    }
    if is_jailed {
        launch::become_jailed(program, arguments);
    }
    let error = Command::new(program).args(arguments).exec();
    eprintln!("ringfence: cannot execute {}: {error}", Path::new(program).display());
    exit(EXIT_CANNOT_EXECUTE)
}

/// The command that makes a copy of this process become `program`, in a jail if one is given.
///
/// # Panics
///
/// When `main` did not begin with [`become_child_if_asked`]: the copy would run `main` again, start
/// another copy, and so on.
pub(crate) fn command_to_become(
    jail: Option<&Profile>,
    program: &OsStr,
    arguments: &[OsString],
) -> Command {
    assert!(
        HONOURED.load(Ordering::Relaxed),
        "a program that starts children begins its main with become_child_if_asked()"
    );
    // Not the path this program was started from: that may have been replaced since.
    let mut command = Command::new("/proc/self/exe");
    let own = rustix::process::getpid().as_raw_pid().to_string();
    match jail.map(serde_json::to_string) {
        None => command.arg(MARKER).arg(own),
        // A profile is plain data; an empty text is refused by the stage that reads it.
        Some(profile) => {
            command.env(launch::VARIABLE, profile.unwrap_or_default());
            command.arg(MARKER_JAILED).arg(own)
        }
    };
    command.arg(program).args(arguments);
    command
}
