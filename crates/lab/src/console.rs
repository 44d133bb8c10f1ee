//! What a machine said, as data.
//!
//! A guest's script prints records, `@@ key=value`, one per line; everything else is for people.

use std::fmt;

/// Everything on a machine's console so far.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Console {
    lines: Vec<String>,
}

/// What Linux says when it gives up.
const PANICS: &[&str] = &["Kernel panic - not syncing", "end Kernel panic"];

impl Console {
    /// The console's text, which may end in the middle of a line.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let lines = text.split('\n').map(|line| without_escapes(line.trim_end_matches('\r')));
        let mut lines: Vec<String> = lines.collect();
        if lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        Self { lines }
    }

    /// The lines, without their ends.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The last value printed for `key`.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.records().filter(|(found, _)| *found == key).map(|(_, value)| value).last()
    }

    /// Every record, in the order printed.
    pub fn records(&self) -> impl Iterator<Item = (&str, &str)> {
        // A message of the kernel's may stand in front of a record on the same line.
        self.lines.iter().filter_map(|line| line.split_once("@@ ")?.1.split_once('='))
    }

    /// The first line that contains `text`.
    pub fn find(&self, text: &str) -> Option<&str> {
        self.lines.iter().map(String::as_str).find(|line| line.contains(text))
    }

    /// The line with which the kernel gave up, if it did.
    pub fn panic(&self) -> Option<&str> {
        PANICS.iter().find_map(|panic| self.find(panic))
    }

    /// The last lines.
    pub fn tail(&self, count: usize) -> &[String] {
        &self.lines[self.lines.len().saturating_sub(count)..]
    }
}

impl fmt::Display for Console {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(formatter, "{line}"))
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "console of {} lines:\n{self}", self.lines.len())
    }
}

/// Firmware paints with terminal escapes; data has none.
fn without_escapes(line: &str) -> String {
    let mut clean = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\u{1b}' => {
                if characters.next_if_eq(&'[').is_some() {
                    let _ = characters.find(|character| character.is_ascii_alphabetic());
                } else {
                    characters.next();
                }
            }
            '\t' => clean.push(' '),
            character if character.is_control() => {}
            character => clean.push(character),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_among_talk_and_the_last_one_counts() {
        let console = Console::parse(
            b"hello\r\n@@ sum=12\r\n[ 1.0] noise @@ sum=a=b\r\n@@ nothing\r\n\x1b[2J\x1b[01;01H@@ x=1\r\npart",
        );
        assert_eq!(console.value("sum"), Some("a=b"));
        assert_eq!(console.value("x"), Some("1"));
        assert_eq!(console.value("absent"), None);
        assert_eq!(console.lines().len(), 6);
        assert_eq!(console.tail(1), ["part"]);
        assert_eq!(console.tail(100).len(), 6);
        assert_eq!(console.panic(), None);
    }
}
