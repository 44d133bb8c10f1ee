//! What a box holds: one entry per protection, and why where it does not.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One way of holding a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protection {
    /// Its user's rights count for nothing outside, and no right it gains does.
    UserNamespace,
    /// It sees no file but those it was given.
    MountNamespace,
    /// It sees no process but its own, and all of them end with the first.
    ProcessNamespace,
    /// It has no network, and reaches no abstract socket.
    NetworkNamespace,
    /// It reaches no shared memory, semaphores or queues of others.
    IpcNamespace,
    /// It cannot change the host's name.
    NameNamespace,
    /// It may use no file but those it was given (Landlock).
    FileRules,
    /// It may use no TCP port (Landlock).
    NetworkRules,
    /// It may signal and connect to nobody outside (Landlock).
    ScopeRules,
    /// It may make no system call that it does not need (seccomp).
    SystemCalls,
    /// It cannot gain rights by executing a program.
    NoNewPrivileges,
    /// It has no capabilities.
    Capabilities,
    /// What is counted is limited, and no core is dumped.
    Limits,
    /// It inherited no descriptor it was not given.
    Descriptors,
}

impl Protection {
    /// All of them, in the order they are reported.
    pub const ALL: [Self; 14] = [
        Self::UserNamespace,
        Self::MountNamespace,
        Self::ProcessNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::NameNamespace,
        Self::FileRules,
        Self::NetworkRules,
        Self::ScopeRules,
        Self::SystemCalls,
        Self::NoNewPrivileges,
        Self::Capabilities,
        Self::Limits,
        Self::Descriptors,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::UserNamespace => "user-namespace",
            Self::MountNamespace => "mount-namespace",
            Self::ProcessNamespace => "process-namespace",
            Self::NetworkNamespace => "network-namespace",
            Self::IpcNamespace => "ipc-namespace",
            Self::NameNamespace => "name-namespace",
            Self::FileRules => "file-rules",
            Self::NetworkRules => "network-rules",
            Self::ScopeRules => "scope-rules",
            Self::SystemCalls => "system-calls",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Capabilities => "capabilities",
            Self::Limits => "limits",
            Self::Descriptors => "descriptors",
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How it stands with a protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// In force.
    Held,
    /// Wanted, and not in force.
    Missing,
    /// Not asked for.
    NotWanted,
}

/// One protection in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which.
    pub protection: Protection,
    /// How it stands.
    pub standing: Standing,
    /// Why it is missing, or what of it is.
    pub reason: Option<String>,
}

/// How it stands with every protection, in the order of [`Protection::ALL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report(Vec<Entry>);

impl Report {
    /// Nothing wanted yet.
    pub(crate) fn empty() -> Self {
        let entry = |protection| Entry { protection, standing: Standing::NotWanted, reason: None };
        Self(Protection::ALL.map(entry).into())
    }

    /// All entries.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// How it stands with `protection`.
    pub fn standing(&self, protection: Protection) -> Standing {
        let entry = self.0.iter().find(|entry| entry.protection == protection);
        entry.map_or(Standing::NotWanted, |entry| entry.standing)
    }

    /// Whether `protection` is in force.
    pub fn holds(&self, protection: Protection) -> bool {
        self.standing(protection) == Standing::Held
    }

    /// What was wanted and is not in force.
    pub fn missing(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(|entry| entry.standing == Standing::Missing)
    }

    pub(crate) fn held(&mut self, protection: Protection) {
        self.set(protection, Standing::Held, None);
    }

    pub(crate) fn held_but(&mut self, protection: Protection, reason: impl Into<String>) {
        self.set(protection, Standing::Held, Some(reason.into()));
    }

    pub(crate) fn lacks(&mut self, protection: Protection, reason: impl Into<String>) {
        self.set(protection, Standing::Missing, Some(reason.into()));
    }

    fn set(&mut self, protection: Protection, standing: Standing, reason: Option<String>) {
        for entry in self.0.iter_mut().filter(|entry| entry.protection == protection) {
            entry.standing = standing;
            entry.reason.clone_from(&reason);
        }
    }
}

/// "jailed", or "jailed without user-namespace (why), file-rules (why)".
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("jailed")?;
        let mut separator = " without ";
        for entry in self.missing() {
            let reason = entry.reason.as_deref().unwrap_or("no reason given");
            write!(formatter, "{separator}{} ({reason})", entry.protection)?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_missing_and_why() {
        let mut report = Report::empty();
        report.held(Protection::FileRules);
        assert_eq!(report.to_string(), "jailed");
        report.lacks(Protection::UserNamespace, "the host refuses it");
        report.lacks(Protection::Limits, "no");
        assert_eq!(
            report.to_string(),
            "jailed without user-namespace (the host refuses it), limits (no)"
        );
        assert!(report.holds(Protection::FileRules) && !report.holds(Protection::Limits));
        assert_eq!(report.standing(Protection::SystemCalls), Standing::NotWanted);
    }

    #[test]
    fn names_are_the_same_in_json() {
        for protection in Protection::ALL {
            let json = serde_json::to_string(&protection).expect("a name");
            assert_eq!(json, format!("\"{protection}\""));
        }
    }
}
