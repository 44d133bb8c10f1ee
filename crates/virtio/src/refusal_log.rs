//! What is said of refusals while they happen, however many there are.
//!
//! The first of each kind, a peer and a code, is said at once. What comes after it is counted, and
//! said once a period with its number; of the kinds that went on, only so many each time, those
//! that grew most first. So a peer writes at most one line per kind and then a few per period, and
//! nothing is left out of the numbers.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use crate::offences::{Offence, Peer};

/// How often what was repeated is said.
const PERIOD: Duration = Duration::from_secs(60);

/// Of how many kinds it is said each time.
const LINES_MAX: usize = 5;

/// Remembers what was said.
#[derive(Debug)]
pub struct RefusalLog {
    said: BTreeMap<(Peer, u16), u64>,
    next: Duration,
}

impl Default for RefusalLog {
    fn default() -> Self {
        Self { said: BTreeMap::new(), next: PERIOD }
    }
}

impl RefusalLog {
    /// The lines to say at `now`, counted from any fixed moment, of all that was refused so far.
    pub fn lines(&mut self, now: Duration, offences: &[Offence]) -> Vec<String> {
        let mut lines = self.firsts(offences);
        if now >= self.next {
            self.next = now.saturating_add(PERIOD);
            lines.extend(self.repeats(offences, LINES_MAX));
        }
        lines
    }

    /// The lines to say at the end: everything that was not said yet.
    pub fn last_lines(&mut self, offences: &[Offence]) -> Vec<String> {
        let mut lines = self.firsts(offences);
        lines.extend(self.repeats(offences, usize::MAX));
        lines
    }

    /// How many kinds were said.
    pub fn kinds(&self) -> usize {
        self.said.len()
    }

    /// How long until what was repeated is said.
    pub fn wait(&self, now: Duration) -> Duration {
        self.next.saturating_sub(now)
    }

    fn firsts(&mut self, offences: &[Offence]) -> Vec<String> {
        let mut lines = Vec::new();
        for offence in offences {
            if let Entry::Vacant(place) = self.said.entry(key(offence)) {
                place.insert(1);
                let what = about(offence, &offence.first);
                lines.push(format!("refused the {}: {what}", offence.peer));
            }
        }
        lines
    }

    fn repeats(&mut self, offences: &[Offence], most: usize) -> Vec<String> {
        let said = |offence: &Offence| self.said.get(&key(offence)).copied().unwrap_or(0);
        let mut grown: Vec<(u64, &Offence)> = offences
            .iter()
            .map(|offence| (offence.count.saturating_sub(said(offence)), offence))
            .filter(|(more, _)| *more > 0)
            .collect();
        grown.sort_by_key(|(more, _)| Reverse(*more));
        grown.truncate(most);
        for (_, offence) in &grown {
            self.said.insert(key(offence), offence.count);
        }
        let line = |(more, offence): (u64, &Offence)| {
            let last = about(offence, &offence.last);
            format!("refused the {} {} times more, the last: {last}", offence.peer, Grouped(more))
        };
        grown.into_iter().map(line).collect()
    }
}

fn key(offence: &Offence) -> (Peer, u16) {
    (offence.peer, offence.code.number)
}

/// A refusal as it prints, with one of its details.
fn about(offence: &Offence, detail: &str) -> String {
    let separator = if detail.is_empty() { "" } else { ": " };
    format!("{} {}{separator}{detail}", offence.code, offence.code.name)
}

/// A number with its thousands set apart: 12,345.
struct Grouped(u64);

impl std::fmt::Display for Grouped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                formatter.write_str(",")?;
            }
            write!(formatter, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ringfence_refusal::{Code, Refusal};

    use super::*;
    use crate::offences::Offences;
    use crate::refusals::{BAD_CHAIN, CATALOGUE, USED_LENGTH};

    fn enter(offences: &mut Offences, peer: Peer, code: &'static Code, count: u64) {
        for number in 0..count {
            offences.enter(peer, &Refusal::new(code, format!("number {number}")));
        }
    }

    #[test]
    fn the_first_is_said_at_once_and_the_rest_by_their_number() {
        let (mut log, mut offences) = (RefusalLog::default(), Offences::default());
        enter(&mut offences, Peer::Backend, &USED_LENGTH, 12_346);
        let first = "refused the backend: RF0213 completion longer than its buffers: number 0";
        assert_eq!(log.lines(Duration::ZERO, &offences.list()), [first]);
        assert_eq!(log.lines(Duration::from_secs(59), &offences.list()), [""; 0]);
        assert_eq!(log.wait(Duration::from_secs(59)), Duration::from_secs(1));
        let more = "refused the backend 12,345 times more, the last: \
                    RF0213 completion longer than its buffers: number 12345";
        assert_eq!(log.lines(Duration::from_secs(60), &offences.list()), [more]);
        assert_eq!(log.lines(Duration::from_secs(120), &offences.list()), [""; 0]);
        enter(&mut offences, Peer::Guest, &BAD_CHAIN, 1);
        assert_eq!(log.lines(Duration::from_secs(121), &offences.list()).len(), 1);
        assert_eq!(log.last_lines(&offences.list()), [""; 0]);
    }

    /// All peers do everything there is, again and again, for an hour.
    #[test]
    fn a_million_refusals_are_a_bounded_log_that_adds_up() {
        let (mut log, mut offences) = (RefusalLog::default(), Offences::default());
        let peers = [Peer::Guest, Peer::Vmm, Peer::Backend];
        let kinds = peers.len() * CATALOGUE.len();
        let mut lines = Vec::new();
        let mut total = 0u64;
        for second in 0..3600u64 {
            for peer in peers {
                for code in CATALOGUE {
                    enter(&mut offences, peer, code, 5);
                    total += 5;
                }
            }
            lines.extend(log.lines(Duration::from_secs(second), &offences.list()));
        }
        assert!(total > 1_000_000);
        assert_eq!(log.kinds(), kinds);
        assert_eq!(lines.len(), kinds + 59 * LINES_MAX);
        lines.extend(log.last_lines(&offences.list()));
        assert!(lines.len() <= 2 * kinds + 59 * LINES_MAX);
        let said: u64 = lines.iter().map(|line| number_in(line)).sum();
        assert_eq!(said, total, "every refusal is in one line's number");
    }

    fn number_in(line: &str) -> u64 {
        let words: Vec<&str> = line.split(' ').collect();
        let times = words.iter().position(|word| *word == "times");
        times.map_or(1, |at| words[at - 1].replace(',', "").parse().expect("a number"))
    }

    #[test]
    fn thousands_are_set_apart() {
        let grouped = |number| Grouped(number).to_string();
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345), "12,345");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }
}
