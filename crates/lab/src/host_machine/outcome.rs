//! What came of the cases in a host, carried over its console.
//!
//! Bytes travel as base 64, in lines short enough for any terminal, one record each.

use std::fmt;

use anyhow::{Context, Result, bail};

use crate::console::Console;

/// What the guest's script begins with: a quiet kernel, and the function that carries a file over.
pub(super) const PREPARATION: &str = "\
dmesg -n 1
carry() { base64 -w 100 \"$2\" | sed \"s/^/@@ $1=/\"; }";

/// Lines of shell that run `command` and carry over what it printed.
pub(super) fn script(number: usize, command: &str) -> String {
    format!(
        "( {command}\n) > /tmp/case-out 2> /tmp/case-err < /dev/null\n\
         echo \"@@ case-{number}-status=$?\"\n\
         carry case-{number}-out /tmp/case-out\n\
         carry case-{number}-err /tmp/case-err"
    )
}

/// How a command ended and what it printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code; above 128, the signal that ended it.
    pub status: u8,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// What came of every case in a host.
#[derive(Debug)]
pub struct HostReport {
    console: Console,
    outcomes: Vec<(String, Outcome)>,
}

impl HostReport {
    pub(super) fn read(names: &[String], console: Console) -> Result<Self> {
        let mut outcomes = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let status = console.value(&format!("case-{number}-status"));
            let status = status
                .and_then(|status| status.parse().ok())
                .with_context(|| format!("the case `{name}` has no status:\n{console}"))?;
            let text = |stream: &str| {
                let key = format!("case-{number}-{stream}");
                let parts = console.records().filter(|(found, _)| *found == key);
                decode(parts.flat_map(|(_, part)| part.bytes()))
                    .with_context(|| format!("{stream} of the case `{name}`"))
            };
            let outcome = Outcome { status, stdout: text("out")?, stderr: text("err")? };
            outcomes.push((name.clone(), outcome));
        }
        Ok(Self { console, outcomes })
    }

    /// Everything the machine said, the cases' bytes in their wrapping.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// What came of the case `name`.
    pub fn outcome(&self, name: &str) -> Result<&Outcome> {
        let found = self.outcomes.iter().find(|(found, _)| found == name);
        found.map(|(_, outcome)| outcome).with_context(|| format!("there is no case `{name}`"))
    }

    /// The standard output of the case `name` as text, which must have ended well.
    pub fn text(&self, name: &str) -> Result<&str> {
        let outcome = self.outcome(name)?;
        if outcome.status != 0 {
            bail!("the case `{name}` failed: {outcome:?}");
        }
        std::str::from_utf8(&outcome.stdout).with_context(|| format!("the case `{name}`"))
    }

    /// The standard output of the case `name` as JSON; it must have ended well.
    pub fn json(&self, name: &str) -> Result<serde_json::Value> {
        serde_json::from_str(self.text(name)?).with_context(|| format!("the case `{name}`"))
    }
}

impl fmt::Debug for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stdout = String::from_utf8_lossy(&self.stdout);
        let stderr = String::from_utf8_lossy(&self.stderr);
        write!(formatter, "status {}\n{stdout}\non standard error:\n{stderr}", self.status)
    }
}

fn decode(text: impl Iterator<Item = u8>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut pending, mut bits) = (0u32, 0u32);
    for letter in text.filter(|letter| *letter != b'=') {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("the byte {letter:#04x} is no base 64"),
        };
        pending = pending << 6 | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let [.., byte] = (pending >> bits).to_be_bytes();
            bytes.push(byte);
            pending &= (1 << bits) - 1;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_over_as_they_were() {
        let console = Console::parse(
            b"@@ case-0-status=3\n@@ case-0-out=AAECAwT/\n[ 1.0] noise @@ case-0-out=/g==\n",
        );
        let report = HostReport::read(&["one".to_owned()], console).expect("well formed");
        let outcome = report.outcome("one").expect("it ran");
        assert_eq!(outcome.stdout, [0, 1, 2, 3, 4, 255, 254]);
        assert_eq!((outcome.status, outcome.stderr.len()), (3, 0));
        let error = report.text("one").expect_err("it failed");
        assert!(error.to_string().contains("status 3"), "{error}");
        assert!(report.outcome("two").is_err());
    }

    #[test]
    fn what_was_lost_on_the_way_is_noticed() {
        let names = ["one".to_owned()];
        let cut = Console::parse(b"@@ case-0-out=AAEC\n");
        assert!(HostReport::read(&names, cut).is_err());
        let garbled = Console::parse(b"@@ case-0-status=0\n@@ case-0-out=AA[12]C\n");
        assert!(HostReport::read(&names, garbled).is_err());
    }
}
