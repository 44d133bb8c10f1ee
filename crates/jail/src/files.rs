//! Which files a process may use, and whom it may reach by TCP, signals and abstract sockets
//! (Landlock).
//!
//! Landlock holds with and without namespaces, and for users of every kind. What the running kernel
//! does not know is left out, and said.

use std::os::fd::AsFd;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus,
    PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    Scope,
};
use rustix::fs::{FileType, fstat};

use crate::profile::{Access, Grant, Profile};
use crate::report::{Protection, Report};

/// The newest version whose rules are meant here: all that they hold was looked at.
const NEWEST: ABI = ABI::V9;

/// The first versions that know TCP ports, and whom a process may signal.
const WITH_NETWORK: ABI = ABI::V4;
const WITH_SCOPES: ABI = ABI::V6;

/// The three kinds of rules, all made in one call.
const KINDS: [Protection; 3] =
    [Protection::FileRules, Protection::NetworkRules, Protection::ScopeRules];

/// Puts this thread, and the threads and processes it starts, under rules. There is no way back.
pub(crate) fn restrict(profile: &Profile, grants: &[Grant], report: &mut Report) {
    let wanted = KINDS.map(|kind| profile.wanted.contains(&kind));
    if !wanted.contains(&true) {
        return;
    }
    let status = try_restrict(profile, grants).map(|status| status.landlock);
    for kind in KINDS.into_iter().filter(|kind| profile.wanted.contains(kind)) {
        let since = match kind {
            Protection::NetworkRules => WITH_NETWORK,
            Protection::ScopeRules => WITH_SCOPES,
            _ => ABI::V1,
        };
        match &status {
            Ok(LandlockStatus::Available { effective_abi, .. }) => {
                let (has, needs) = (*effective_abi as i32, since as i32);
                if has < needs {
                    let reason = format!("needs Landlock version {needs}, the kernel has {has}");
                    report.lacks(kind, reason);
                } else if kind == Protection::FileRules && has < ABI::V3 as i32 {
                    report.held_but(kind, "truncating is not held before Landlock version 3");
                } else {
                    report.held(kind);
                }
            }
            Ok(LandlockStatus::NotEnabled) => {
                report.lacks(kind, "Landlock is not among the kernel's LSMs (lsm=…)");
            }
            Ok(LandlockStatus::NotImplemented) => {
                report.lacks(kind, "the kernel is built without Landlock");
            }
            Err(error) => report.lacks(kind, error.to_string()),
        }
    }
}

fn try_restrict(profile: &Profile, grants: &[Grant]) -> Result<RestrictionStatus, RulesetError> {
    let wants = |kind| profile.wanted.contains(&kind);
    let mut rules = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if wants(Protection::FileRules) {
        rules = rules.handle_access(AccessFs::from_all(NEWEST))?;
    }
    if wants(Protection::NetworkRules) {
        rules = rules.handle_access(AccessNet::from_all(NEWEST))?;
    }
    if wants(Protection::ScopeRules) {
        rules = rules.scope(Scope::from_all(NEWEST))?;
    }
    let mut rules = rules.create()?;
    if wants(Protection::FileRules) {
        for grant in grants {
            // What is not there is not given, and was looked for before.
            let Ok(path) = PathFd::new(&grant.path) else { continue };
            let is_folder = fstat(path.as_fd())
                .is_ok_and(|status| FileType::from_raw_mode(status.st_mode) == FileType::Directory);
            rules = rules.add_rule(PathBeneath::new(path, rights(grant.access, is_folder)))?;
        }
    }
    rules.restrict_self()
}

fn rights(access: Access, is_folder: bool) -> BitFlags<AccessFs> {
    let mut rights: BitFlags<AccessFs> = AccessFs::ResolveUnix.into();
    if access.read {
        rights |= AccessFs::ReadFile | AccessFs::ReadDir;
    }
    if access.execute {
        rights |= AccessFs::Execute;
    }
    if access.write {
        rights |= AccessFs::from_write(NEWEST) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    }
    if is_folder { rights } else { rights & AccessFs::from_file(NEWEST) }
}
