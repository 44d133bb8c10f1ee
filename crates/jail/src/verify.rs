//! What box this process is in already, whoever made it.

use std::fs;

use rustix::fs::{Access, access};

use crate::capabilities;
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

/// Says what holds this process now. Looks only; what cannot be told is missing, with the reason.
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
        Some(2) => report.held(Protection::SystemCalls),
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

/// Whether this process is in another namespace of that kind than the host, where it can be told.
pub(crate) fn is_apart(kind: Protection) -> Option<bool> {
    let (_, name, host) = NAMESPACES.into_iter().find(|(listed, ..)| *listed == kind)?;
    let own = number(&format!("/proc/self/ns/{name}"))?;
    match host {
        Some(host) => Some(own != host),
        // As far as we can see, the host is who is process 1.
        None => Some(own != number(&format!("/proc/1/ns/{name}"))?),
    }
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
