//! The first process of a box: closes it, starts the program, and ends with it.
//!
//! When the first process of a namespace ends, the kernel ends all others in it: nothing the program
//! started outlives it, however it tries. The first process itself ends when the program does, when
//! its parent does, and when whoever asked for the box is gone.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, exit};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use ringfence_refusal::{Failure, Fault};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, set_parent_process_death_signal, wait};

use crate::channel::{Said, say};
use crate::launch::{EXIT_CANNOT_EXECUTE, Rest, cannot_execute, program_command};
use crate::{descriptors, enter};

/// Never returns.
pub(crate) fn run(rest: &Rest, program: &OsStr, arguments: &[OsString]) -> ! {
    if let Err(failure) = prepare(rest) {
        say(&Said::from(&failure));
        exit(EXIT_CANNOT_EXECUTE);
    }
    let program_process = match program_command(program, arguments).spawn() {
        Ok(process) => Pid::from_child(&process),
        Err(error) => cannot_execute(program, &error),
    };
    // Only now, since the program inherits what is blocked. What ends before is reaped all the same.
    match children_end() {
        Ok(signals) => exit(watch(&signals, program_process)),
        Err(_) => exit(EXIT_CANNOT_EXECUTE),
    }
}

/// Everything up to the program's start.
fn prepare(rest: &Rest) -> Result<(), Failure> {
    let fault = |errno: Errno| Fault::new("tie", "the jail to its parent", errno);
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(fault)?;
    descriptors::close_inherited()?;
    // The stage before blocked them all. The first process of a namespace is ended by none that it
    // does not wait for, but the program is to be.
    let fault = |errno: nix::Error| {
        Fault::new("unblock", "signals", Errno::from_raw_os_error(errno as i32))
    };
    SigSet::all().thread_unblock().map_err(fault)?;
    let report = enter::inside(&rest.profile, &rest.grants, rest.entered, rest.report.clone())?;
    // Changes of what a process is allowed take the tie away.
    let fault = |errno: Errno| Fault::new("tie", "the jail to its parent", errno);
    set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).map_err(fault)?;
    say(&Said::Jailed(report));
    Ok(())
}

/// A descriptor that becomes readable when a child has ended.
fn children_end() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Reaps whatever ends until the program does, or nobody waits for it any more. The exit code.
fn watch(signals: &SignalFd, program: Pid) -> i32 {
    let asker = std::io::stdin();
    loop {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == program => {
                    let status = status.as_raw();
                    say(&Said::Ended(status));
                    return code(ExitStatus::from_raw(status));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(_) => return EXIT_CANNOT_EXECUTE,
            }
        }
        let mut set = [
            PollFd::new(&asker, PollFlags::empty()),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        let polled = poll(&mut set, None);
        let asker_is_gone = !set[0].revents().is_empty();
        if asker_is_gone || polled.is_err_and(|errno| errno != Errno::INTR) {
            return EXIT_CANNOT_EXECUTE;
        }
        while let Ok(Some(_)) = signals.read_signal() {}
    }
}

/// What a shell makes of how a process ended.
pub(crate) fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}
