//! What a filter of system calls that somebody else made is worth.
//!
//! That a process has a filter says little: systemd makes one for `LockPersonality=yes` alone. So
//! calls are tried that nobody in a box needs, that change nothing, and that an ordinary user may
//! make as long as no filter says otherwise. A filter may answer by killing, so they are tried by
//! this program started once more.

use std::ffi::OsStr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio, exit};

use nix::sys::ptrace;
use nix::unistd::Pid;
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};

/// The first argument that says a call is to be tried.
const MARKER: &str = "--ringfence-try-call";

/// A call, and whether it reaches the kernel's own code.
type Trial = (&'static str, fn() -> bool);

const TRIALS: [Trial; 2] = [("ptrace", reaches_ptrace), ("open_tree", reaches_open_tree)];

/// How the copy of this program ends when the call was let through, and when it was not.
const LET_THROUGH: i32 = 0;
const REFUSED: i32 = 1;

/// The calls no box should allow that this process's filter lets through.
///
/// # Errors
///
/// Why it cannot be told.
pub(crate) fn lets_through() -> Result<Vec<&'static str>, String> {
    let mut passed = Vec::new();
    for (name, _) in TRIALS {
        let status = Command::new("/proc/self/exe")
            .args([MARKER, name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|error| format!("what it lets through cannot be tried: {error}"))?;
        match (status.code(), status.signal()) {
            (Some(LET_THROUGH), _) => passed.push(name),
            (Some(REFUSED), _) | (_, Some(libc::SIGSYS)) => {}
            _ => return Err(format!("what it lets through was not told: {status}")),
        }
    }
    Ok(passed)
}

/// Tries a call, if this process was started for that.
pub(crate) fn try_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(MARKER)) {
        return;
    }
    let asked = arguments.next().unwrap_or_default();
    match TRIALS.iter().find(|(name, _)| asked == *name) {
        Some((_, reaches)) if reaches() => exit(LET_THROUGH),
        Some(_) => exit(REFUSED),
        None => exit(2),
    }
}

/// There is no process -1, and the kernel says so to whoever may ask.
fn reaches_ptrace() -> bool {
    ptrace::attach(Pid::from_raw(-1)) == Err(nix::Error::ESRCH)
}

/// Opening without cloning needs no rights.
fn reaches_open_tree() -> bool {
    open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLOEXEC).is_ok()
}
