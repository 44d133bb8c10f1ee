//! Somebody's end: who it was, how it came, what was said last.

use std::process::ExitStatus;

use ringfence_vmm::child::describe_exit;

use super::crew::{Member, Role};
use crate::exit::Exit;
use crate::talk::Trouble;

/// A process of the run that has ended, with what is left of it.
pub(super) struct Departed {
    member: Box<Member>,
    status: ExitStatus,
}

impl Departed {
    pub(super) fn new(member: Member, status: ExitStatus) -> Self {
        Self { member: Box::new(member), status }
    }

    pub(super) fn role(&self) -> Role {
        self.member.role
    }

    /// It ended by itself and without complaint.
    pub(super) fn in_peace(&self) -> bool {
        self.status.success()
    }

    /// "the backend of disk died: exit code 1".
    pub(super) fn sentence(&self) -> String {
        format!("{} {}", self.member.child.name(), self.how())
    }

    /// Waits until everything it said has been passed on.
    pub(super) fn wait_for_words(&self) {
        self.member.wait_for_words();
    }

    /// All there is to say about it, once everything it said has come.
    pub(super) fn into_death(self) -> Death {
        self.member.wait_for_words();
        Death {
            who: self.member.child.name().to_owned(),
            how: self.how(),
            last_words: self.member.words.last_lines(),
            command: Some(self.member.command),
        }
    }

    fn how(&self) -> String {
        if self.in_peace() {
            "ended while it was needed".to_owned()
        } else {
            format!("died: {}", describe_exit(self.status))
        }
    }
}

/// Somebody's end, or failure to begin.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) who: String,
    pub(super) how: String,
    pub(super) last_words: Vec<String>,
    pub(super) command: Option<String>,
}

impl Death {
    /// "the backend of disk died: exit code 1".
    pub(super) fn sentence(&self) -> String {
        format!("{} {}", self.who, self.how)
    }

    /// The same, with why it is not tried again.
    pub(super) fn and(mut self, why: &str) -> Self {
        self.how = format!("{}, {why}", self.how);
        self
    }
}

impl From<&Death> for Trouble {
    fn from(death: &Death) -> Self {
        let mut what = death.sentence();
        if !death.last_words.is_empty() {
            what.push_str("; its last words:");
            for line in &death.last_words {
                what.push_str("\n    ");
                what.push_str(line);
            }
        }
        let advice = if death.last_words.is_empty() {
            "it said nothing: see what ended it (the kernel's log tells of memory running out)"
        } else {
            "put right what it complains about"
        };
        let next = match &death.command {
            Some(command) => format!("{advice}; by hand it is\n    {command}"),
            None => "start who should listen there, then try again".to_owned(),
        };
        Self::new(Exit::Environment, what, next)
    }
}
