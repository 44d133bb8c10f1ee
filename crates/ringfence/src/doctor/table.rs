//! Checks for people: the worst last, where a terminal shows it, each with what to do.

use anstyle::{AnsiColor, Style};

use super::check::{Check, Status};
use super::report::verdict;
use crate::talk::printable;

fn word(status: Status) -> (&'static str, Style) {
    match status {
        Status::Pass => ("PASS", AnsiColor::Green.on_default()),
        Status::Warn => ("WARN", AnsiColor::Yellow.on_default()),
        Status::Fail => ("FAIL", AnsiColor::Red.on_default().bold()),
    }
}

pub(crate) fn table(checks: &[Check]) -> String {
    let mut sorted: Vec<&Check> = checks.iter().collect();
    sorted.sort_by_key(|check| check.status);
    let width = checks.iter().map(|check| check.subject.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in sorted {
        let (name, style) = word(check.status);
        let (subject, finding) = (printable(&check.subject), printable(&check.finding));
        text.push_str(&format!(
            "{style}{name}{style:#}  {}  {subject:width$}  {finding}\n",
            check.code
        ));
        for line in check.remedy.iter().flat_map(|remedy| remedy.lines()) {
            text.push_str(&format!("      -> {}\n", printable(line)));
        }
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let (name, style) = word(verdict(checks));
    text.push_str(&format!(
        "{style}{name}{style:#}: {} fail, {} warn, {} pass\n",
        count(Status::Fail),
        count(Status::Warn),
        count(Status::Pass),
    ));
    text
}
