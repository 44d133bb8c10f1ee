//! When a backend dies: find its successor, and go on where it ended.
//!
//! The broker knows every request that was in flight, so the backend need not have noted any. What
//! it had completed is taken to the guest first. The successor gets a new window, so nothing its
//! predecessor wrote is left in it, and the requests again, copied from the guest anew, in the order
//! the guest published them. A request may then be carried out twice, but its completion reaches
//! the guest once; for a disk that is the same, as the guest has not been told of the first time.
//!
//! A backend that lied, or fell silent, gets no successor: whoever is at that socket cannot be
//! relied upon. One that dies without having completed anything is waited for a little longer each time,
//! and given up at last: one of the requests is probably what kills it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringfence_refusal::{Failure, Refusal};

use crate::backend::Backend;
use crate::bounce::Surroundings;
use crate::counters::add;
use crate::device::Device;
use crate::features;
use crate::offences::Peer;
use crate::options::FenceOptions;
use crate::refusals::{BACKEND_GIVEN_UP, BACKEND_REFUSES};
use crate::window::Window;

/// How soon a successor is looked for, how often while it is due, and how often after that.
const PAUSE_FIRST: Duration = Duration::from_millis(2);
const PAUSE_DUE: Duration = Duration::from_millis(8);
const PAUSE_LAST: Duration = Duration::from_millis(500);

/// A successor that is started at once is there by then.
const DUE: Duration = Duration::from_secs(2);

/// How many in a row may die without completing a request.
const DEATHS_MAX: u32 = 8;

/// One that lived this long did not die of what it was given at the start; its guest may be idle.
const LIVED: Duration = Duration::from_secs(10);

/// How it goes with finding a backend again.
#[derive(Debug)]
pub(crate) struct Recovery {
    backend: PathBuf,
    patience: Duration,
    /// While the backend is gone: since when, and when to look next.
    search: Option<Search>,
    /// Deaths in a row without a completion in between, and completions seen at the last.
    deaths: u32,
    completed: u64,
    /// Since when there is the one there is.
    present_since: Instant,
    is_given_up: bool,
}

#[derive(Clone, Copy, Debug)]
struct Search {
    since: Instant,
    next: Instant,
    pause: Duration,
}

impl Recovery {
    pub(crate) fn new(backend: &Path, patience: Duration) -> Self {
        Self {
            backend: backend.to_owned(),
            patience,
            search: None,
            deaths: 0,
            completed: 0,
            present_since: Instant::now(),
            is_given_up: patience.is_zero(),
        }
    }

    /// How long until a successor is to be looked for, if one is.
    pub(crate) fn wait(&self) -> Option<Duration> {
        let search = self.search.as_ref()?;
        Some(search.next.saturating_duration_since(Instant::now()))
    }

    /// The backend is gone: begins to look. `completed` is how many requests are complete by now.
    fn begin(&mut self, completed: u64) {
        let now = Instant::now();
        let lived = now.saturating_duration_since(self.present_since);
        if completed == self.completed && lived < LIVED {
            self.deaths += 1;
        } else {
            self.deaths = 0;
        }
        self.completed = completed;
        // One that dies at once is not worth hurrying for.
        let next = now + PAUSE_FIRST * 2u32.saturating_pow(self.deaths.min(8));
        self.search = Some(Search { since: now, next, pause: PAUSE_FIRST });
    }

    /// There is a successor.
    fn found(&mut self) {
        self.search = None;
        self.present_since = Instant::now();
    }

    /// The successor was not there, or did not do.
    fn failed(&mut self) {
        if let Some(search) = self.search.as_mut() {
            search.next = Instant::now() + search.pause;
            let most = if search.since.elapsed() < DUE { PAUSE_DUE } else { PAUSE_LAST };
            search.pause = (search.pause * 2).min(most);
        }
    }

    /// Why to stop looking, if it is time to.
    fn give_up(&mut self) -> Option<Refusal> {
        let looked = self.search.as_ref()?.since.elapsed();
        let detail = if self.deaths > DEATHS_MAX {
            format!("{} in a row died without completing a request", self.deaths)
        } else if looked >= self.patience {
            format!("none came back within {:?}", self.patience)
        } else {
            return None;
        };
        self.search = None;
        self.is_given_up = true;
        Some(Refusal::new(&BACKEND_GIVEN_UP, detail))
    }
}

/// Connects to the backend for a VMM that has just come, also if the backend is between two lives.
pub(crate) fn connect(path: &Path, options: &FenceOptions) -> Result<Backend, Failure> {
    let by = Instant::now() + options.patience.min(DUE);
    loop {
        let failure = match Backend::connect(path, options.message_deadline) {
            Ok(backend) => return Ok(backend),
            Err(failure) => failure,
        };
        // Nobody listens there, or not yet; whatever else is wrong will be so again.
        let nobody = matches!(&failure, Failure::Faulted(fault) if matches!(
            fault.io_error().kind(),
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
        ));
        if !nobody || Instant::now() >= by {
            return Err(failure);
        }
        std::thread::sleep(PAUSE_DUE);
    }
}

