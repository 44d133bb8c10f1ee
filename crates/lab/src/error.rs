//! How a machine failed, with all it takes to look into it.

use std::fmt;
use std::path::PathBuf;

use crate::console::Console;

/// A machine that did not do what it was asked to.
pub struct LabError {
    /// What went wrong, in a line.
    pub summary: String,
    /// What the machine had said until then.
    pub console: Console,
    /// Commands to have running first: its backends.
    pub backends: Vec<String>,
    /// The command that starts the same machine again, to paste into a shell.
    pub command: String,
    /// Where the files it needs were kept.
    pub kept: Option<PathBuf>,
}

/// How much of the console a report shows.
const TAIL: usize = 30;

impl fmt::Display for LabError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.summary)?;
        if self.command.is_empty() {
            return Ok(());
        }
        writeln!(formatter)?;
        let tail = self.console.tail(TAIL);
        if tail.is_empty() {
            writeln!(formatter, "its console said nothing")?;
        } else {
            let all = self.console.lines().len();
            writeln!(formatter, "the end of its console ({} of {all} lines):", tail.len())?;
            for line in tail {
                writeln!(formatter, "  | {line}")?;
            }
        }
        if let Some(kept) = &self.kept {
            writeln!(formatter, "the files it needs were kept in {}", kept.display())?;
        }
        write!(formatter, "to repeat it by hand:")?;
        for backend in &self.backends {
            write!(formatter, "\n  {backend} &")?;
        }
        write!(formatter, "\n  {}", self.command)
    }
}

// Tests print errors with `{:?}`; what is for people should look the same there.
impl fmt::Debug for LabError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for LabError {}

impl LabError {
    /// What it takes to start a machine was not there.
    pub(crate) fn before_start(name: &str, error: &anyhow::Error) -> Self {
        Self {
            summary: format!("the machine `{name}` was not started: {error:#}"),
            console: Console::default(),
            backends: Vec::new(),
            command: String::new(),
            kept: None,
        }
    }
}
