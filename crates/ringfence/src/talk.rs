//! What is said to people, on standard error, and what is given to programs, on standard output.
//!
//! Nothing that comes from a guest or a backend reaches a terminal with its control characters:
//! [`printable`] is for that.

use std::fmt;
use std::io::Write;

use anstyle::{AnsiColor, Style};
use ringfence_refusal::{Failure, Fault, Refusal};

use crate::config::Problems;
use crate::exit::Exit;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NEXT: Style = Style::new().bold();

/// Something that went wrong outside the catalogues, with what to do next.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) exit: Exit,
    what: String,
    next: String,
}

impl Trouble {
    pub(crate) fn new(exit: Exit, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self { exit, what: what.into(), next: next.into() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)
    }
}

impl std::error::Error for Trouble {}

/// Nobody reads our standard output any more.
#[derive(Debug)]
pub(crate) struct OutputClosed;

impl fmt::Display for OutputClosed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("standard output was closed")
    }
}

impl std::error::Error for OutputClosed {}

/// Writes data to standard output, as it is.
pub(crate) fn data(text: &str) -> anyhow::Result<()> {
    let mut output = anstream::stdout().lock();
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        outcome => Ok(outcome?),
    }
}

/// Writes a value to standard output as indented JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    data(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Says a line to whoever looks on. Nobody may.
pub(crate) fn say(line: impl fmt::Display) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// Says what went wrong, and what to do next.
pub(crate) fn complain(error: &anyhow::Error) {
    if error.is::<OutputClosed>() {
        return;
    }
    say(format_args!("{ERROR}error:{ERROR:#} {}", whole(error)));
    if let Some(next) = next_step(error) {
        say(format_args!("  {NEXT}next:{NEXT:#} {next}"));
    }
}

/// The whole chain of an error on one line.
fn whole(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // Wrappers that pass their inner message on would say it twice.
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn next_step(error: &anyhow::Error) -> Option<String> {
    for cause in error.chain() {
        if cause.is::<Problems>() {
            // Each problem has said its own.
            return None;
        } else if let Some(trouble) = cause.downcast_ref::<Trouble>() {
            return Some(trouble.next.clone());
        } else if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return Some(of_refusal(refusal));
        } else if let Some(Failure::Refused(refusal)) = cause.downcast_ref::<Failure>() {
            return Some(of_refusal(refusal));
        } else if let Some(Failure::Faulted(fault)) = cause.downcast_ref::<Failure>() {
            return Some(of_system(fault.io_error()));
        } else if let Some(fault) = cause.downcast_ref::<Fault>() {
            return Some(of_system(fault.io_error()));
        } else if let Some(error) = cause.downcast_ref::<std::io::Error>() {
            return Some(of_system(error));
        }
    }
    Some("run the same command again with what the message names put right".to_owned())
}

fn of_refusal(refusal: &Refusal) -> String {
    format!("{} (`ringfence explain {}` says more)", refusal.remedy(), refusal.code())
}

fn of_system(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::NotFound => "check that the path is right and that what it names is there",
        ErrorKind::PermissionDenied => "run it as a user who may do that, or change who may",
        ErrorKind::ConnectionRefused => "start who should be listening there, then try again",
        ErrorKind::TimedOut => "see whether the other side is stuck; restart it if it is",
        _ => "put right what the system minds, then try again",
    }
    .to_owned()
}

/// `text` without escape sequences and control characters, safe to show on a terminal.
pub(crate) fn printable(text: &str) -> String {
    anstream::adapter::strip_str(text)
        .to_string()
        .chars()
        .filter(|&c| c == '\t' || !c.is_control())
        .collect()
}

/// As [`printable`], line by line.
pub(crate) fn printable_lines(text: &str) -> String {
    text.lines().map(|line| printable(line) + "\n").collect()
}

/// "once", "twice", "3 times".
pub(crate) fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn what_a_guest_prints_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mred\u{1b}[0m\tb\u{7}\r"), "ared\tb");
        assert_eq!(printable("\u{1b}]0;title\u{7}x\u{9b}2J"), "x2J");
    }

    #[test]
    fn an_error_says_each_thing_once_and_what_to_do_next() {
        let fault = Fault::new("open", "/x", std::io::Error::from_raw_os_error(2));
        let outcome: Result<(), _> = Err(Failure::from(fault));
        let error = outcome.context("while starting").expect_err("it is an error");
        assert_eq!(
            whole(&error),
            "while starting: cannot open /x: No such file or directory (os error 2)"
        );
        assert!(next_step(&error).is_some_and(|next| next.starts_with("check that the path")));
    }
}
