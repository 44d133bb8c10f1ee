//! When nobody looks at a table any more: readers say when they come and go, the writer waits.
//!
//! A reader takes a [`Seat`] once and then *visits*: from [`Seat::enter`] on it may follow entries from
//! table to table, and use what they lead to, until the visit ends. The writer takes an entry away,
//! begins a new epoch ([`Epochs::advance`]), and knows that nobody still uses what the entry led to
//! once that epoch [has come for all](Epochs::has_come): every seat is empty or was taken after it
//! began. This is to readers in this process what an invalidation is to an IOMMU: one that *started*
//! after the entry was gone has to *complete*.
//!
//! A visit costs one store and one fence; nobody waits for the writer, and the writer need not wait: it
//! can ask again later. No pointer is involved: what is waited for is a number in a list.

use super::sync::{Arc, AtomicU64, Mutex, Ordering, PoisonError, fence};

/// Nobody is in this seat.
const EMPTY: u64 = u64::MAX;

/// The present epoch, and all seats.
#[derive(Debug, Default)]
pub struct Epochs {
    now: AtomicU64,
    seats: Mutex<Vec<Arc<AtomicU64>>>,
}

/// The beginning of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(u64);

impl Epochs {
    /// A place for one reader.
    pub fn seat(self: &Arc<Self>) -> Seat {
        let place = Arc::new(AtomicU64::new(EMPTY));
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&place));
        Seat { epochs: Arc::clone(self), place }
    }

    /// Begins a new epoch. Whoever enters from now on does not find what was taken away before.
    pub fn advance(&self) -> Epoch {
        // Either this fence is before a reader's, which then sees what was taken away, or after it,
        // and then `has_come` sees the reader.
        fence(Ordering::SeqCst);
        Epoch(self.now.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// Whether every visit that began before `epoch` is over. Invariant `I10`: a number is made once, by the
    /// step that begins the epoch, and who waits for it sees that one or a later one.
    pub fn has_come(&self, epoch: Epoch) -> bool {
        let seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        // An empty seat is `EMPTY`, which is later than any epoch.
        seats.iter().all(|place| place.load(Ordering::Acquire) >= epoch.0)
    }
}

/// The place of one reader.
#[derive(Debug)]
pub struct Seat {
    epochs: Arc<Epochs>,
    place: Arc<AtomicU64>,
}

impl Seat {
    /// From now on, nothing that entries lead to is used for anything else, until the visit is over.
    pub fn enter(&mut self) -> Visit<'_> {
        let now = self.epochs.now.load(Ordering::Acquire);
        // `Release`: a writer that sees this visit knows that the one before it is over.
        self.place.store(now, Ordering::Release);
        fence(Ordering::SeqCst);
        Visit { place: &self.place }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.epochs.seats.lock().unwrap_or_else(PoisonError::into_inner);
        seats.retain(|place| !Arc::ptr_eq(place, &self.place));
    }
}

/// A reader is there.
#[derive(Debug)]
pub struct Visit<'a> {
    place: &'a AtomicU64,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.place.store(EMPTY, Ordering::Release);
    }
}
