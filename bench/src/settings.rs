//! How this run is to be measured, and what holds for every part of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// What the command line asked for.
pub(crate) struct Settings {
    /// Rounds per case.
    pub(crate) rounds: usize,
    /// Whether each round is shortened.
    pub(crate) quick: bool,
    /// Whether clients stay on one processor, and backend and fence on another.
    pub(crate) pin: bool,
    /// Set by a signal.
    pub(crate) stop: Arc<AtomicBool>,
}

impl Settings {
    /// An error once a signal asked us to end, so that everything is dropped in order.
    pub(crate) fn stop_if_asked(&self) -> Result<()> {
        ensure!(!self.stop.load(Ordering::Relaxed), "interrupted");
        Ok(())
    }
}

/// Says so if the machine is busy with other things: then ratios are rough.
pub(crate) fn note_load() {
    let Ok(text) = std::fs::read_to_string("/proc/loadavg") else { return };
    let load = text.split(' ').next().and_then(|load| load.parse::<f64>().ok());
    if let Some(load) = load.filter(|&load| load > 0.5) {
        eprintln!("note: the machine is busy (load {load}): take the spread seriously");
    }
}

/// Confines this thread, and the processes it starts, to the second processor we may use. Returns
/// the first, for the clients.
pub(crate) fn part_processors() -> Result<usize> {
    let allowed = sched_getaffinity(None).context("cannot ask for our processors")?;
    let mut processors = (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor));
    let (Some(first), Some(second)) = (processors.next(), processors.next()) else {
        bail!("--pin needs two processors");
    };
    pin(second)?;
    Ok(first)
}

fn pin(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).with_context(|| format!("cannot stay on processor {processor}"))
}

/// Does `work` in a thread of its own, on `processor` if named, and waits no longer than `patience`.
///
/// Work that does not end in time is left behind: it waits for a device that will never answer,
/// and ends with the process.
pub(crate) fn in_time<T: Send + 'static>(
    what: &str,
    patience: Duration,
    processor: Option<usize>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = channel();
    std::thread::Builder::new()
        .name("client".to_owned())
        .spawn(move || {
            let outcome = processor.map_or(Ok(()), pin).and_then(|()| work());
            // Nobody listens any more once the patience is over.
            let _ = sender.send(outcome);
        })
        .context("cannot start a thread")?;
    match receiver.recv_timeout(patience) {
        Ok(outcome) => outcome,
        Err(RecvTimeoutError::Timeout) => bail!("{what} did not end in {patience:?}"),
        Err(RecvTimeoutError::Disconnected) => bail!("{what} panicked"),
    }
}
