//! Says what a fence refuses while it happens, on a thread of its own.
//!
//! The thread that serves only counts: nobody who does not read our standard error holds it up. How
//! much is said is up to [`RefusalLog`], so a peer cannot fill a log either.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ringfence_virtio::{Offence, RefusalLog};

use crate::talk;

/// Gives all that was refused so far, once it is of other than so many kinds or time is up.
type Refusals = Box<dyn Fn(usize, Duration) -> Vec<Offence> + Send + Sync>;

/// Tells people about one fence.
pub(crate) struct Teller(Arc<Telling>);

struct Telling {
    name: String,
    since: Instant,
    refusals: Refusals,
    log: Mutex<RefusalLog>,
}

impl Teller {
    /// Tells of the fence `name`, whose refusals are had from `refusals`.
    pub(crate) fn start(
        name: &str,
        refusals: impl Fn(usize, Duration) -> Vec<Offence> + Send + Sync + 'static,
    ) -> Self {
        let telling = Arc::new(Telling {
            name: name.to_owned(),
            since: Instant::now(),
            refusals: Box::new(refusals),
            log: Mutex::default(),
        });
        let teller = Self(Arc::clone(&telling));
        // It ends with the process.
        std::thread::spawn(move || telling.tell());
        teller
    }

    /// Says what was not said yet, as the fence is down.
    pub(crate) fn finish(&self) {
        let mut log = self.0.log();
        let offences = (self.0.refusals)(usize::MAX, Duration::ZERO);
        self.0.say(&log.last_lines(&offences));
    }
}

impl Telling {
    fn tell(&self) {
        loop {
            let (known, patience) = {
                let log = self.log();
                (log.kinds(), log.wait(self.since.elapsed()))
            };
            let offences = (self.refusals)(known, patience);
            let mut log = self.log();
            self.say(&log.lines(self.since.elapsed(), &offences));
        }
    }

    fn log(&self) -> MutexGuard<'_, RefusalLog> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, lines: &[String]) {
        for line in lines {
            talk::say(format_args!("{}: {}", self.name, talk::printable(line)));
        }
    }
}