impl Device {
    /// Looks after the backend: begins to search when it is gone, and looks for a successor when it
    /// is time. True when there is one, and every queue has other descriptors.
    pub(crate) fn look_after_backend(&mut self) -> bool {
        if !self.backend.has_ended() || self.recovery.is_given_up {
            return false;
        }
        if self.recovery.search.is_none() {
            self.take_last_completions();
            self.recovery.begin(self.counters.completed());
        }
        if let Some(refusal) = self.recovery.give_up() {
            self.counters.refuse(Peer::Backend, refusal.clone());
            for index in 0..self.queues.len() {
                if self.queues[index].running.is_some() && !self.queues[index].stopped {
                    self.stop_for(index, Peer::Backend, refusal.clone());
                }
            }
            return false;
        }
        if self.recovery.wait().is_some_and(|wait| !wait.is_zero()) {
            return false;
        }
        match self.begin_again() {
            Ok(()) => {
                self.recovery.found();
                add(&self.counters.reconnects, 1);
                self.show_state();
                true
            }
            Err(_) => {
                // Not there yet, most likely; when it is given up the counters say so.
                self.recovery.failed();
                false
            }
        }
    }

    /// Waits for a successor, for messages that cannot be answered without.
    pub(crate) fn wait_for_backend(&mut self) -> bool {
        let deadline = Instant::now() + self.options.message_deadline;
        while self.backend.has_ended() && !self.recovery.is_given_up && Instant::now() < deadline {
            if self.look_after_backend() {
                return true;
            }
            let wait = self.recovery.wait().unwrap_or_default();
            std::thread::sleep(wait.clamp(Duration::from_millis(1), Duration::from_millis(50)));
        }
        false
    }

    /// What the backend completed before it died is complete.
    fn take_last_completions(&mut self) {
        for index in 0..self.queues.len() {
            let queue = &mut self.queues[index];
            let Some(running) = queue.running.as_mut().filter(|_| !queue.stopped) else {
                continue;
            };
            let mut around = Surroundings {
                memory: &self.memory,
                window: &mut self.window,
                counters: &self.counters,
            };
            let reaped = running.bounce.reap_all(&mut around);
            if let Some(call) = queue.call.as_ref() {
                crate::queue::notify(call);
            }
            if let Err(refusal) = reaped {
                self.stop_for(index, Peer::Guest, refusal);
            }
        }
    }

    /// Connects to the successor and gives it a new window and every queue.
    fn begin_again(&mut self) -> Result<(), Failure> {
        let mut backend = Backend::connect(&self.recovery.backend, self.options.message_deadline)?;
        let before = self.accepted_from(self.backend.offered());
        let lost = before & !self.accepted_from(backend.offered());
        if lost != 0 || backend.queues() < self.queues.len() {
            let detail = format!(
                "the successor lacks features {lost:#x}, or has {} queues of {}",
                backend.queues(),
                self.queues.len()
            );
            return Err(Refusal::new(&BACKEND_REFUSES, detail).into());
        }
        // Invariant `fresh-start`.
        let window =
            Window::new(self.options.window_bytes, self.queues.len(), self.options.guards)?;
        if self.acknowledged.is_some() {
            backend.set_features(before)?;
        }
        backend.set_window(&window)?;
        self.memory.set_window(window.identity()?);
        // From here on all is the successor's; should it die at once, this is done again.
        self.backend = backend;
        self.window = window;
        self.window_given = true;
        let Some(acknowledged) = self.acknowledged else {
            return Ok(());
        };
        let features = self.ring_features(acknowledged);
        let (queues, mut with) = self.split_to_start();
        let mut replayed = 0;
        for (index, queue) in queues.iter_mut().enumerate() {
            replayed += queue.begin_again(index, features, &mut with)?;
        }
        for (index, queue) in queues.iter().enumerate() {
            queue.resume(index, &mut with)?;
        }
        add(&self.counters.replayed, replayed as u64);
        Ok(())
    }

    /// What is accepted of a backend's offer.
    fn accepted_from(&self, offered: u64) -> u64 {
        features::acknowledged_to_backend(offered, self.acknowledged.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_that_lived_long_under_an_idle_guest_did_not_die_of_a_request() {
        let mut recovery = Recovery::new(Path::new("/backend"), Duration::from_secs(30));
        for _ in 0..DEATHS_MAX * 2 {
            recovery.present_since =
                Instant::now().checked_sub(LIVED).expect("the machine runs longer than that");
            recovery.begin(0);
            assert_eq!(recovery.give_up(), None);
            recovery.search = None;
        }
        for _ in 0..=DEATHS_MAX {
            recovery.found();
            recovery.begin(0);
        }
        assert!(recovery.give_up().is_some(), "these died as soon as they came");
    }
}
