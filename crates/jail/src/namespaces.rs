//! Namespaces: what a process cannot see it cannot reach.
//!
//! An ordinary user may make them only inside a user namespace, which therefore comes first. Root
//! makes them as root, so that what root may look up can be given, and enters a user namespace last
//! ([`enter_user_namespace_late`]): then what is left of root counts for nothing outside.

use std::os::fd::{AsFd, OwnedFd};

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::capabilities;
use crate::profile::Profile;
use crate::report::{Protection, Report};
use crate::verify::is_apart;

/// The kinds but the user namespace, which goes first or last.
const KINDS: [(Protection, CloneFlags); 5] = [
    (Protection::MountNamespace, CloneFlags::CLONE_NEWNS),
    (Protection::ProcessNamespace, CloneFlags::CLONE_NEWPID),
    (Protection::NetworkNamespace, CloneFlags::CLONE_NEWNET),
    (Protection::IpcNamespace, CloneFlags::CLONE_NEWIPC),
    (Protection::NameNamespace, CloneFlags::CLONE_NEWUTS),
];

/// What was entered, and what is still to be done about it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entered {
    /// The mounts are ours to change.
    pub(crate) mounts: bool,
    /// The next process started is the first of its namespace.
    pub(crate) processes: bool,
    /// A user namespace is to be entered once everything is set up.
    pub(crate) user_is_late: bool,
}

/// Enters what the profile wants. Only while there is one thread.
pub(crate) fn enter(profile: &Profile, report: &mut Report) -> Entered {
    let mut entered = Entered::default();
    let wants_user = profile.wanted.contains(&Protection::UserNamespace);
    if capabilities::may_administer() {
        entered.user_is_late = wants_user;
    } else if wants_user {
        enter_user_namespace(report);
    }
    for (kind, flag) in KINDS {
        if !profile.wanted.contains(&kind) {
            continue;
        }
        match unshare(flag) {
            Ok(()) => {
                entered.mounts |= kind == Protection::MountNamespace;
                entered.processes |= kind == Protection::ProcessNamespace;
                report.held(kind);
            }
            // Whoever started us may have made the box already, and forbidden us to make another.
            Err(_) if kind != Protection::MountNamespace && is_apart(kind) == Some(true) => {
                report.held_but(kind, "made by who started us");
            }
            Err(errno) => report.lacks(kind, why_not(errno)),
        }
    }
    entered
}

/// Enters a user namespace in which we are who we were, and may make the others.
fn enter_user_namespace(report: &mut Report) {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    if let Err(errno) = unshare(CloneFlags::CLONE_NEWUSER) {
        return report.lacks(Protection::UserNamespace, why_not(errno));
    }
    let outcome = rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|proc| write_maps(&proc, user, group));
    match outcome {
        Ok(()) => report.held(Protection::UserNamespace),
        Err(error) => report.lacks(Protection::UserNamespace, format!("id maps: {error}")),
    }
}

/// Enters a user namespace when everything else is set up. `proc` is the host's `/proc`.
pub(crate) fn enter_user_namespace_late(proc: &OwnedFd, report: &mut Report) {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let outcome = unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(why_not)
        .and_then(|()| write_maps(proc, user, group).map_err(|error| format!("id maps: {error}")));
    match outcome {
        Ok(()) => report.held(Protection::UserNamespace),
        Err(reason) => report.lacks(Protection::UserNamespace, reason),
    }
}

/// Maps the one user and the one group we are to themselves.
fn write_maps(proc: impl AsFd, user: u32, group: u32) -> std::io::Result<()> {
    let write = |file: &str, text: &str| {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&proc, format!("self/{file}"), flags, Mode::empty())?;
        rustix::io::write(&opened, text.as_bytes())?;
        std::io::Result::Ok(())
    };
    write("setgroups", "deny")?;
    write("uid_map", &format!("{user} {user} 1"))?;
    write("gid_map", &format!("{group} {group} 1"))
}

fn why_not(errno: nix::Error) -> String {
    match errno {
        nix::Error::EPERM | nix::Error::EACCES => {
            "the host does not let this user make one".to_owned()
        }
        nix::Error::ENOSPC => {
            "the host's limit on them is reached (user.max_*_namespaces)".to_owned()
        }
        nix::Error::EINVAL => "the kernel is built without them".to_owned(),
        other => other.desc().to_owned(),
    }
}
