//! What the host service tells: a line for people on standard error, or one of JSON on standard
//! output.
//!
//! A thread of its own tells, so that nobody who does not read holds up the watch; and no more than
//! so many lines a minute, so that a device that comes and goes does not fill a log. What is left out
//! is counted, and said.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringfence_device::{Event, What};
use serde::Serialize;

use crate::talk;

/// The name of the shape.
const SCHEMA: &str = "ringfence.event/1";

/// What waits to be told.
const WAITING_MAX: usize = 1024;

/// What is told a minute.
const LINES_A_MINUTE: u32 = 120;

const MINUTE: Duration = Duration::from_secs(60);

/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Something to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Notice {
    schema: &'static str,
    /// Whose; none if it concerns all.
    claim: Option<String>,
    event: &'static str,
    /// The function it is about, where it is about one.
    function: Option<String>,
    sentence: String,
}

impl Notice {
    /// Something about a claim.
    pub(super) fn new(
        claim: impl Into<String>,
        event: &'static str,
        sentence: impl Into<String>,
    ) -> Self {
        let claim = Some(claim.into());
        Self { schema: SCHEMA, claim, event, function: None, sentence: sentence.into() }
    }

    /// Something about all of them.
    pub(super) fn of_all(event: &'static str, sentence: String) -> Self {
        Self { schema: SCHEMA, claim: None, event, function: None, sentence }
    }
}

impl From<Event> for Notice {
    fn from(event: Event) -> Self {
        let function = match &event.what {
            What::Breach(breach) | What::Mended(breach) => Some(breach.function().to_string()),
            _ => None,
        };
        let (word, sentence) = (event.what.word(), event.what.to_string());
        Self { schema: SCHEMA, claim: event.claim, event: word, function, sentence }
    }
}

/// Takes what is to be told.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    waiting: SyncSender<Option<Notice>>,
    is_done: Arc<Mutex<Receiver<()>>>,
}

impl Teller {
    /// Starts telling: in JSON, or to people.
    pub(super) fn start(as_json: bool) -> Self {
        let (waiting, told) = sync_channel(WAITING_MAX);
        let (done, is_done) = sync_channel(1);
        std::thread::spawn(move || {
            tell_all(&told, |notice| say(notice, as_json));
            let _ = done.try_send(());
        });
        Self { waiting, is_done: Arc::new(Mutex::new(is_done)) }
    }

    /// Has it told, unless too much waits already.
    pub(super) fn tell(&self, notice: Notice) {
        // `ringfence status` shows how it is; nothing that holds up the watch is worth telling.
        let _ = self.waiting.try_send(Some(notice));
    }

    /// Waits until all is told, or too long.
    pub(super) fn finish(&self) {
        let _ = self.waiting.try_send(None);
        let is_done = self.is_done.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = is_done.recv_timeout(LAST_WORDS);
    }
}

/// Tells what comes, no more than so much a minute, until told to end.
fn tell_all(waiting: &Receiver<Option<Notice>>, mut say: impl FnMut(&Notice)) {
    let mut since = Instant::now();
    let (mut told, mut left_out) = (0, 0u64);
    let settle = |left_out: &mut u64, say: &mut dyn FnMut(&Notice)| {
        if *left_out > 0 {
            let sentence =
                format!("{left_out} more in the last minute were not told; see ringfence status");
            say(&Notice::of_all("left-out", sentence));
            *left_out = 0;
        }
    };
    loop {
        let notice = match waiting.recv_timeout(MINUTE.saturating_sub(since.elapsed())) {
            Ok(Some(notice)) => Some(notice),
            Ok(None) | Err(RecvTimeoutError::Disconnected) => {
                settle(&mut left_out, &mut say);
                return;
            }
            Err(RecvTimeoutError::Timeout) => None,
        };
        if since.elapsed() >= MINUTE {
            (since, told) = (Instant::now(), 0);
            settle(&mut left_out, &mut say);
        }
        match notice {
            // The last word is told, whatever came before.
            Some(notice) if told < LINES_A_MINUTE || notice.claim.is_none() => {
                told += 1;
                say(&notice);
            }
            Some(_) => left_out += 1,
            None => {}
        }
    }
}

fn say(notice: &Notice, as_json: bool) {
    if as_json {
        if let Ok(text) = serde_json::to_string(notice) {
            // Whoever read it has read enough; the claims are kept all the same.
            let _ = talk::data(&format!("{text}\n"));
        }
        return;
    }
    let sentence = talk::printable(&notice.sentence);
    match (&notice.claim, notice.event) {
        (Some(claim), _) => talk::say(format_args!("claim {}: {sentence}", talk::printable(claim))),
        (None, event) => talk::say(format_args!("{event}: {sentence}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_comes_and_goes_does_not_fill_a_log() {
        let (waiting, told) = sync_channel(4096);
        for number in 0..1000 {
            let notice = Notice::new("a", "breach", number.to_string());
            waiting.try_send(Some(notice)).expect("there is room");
        }
        waiting.try_send(Some(Notice::of_all("stopped", "it".to_owned()))).expect("there is room");
        waiting.try_send(None).expect("there is room");
        let mut lines = Vec::new();
        tell_all(&told, |notice| lines.push(notice.clone()));
        let said = usize::try_from(LINES_A_MINUTE).expect("small");
        assert_eq!(lines.len(), said + 2);
        assert_eq!(lines[said].event, "stopped");
        assert!(lines[said + 1].sentence.starts_with("880 more"), "{:?}", lines[said + 1]);
    }
}
