//! What to make of what a fence says about itself: who lied, what was recovered from, what was not.

use std::fmt;

use ringfence_refusal::Code;
use ringfence_virtio::refusals::{
    BACKEND_GIVEN_UP, BACKEND_GONE as GONE, BAD_USED_INDEX, UNKNOWN_COMPLETION,
};

use crate::status::{BACKEND_DISTRUSTED, BACKEND_GONE, FenceStatus, Offence, WAITING};

/// What backends are called in offences.
const BACKEND: &str = "backend";

/// Refusals of a backend's that end the service of a queue, and are no accident.
const LIES: [&Code; 2] = [&BAD_USED_INDEX, &UNKNOWN_COMPLETION];

impl FenceStatus {
    /// Whether a VMM is connected.
    pub(crate) fn has_vmm(&self) -> bool {
        self.state != WAITING
    }

    /// Whether the fence has a VMM and takes its backend to be there.
    pub(crate) fn has_backend(&self) -> bool {
        ![WAITING, BACKEND_GONE, BACKEND_DISTRUSTED].contains(&self.state.as_str())
    }

    /// What the backend lied about, if it did.
    pub(crate) fn lie(&self) -> Option<&Offence> {
        let is_distrusted = self.state == BACKEND_DISTRUSTED;
        let of_backend = |offence: &&Offence| offence.peer == BACKEND && !offence.is_an_end();
        let is_lie = |offence: &&Offence| LIES.iter().any(|code| offence.has(code));
        let mut offences = self.offences.iter().filter(of_backend);
        offences.clone().find(is_lie).or_else(|| offences.next_back().filter(|_| is_distrusted))
    }

    /// Why the fence looks for no other backend any more, if it does not.
    pub(crate) fn given_up(&self) -> Option<&Offence> {
        self.offences.iter().find(|offence| offence.has(&BACKEND_GIVEN_UP))
    }

    /// What was refused, apart from backends that ended and were succeeded: under a VMM that stayed,
    /// or before it came again, as QEMU does when the end falls into its setting the device up.
    pub(crate) fn refused(&self) -> impl Iterator<Item = &Offence> {
        let succeeded = self.reconnects > 0 || self.sessions > 1;
        let is_recovered = succeeded && self.state != BACKEND_GONE;
        self.offences.iter().filter(move |offence| !(is_recovered && offence.has(&GONE)))
    }

    /// Whether anything was.
    pub(crate) fn has_refused(&self) -> bool {
        self.refused().next().is_some()
    }

    /// How much was.
    pub(crate) fn refused_count(&self) -> u64 {
        self.refused().fold(0, |sum, offence| sum.saturating_add(offence.count))
    }
}

impl Offence {
    /// Whether it is the end of a backend, which is no lie.
    pub(crate) fn is_an_end(&self) -> bool {
        self.has(&GONE) || self.has(&BACKEND_GIVEN_UP)
    }

    /// "refused the backend: RF0212 completion of no request: id 7 (3 times)".
    pub(crate) fn sentence(&self) -> String {
        let times = match self.count {
            0 | 1 => String::new(),
            count => format!(" ({count} times)"),
        };
        format!("refused the {}: {self}{times}", self.peer)
    }

    /// The same, with the first time and the last.
    pub(crate) fn in_full(&self) -> String {
        let Self { peer, code, name, count, first, last } = self;
        match count {
            0 | 1 => self.sentence(),
            count => format!(
                "refused the {peer} {count} times: {code} {name}; first: {first}; last: {last}"
            ),
        }
    }

    fn has(&self, code: &Code) -> bool {
        self.code == code.to_string()
    }
}

/// "RF0212 completion of no request: id 7".
impl fmt::Display for Offence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.code, self.name)?;
        match self.last.as_str() {
            "" => Ok(()),
            last => write!(formatter, ": {last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use ringfence_virtio::refusals::{BACKEND_REFUSES, BAD_CHAIN, PEER_SILENT, USED_LENGTH};

    use super::*;

    fn status(state: &str, reconnects: u64, offences: &[(&str, &Code)]) -> FenceStatus {
        let offences: Vec<_> = offences
            .iter()
            .map(|(peer, code)| {
                let (code, name) = (code.to_string(), code.name);
                serde_json::json!({
                    "peer": peer, "code": code, "name": name, "count": 1, "first": "", "last": ""
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "schema": "", "name": "", "pid": 1, "listen": "", "backend": "", "state": state,
            "window_bytes": 0, "window_used_bytes": 0, "guest_memory_bytes": 0, "queues": 0,
            "requests": 0, "in_flight": 0, "bytes_to_device": 0, "bytes_to_guest": 0,
            "refusals": 0, "last_refusal": null, "sessions": 0, "reconnects": reconnects,
            "replayed": 0, "masked_features": [], "offences": offences
        }))
        .expect("a status")
    }

    #[test]
    fn a_lie_is_what_a_queue_was_stopped_or_a_backend_distrusted_for() {
        for (state, peer, code, is_lie) in [
            (BACKEND_GONE, BACKEND, &BAD_USED_INDEX, true),
            (BACKEND_GONE, BACKEND, &UNKNOWN_COMPLETION, true),
            (BACKEND_DISTRUSTED, BACKEND, &BACKEND_REFUSES, true),
            (BACKEND_DISTRUSTED, BACKEND, &PEER_SILENT, true),
            // Said no to something, or was wrong about something that was put right.
            (BACKEND_GONE, BACKEND, &BACKEND_REFUSES, false),
            (BACKEND_GONE, BACKEND, &USED_LENGTH, false),
            (BACKEND_GONE, BACKEND, &GONE, false),
            (BACKEND_GONE, BACKEND, &BACKEND_GIVEN_UP, false),
            (BACKEND_GONE, "guest", &BAD_CHAIN, false),
            (BACKEND_DISTRUSTED, "VMM", &PEER_SILENT, false),
        ] {
            let status = status(state, 0, &[(peer, code)]);
            assert_eq!(status.lie().is_some(), is_lie, "{state}, {peer}, {code}");
        }
    }

    #[test]
    fn the_end_of_a_backend_counts_unless_it_was_recovered_from() {
        let count =
            |state, reconnects, offences: &[_]| status(state, reconnects, offences).refused_count();
        let end = (BACKEND, &GONE);
        assert_eq!(count(WAITING, 1, &[end]), 0);
        assert_eq!(count(WAITING, 0, &[end]), 1);
        assert_eq!(count(BACKEND_GONE, 1, &[end]), 1);
        assert_eq!(count(WAITING, 1, &[end, (BACKEND, &BACKEND_GIVEN_UP)]), 1);
        assert_eq!(count(WAITING, 1, &[end, ("guest", &BAD_CHAIN)]), 1);
        let mut again = status(WAITING, 0, &[end]);
        again.sessions = 2;
        assert_eq!(again.refused_count(), 0, "its VMM came again and found a successor");
        again.state = BACKEND_GONE.to_owned();
        assert_eq!(again.refused_count(), 1);
    }
}
