//! Readers and the writer in every order there is: [`epoch`] itself, with `loom`'s atomics in it.
//!
//! A tree of two entries and one table stands for page tables: `here` leads to the table, then, after
//! the table was taken out and used again, `there` does.

#[path = "../../src/pages/epoch.rs"]
#[expect(unreachable_pub, reason = "it is a module of the library")]
mod epoch;

/// What the module asks for. The counts of `Arc` order nothing that matters here.
mod sync {
    pub(crate) use std::sync::{Arc, PoisonError};

    pub(crate) use loom::sync::Mutex;
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

use epoch::{Epoch, Epochs};
use sync::{Arc, AtomicU64, Ordering};

const NOTHING: u64 = 0;
const TABLE: u64 = 1;
/// What the table translates to while it is used here, and there.
const HERE: u64 = 10;
const THERE: u64 = 20;

#[derive(Debug)]
struct Tree {
    here: AtomicU64,
    there: AtomicU64,
    leaf: AtomicU64,
    /// The memory behind `HERE`: who wrote to it last.
    memory: AtomicU64,
    epochs: Arc<Epochs>,
}

const DEVICE: u64 = 1;
const NEXT_OWNER: u64 = 2;

impl Tree {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            here: AtomicU64::new(TABLE),
            there: AtomicU64::new(NOTHING),
            leaf: AtomicU64::new(HERE),
            memory: AtomicU64::new(NOTHING),
            epochs: Arc::default(),
        })
    }

    /// A visit: from the entry to the table, and to the memory that it leads to.
    fn visit(&self, seat: &mut epoch::Seat) {
        let visit = seat.enter();
        if self.here.load(Ordering::Acquire) == TABLE {
            let found = self.leaf.load(Ordering::Acquire);
            assert_ne!(found, THERE, "a table that is used for something else by now");
            if found == HERE {
                self.memory.store(DEVICE, Ordering::Relaxed);
            }
        }
        drop(visit);
    }

    fn unmap(&self) -> Epoch {
        self.leaf.store(NOTHING, Ordering::Release);
        self.here.store(NOTHING, Ordering::Release);
        self.epochs.advance()
    }

    fn use_again(&self) {
        self.leaf.store(THERE, Ordering::Release);
        self.there.store(TABLE, Ordering::Release);
    }
}

/// A reader who visits so often, beside a writer who does this.
fn beside(visits: usize, write: fn(&Tree)) {
    loom::model(move || {
        let tree = Tree::new();
        let mut seat = tree.epochs.seat();
        let reader = loom::thread::spawn({
            let tree = Arc::clone(&tree);
            move || (0..visits).for_each(|_| tree.visit(&mut seat))
        });
        write(&tree);
        reader.join().expect("the reader found nothing wrong");
    });
}

fn reuse_what_was_left(tree: &Tree) {
    let epoch = tree.unmap();
    if tree.epochs.has_come(epoch) {
        tree.use_again();
    }
}

/// Invariant `I10`: in every interleaving.
#[test]
fn no_reader_gets_into_a_table_that_is_used_again() {
    beside(2, reuse_what_was_left);
}

/// I6: what was unmapped is somebody else's only when no reader can write to it any more.
#[test]
fn no_reader_writes_to_memory_that_was_given_away() {
    beside(2, |tree| {
        let epoch = tree.unmap();
        if tree.epochs.has_come(epoch) {
            tree.memory.store(NEXT_OWNER, Ordering::Relaxed);
            loom::thread::yield_now();
            assert_eq!(tree.memory.load(Ordering::Relaxed), NEXT_OWNER, "a device wrote to it");
        }
    });
}

/// The guard off: the same without asking whether the epoch has come.
#[test]
#[should_panic(expected = "a table that is used for something else by now")]
fn without_the_wait_a_reader_gets_into_it() {
    beside(1, |tree| {
        let _ = tree.unmap();
        tree.use_again();
    });
}

#[test]
#[should_panic(expected = "a device wrote to it")]
fn without_the_wait_a_reader_writes_to_it() {
    beside(1, |tree| {
        let _ = tree.unmap();
        tree.memory.store(NEXT_OWNER, Ordering::Relaxed);
        loom::thread::yield_now();
        assert_eq!(tree.memory.load(Ordering::Relaxed), NEXT_OWNER, "a device wrote to it");
    });
}
