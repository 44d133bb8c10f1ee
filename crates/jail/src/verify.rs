//! What box this process is in already, whoever made it.

use std::fs;

use ringfence_refusal::Refusal;
use rustix::fs::{Access, StatVfsMountFlags, access, statvfs};

use crate::capabilities;
use crate::enter::check;
use crate::filter;
use crate::report::{Protection, Report};

/// Where each kind of namespace shows, and the number that the host's own has on every Linux, where
/// it has one.
const NAMESPACES: [(Protection, &str, Option<u64>); 6] = [
    (Protection::UserNamespace, "user", Some(0xEFFF_FFFD)),
    (Protection::MountNamespace, "mnt", None),
    (Protection::ProcessNamespace, "pid", Some(0xEFFF_FFFC)),
    (Protection::NetworkNamespace, "net", None),
    (Protection::IpcNamespace, "ipc", Some(0xEFFF_FFFF)),
    (Protection::NameNamespace, "uts", Some(0xEFFF_FFFE)),
];

/// Says what holds this process now. Changes nothing; what cannot be told is missing, with the
/// reason. The program begins its `main` with [`crate::become_if_asked`].
pub fn verify() -> Report {
    let mut report = Report::empty();
    for (kind, _, _) in NAMESPACES {
        match is_apart(kind) {
            Some(true) => report.held(kind),
            Some(false) => report.lacks(kind, "it is the host's"),
            None => report.lacks(kind, "it cannot be told whether it is the host's"),
        }
    }
    match seccomp_mode() {
        Some(2) => match filter::lets_through() {
            Ok(passed) if passed.is_empty() => report.held(Protection::SystemCalls),
            Ok(passed) => {
                let reason = format!("the filter lets {} through", passed.join(" and "));
                report.lacks(Protection::SystemCalls, reason);
            }
            Err(reason) => report.lacks(Protection::SystemCalls, reason),
        },
        _ => report.lacks(Protection::SystemCalls, "there is no filter"),
    }
    match rustix::thread::no_new_privs() {
        Ok(true) => report.held(Protection::NoNewPrivileges),
        _ => report.lacks(Protection::NoNewPrivileges, "it may gain some"),
    }
    match capabilities::present() {
        Ok(present) if present.is_empty() => report.held(Protection::Capabilities),
        Ok(present) => report.lacks(Protection::Capabilities, capabilities::names(present)),
        Err(errno) => report.lacks(Protection::Capabilities, errno.to_string()),
    }
    // The kernel does not say. A root folder that its mode lets us list and that cannot be listed
    // is held by rules.
    let by_mode = access("/", Access::READ_OK).is_ok();
    match fs::read_dir("/") {
        Err(error) if by_mode && error.kind() == std::io::ErrorKind::PermissionDenied => {
            report.held(Protection::FileRules);
        }
        _ => report.lacks(Protection::FileRules, "the root folder can be listed"),
    }
    report
}

/// Says what holds this process now, and refuses if that is not what a fence is to be held by.
///
/// What has no trace that could be looked for (limits, descriptors, rules) is not asked for.
///
/// # Errors
///
/// `RF0501` with what is missing.
pub fn verify_for_fence() -> Result<Report, Refusal> {
    let report = verify();
    let required = [
        Protection::MountNamespace,
        Protection::NetworkNamespace,
        Protection::SystemCalls,
        Protection::NoNewPrivileges,
        Protection::Capabilities,
    ];
    check(&required.into(), &report)?;
    Ok(report)
}

/// Whether this process is in another namespace of that kind than the host, where it can be told.
pub(crate) fn is_apart(kind: Protection) -> Option<bool> {
    let (_, name, host) = NAMESPACES.into_iter().find(|(listed, ..)| *listed == kind)?;
    let own = number(&format!("/proc/self/ns/{name}"))?;
    match host {
        Some(host) => Some(own != host),
        // As far as we can see, the host is who is process 1.
        None => match number(&format!("/proc/1/ns/{name}")) {
            Some(first) => Some(own != first),
            None => by_its_looks(kind),
        },
    }
}

/// Where the host's own namespace is not shown to us: a network without any interface but its own
/// end, and a root that cannot be written, are no host's. Anything else tells nothing.
fn by_its_looks(kind: Protection) -> Option<bool> {
    let is_apart = match kind {
        Protection::NetworkNamespace => {
            let interfaces = fs::read_to_string("/proc/self/net/dev").ok()?;
            let mut names = interfaces.lines().skip(2).filter_map(|line| line.split(':').next());
            names.all(|name| name.trim() == "lo")
        }
        Protection::MountNamespace => statvfs("/").ok()?.f_flag.contains(StatVfsMountFlags::RDONLY),
        _ => false,
    };
    is_apart.then_some(true)
}

/// The number in a link such as `net:[4026531840]`.
fn number(path: &str) -> Option<u64> {
    let link = fs::read_link(path).ok()?;
    let text = link.to_str()?;
    text.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

fn seccomp_mode() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Seccomp:")?.trim().parse().ok())
}
