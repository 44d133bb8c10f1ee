//! What a process needs, as a value: everything else is taken from it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::report::Protection;

/// What a process needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// What is wanted, where the host can give it.
    pub wanted: BTreeSet<Protection>,
    /// Without which of them the process does not begin.
    pub required: BTreeSet<Protection>,
    /// The paths it may use.
    pub grants: Vec<Grant>,
    /// Whether it has a `/tmp` and a `/dev/shm` of its own.
    pub temporary: bool,
    /// Whether it may use the host's network.
    pub network: bool,
    /// The system calls it may make.
    pub calls: Calls,
    /// How much it may have of what is counted.
    pub limits: Limits,
    /// Whether root keeps its right to pass by file modes: for a process that must reach what
    /// belongs to another user, and may open nothing.
    pub keeps_file_override: bool,
}

/// A path and what may be done with it and everything beneath it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The path. A link is followed, and its name goes on working.
    pub path: PathBuf,
    /// What may be done.
    pub access: Access,
    /// Whether it is no matter if it is not there.
    pub optional: bool,
}

/// What may be done with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Files may be read and folders listed.
    pub read: bool,
    /// Files may be written, made and removed.
    pub write: bool,
    /// Files may be executed.
    pub execute: bool,
}

impl Access {
    /// Nothing but to connect to the sockets there.
    pub const CONNECT: Self = Self { read: false, write: false, execute: false };
    /// Reading only.
    pub const READ: Self = Self { read: true, write: false, execute: false };
    /// Reading and executing.
    pub const EXECUTE: Self = Self { read: true, write: false, execute: true };
    /// Reading and writing.
    pub const WRITE: Self = Self { read: true, write: true, execute: false };
}

impl Grant {
    /// `path`, which must be there.
    pub fn new(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access, optional: false }
    }

    /// `path`, if it is there.
    pub fn if_there(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access, optional: true }
    }
}

/// The system calls a process may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Calls {
    /// All but those no backend needs and escapes begin with.
    AllButDangerous,
    /// The few a fence makes once it is set up: it can open nothing and start nothing.
    Few,
}

/// How much a process may have of what is counted; `None` leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Open descriptors.
    pub open_files: Option<u64>,
    /// Processes and threads. Held only in a user namespace, where only its own are counted.
    pub processes: Option<u64>,
    /// Bytes of address space.
    pub address_space: Option<u64>,
    /// Bytes of any file it writes.
    pub file_size: Option<u64>,
}

/// Folders that hold programs and libraries on any Linux.
const PROGRAMS: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What the C library reads, and nothing that is anybody's secret.
const SETTINGS: &[&str] = &[
    "/etc/alternatives",
    "/etc/group",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/passwd",
];

/// What finding a host and trusting it takes besides.
const NETWORK_SETTINGS: &[&str] = &[
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];

/// Devices that are not devices.
const NODES: &[&str] = &["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

impl Profile {
    /// For a program that we do not know: it may execute what the system has, read what the C
    /// library reads, and has a temporary folder of its own. Add what it is there for.
    pub fn for_program(network: bool) -> Self {
        let mut wanted: BTreeSet<_> = Protection::ALL.into();
        if network {
            wanted.remove(&Protection::NetworkNamespace);
            wanted.remove(&Protection::NetworkRules);
        }
        let mut grants = Vec::new();
        let mut add = |paths: &[&str], access| {
            grants.extend(paths.iter().map(|path| Grant::if_there(path, access)));
        };
        add(PROGRAMS, Access::EXECUTE);
        add(SETTINGS, Access::READ);
        add(NODES, Access::WRITE);
        if network {
            add(NETWORK_SETTINGS, Access::READ);
        }
        Self {
            wanted,
            required: BTreeSet::new(),
            grants,
            temporary: true,
            network,
            calls: Calls::AllButDangerous,
            limits: Limits {
                open_files: Some(4096),
                processes: Some(1024),
                address_space: None,
                file_size: None,
            },
            keeps_file_override: false,
        }
    }

    /// For a fence that has its sockets: no file, no network, and few system calls; it may connect
    /// to sockets in `folders`.
    pub fn for_fence(folders: impl IntoIterator<Item = PathBuf>) -> Self {
        let mut wanted: BTreeSet<_> = Protection::ALL.into();
        // It starts no process, and has an id that others know it by.
        wanted.remove(&Protection::ProcessNamespace);
        // To root all sockets are open; in a user namespace those of other users would not be.
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            wanted.remove(&Protection::UserNamespace);
        }
        Self {
            wanted,
            required: BTreeSet::new(),
            grants: folders.into_iter().map(|path| Grant::new(path, Access::CONNECT)).collect(),
            temporary: false,
            network: false,
            calls: Calls::Few,
            limits: Limits {
                // Each of up to a thousand queues has a few.
                open_files: Some(16384),
                processes: None,
                address_space: None,
                // The kernel would count its window as a file.
                file_size: None,
            },
            keeps_file_override: is_root,
        }
    }

    /// The same, refusing to go on without any of what is wanted.
    #[must_use]
    pub fn require_all(mut self) -> Self {
        self.required.clone_from(&self.wanted);
        self
    }
}
