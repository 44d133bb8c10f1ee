//! Entering a box: everything in the one order that works.
//!
//! Namespaces first, since what follows needs rights in them; then the file system, while paths can
//! still be looked up and mounted; then limits; then the rules that bind what is left, each of which
//! forbids making the one before it; system calls last.

use std::collections::BTreeSet;

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::namespaces::{self, Entered};
use crate::profile::{Grant, Profile};
use crate::refusals::{GRANT_NOT_THERE, PROTECTION_MISSING};
use crate::report::{Protection, Report};
use crate::root::{self, Resolved};
use crate::{calls, capabilities, descriptors, files, limits};

/// Puts this process into a box for good. Only while it has one thread.
///
/// The process goes on with its own id: processes of its own ([`Protection::ProcessNamespace`]) are
/// for programs started by [`crate::launch`].
///
/// # Errors
///
/// `RF0501` when something required is missing, `RF0502` when a path to grant is; a fault when a
/// step fails half way. The process is of no use after any of them.
pub fn enter(profile: &Profile) -> Result<Report, Failure> {
    let mut report = Report::empty();
    let mut profile = profile.clone();
    if profile.wanted.remove(&Protection::ProcessNamespace) {
        let reason = "only a program that is started can have one";
        report.lacks(Protection::ProcessNamespace, reason);
    }
    let grants = resolve(&profile)?;
    let entered = namespaces::enter(&profile, &mut report);
    inside(&profile, &grants, entered, report)
}

/// The paths granted, links followed.
pub(crate) fn resolve(profile: &Profile) -> Result<Vec<Resolved>, Failure> {
    root::resolve(&profile.grants).map_err(|(path, error)| {
        if error.kind() == std::io::ErrorKind::NotFound {
            return Refusal::new(&GRANT_NOT_THERE, path.display().to_string()).into();
        }
        Fault::new("look at", path.display().to_string(), error).into()
    })
}

/// The rest, once the namespaces are there.
pub(crate) fn inside(
    profile: &Profile,
    grants: &[Resolved],
    entered: Entered,
    mut report: Report,
) -> Result<Report, Failure> {
    let mut host_proc = None;
    if entered.mounts {
        host_proc = root::build(profile, grants, entered.processes, &mut report)?;
    }
    let has_own_root = host_proc.is_some();
    if entered.user_is_late {
        let proc = match host_proc {
            Some(proc) => Ok(proc),
            None => rustix::fs::open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()),
        };
        match proc {
            Ok(proc) => namespaces::enter_user_namespace_late(&proc, &mut report),
            Err(errno) => report.lacks(Protection::UserNamespace, format!("/proc: {errno}")),
        }
    }
    if profile.wanted.contains(&Protection::Descriptors) {
        match descriptors::were_closed() {
            true => report.held(Protection::Descriptors),
            false => report.lacks(Protection::Descriptors, "close_inherited was not called"),
        }
    }
    limits::lower(profile, &mut report);
    capabilities::drop_all(profile, &mut report);
    if profile.wanted.contains(&Protection::NoNewPrivileges) {
        match rustix::thread::set_no_new_privs(true) {
            Ok(()) => report.held(Protection::NoNewPrivileges),
            Err(errno) => report.lacks(Protection::NoNewPrivileges, errno.to_string()),
        }
    }
    // Others of the same user, in the same box or not, do not get at its memory or descriptors.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    let mut rules: Vec<Grant> = grants.iter().map(Resolved::grant).collect();
    rules.extend(root::further_grants(profile, has_own_root));
    files::restrict(profile, &rules, &mut report);
    calls::restrict(profile, &mut report);
    check(&profile.required, &report)?;
    Ok(report)
}

/// Refuses to go on without what is required.
pub(crate) fn check(required: &BTreeSet<Protection>, report: &Report) -> Result<(), Refusal> {
    let missing: Vec<_> = report
        .missing()
        .filter(|entry| required.contains(&entry.protection))
        .map(|entry| {
            format!("{} ({})", entry.protection, entry.reason.as_deref().unwrap_or("no reason"))
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(&PROTECTION_MISSING, missing.join(", ")))
}
