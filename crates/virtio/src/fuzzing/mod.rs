//! What fuzzers run: a peer made of arbitrary bytes, and what must hold whatever they are.
//!
//! A target is a plain function of bytes and of which guards stand, so it runs under a fuzzer, in
//! the test run over a kept corpus and a fixed seed, and with a guard off, where it has to fail.
//! Everything happens on one thread and depends on the bytes alone. A peer that races is one that
//! acts *between two accesses* of the broker's to shared memory ([`between_accesses`]); one at the
//! other end of a socket acts when the broker is about to wait for it ([`turn`]). No race is then a
//! matter of luck, and every failure happens again.
//!
//! In a program compiled without the `fuzzing` feature there is none of this.

mod backend_rings;
mod frames;
mod guest_rings;
mod honest;
mod input;
mod memory;
mod messages;
mod peer;

use std::cell::{Cell, RefCell};

use crate::guards::Guards;

/// What a target is: it panics when something that must hold does not.
pub type Target = fn(Guards, &[u8]);

/// Every target with its name.
pub static TARGETS: &[(&str, Target)] = &[
    ("vmm_frames", frames::vmm),
    ("backend_frames", frames::backend),
    ("backend_rings", backend_rings::run),
    ("guest_rings", guest_rings::run),
];

/// The target of this name.
///
/// # Panics
///
/// When there is none.
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|(each, _)| *each == name);
    found.unwrap_or_else(|| panic!("there is no target `{name}`")).1
}

/// Runs a target with every guard up, as fuzzers do.
///
/// # Panics
///
/// When something that must hold does not.
pub fn run(name: &str, data: &[u8]) {
    target(name)(Guards::default(), data);
}

/// Whom the broker is about to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// An answer, or room for what is sent.
    Message,
    /// Any event at all.
    Event,
}

type Racer = Box<dyn FnMut()>;
type Peers = Box<dyn FnMut(Waiting) -> bool>;

thread_local! {
    static IS_RACED: Cell<bool> = const { Cell::new(false) };
    static RACER: RefCell<Option<Racer>> = const { RefCell::new(None) };
    static PEERS: RefCell<Option<Peers>> = const { RefCell::new(None) };
}

/// Called before each access of the broker's to memory it shares.
#[inline]
pub(crate) fn between_accesses() {
    if IS_RACED.get() {
        // Nobody races with the racer's own accesses.
        if let Some(mut racer) = RACER.take() {
            racer();
            RACER.set(Some(racer));
        }
    }
}

/// Called when the broker is about to wait; true when a peer did something in the meantime.
pub(crate) fn turn(waiting: Waiting) -> bool {
    let Some(mut peers) = PEERS.take() else {
        return false;
    };
    let has_acted = peers(waiting);
    PEERS.set(Some(peers));
    has_acted
}

/// Has `racer` act between the accesses of `work`.
fn raced<T>(racer: impl FnMut() + 'static, work: impl FnOnce() -> T) -> T {
    let _end = End;
    RACER.set(Some(Box::new(racer)));
    IS_RACED.set(true);
    work()
}

/// Has `peers` act while `work` waits for them.
fn attended<T>(peers: impl FnMut(Waiting) -> bool + 'static, work: impl FnOnce() -> T) -> T {
    let _end = End;
    PEERS.set(Some(Box::new(peers)));
    work()
}

/// Ends both, however the work ends.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        IS_RACED.set(false);
        RACER.set(None);
        PEERS.set(None);
    }
}
