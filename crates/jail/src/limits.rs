//! Limits on what is counted.

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::profile::Profile;
use crate::report::{Protection, Report};

/// Lowers the limits of this process for good.
pub(crate) fn lower(profile: &Profile, report: &mut Report) {
    if !profile.wanted.contains(&Protection::Limits) {
        return;
    }
    let limits = &profile.limits;
    let mut failed = Vec::new();
    let mut apply = |resource, name: &str, most: Option<u64>| {
        if let Some(Err(errno)) = most.map(|most| lower_one(resource, most)) {
            failed.push(format!("{name}: {errno}"));
        }
    };
    apply(Resource::Core, "core dumps", Some(0));
    apply(Resource::Nofile, "open files", limits.open_files);
    apply(Resource::As, "address space", limits.address_space);
    apply(Resource::Fsize, "file size", limits.file_size);
    // Outside a user namespace of its own all processes of the user are counted, ours and others'.
    if report.holds(Protection::UserNamespace) {
        apply(Resource::Nproc, "processes", limits.processes);
    }
    if failed.is_empty() {
        report.held(Protection::Limits);
    } else {
        report.lacks(Protection::Limits, failed.join(", "));
    }
}

fn lower_one(resource: Resource, most: u64) -> Result<(), Errno> {
    let most = getrlimit(resource).maximum.map_or(most, |before| before.min(most));
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}
