//! A bench for the broker: a fence on a thread of its own, with a VMM and guest on one side and a
//! backend on the other, both of which can do everything right and everything wrong.
//!
//! Nothing waits without a deadline, so a test fails rather than hangs.

mod backend;
mod device;
mod driver;
mod frontend;
mod memory;
mod stand;
mod world;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, poll};

pub(crate) use backend::{Answer, Offer, TestBackend, honest};
pub(crate) use device::{Piece, Popped};
pub(crate) use driver::{Buffer, Driver, INDIRECT, NEXT, WRITE, from_guest, to_guest};
pub(crate) use frontend::{Frontend, GPA, RAM_BYTES, UVA, region_of, send_part};
pub(crate) use memory::Memory;
pub(crate) use ringfence_virtio::Peer;
pub(crate) use stand::{Setup, Stand};
pub(crate) use world::{Outcome, World, escapes_only_without};

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `look` finds something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    let mut looks = 0u32;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        looks += 1;
        if looks < 50 {
            std::thread::yield_now();
        } else {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// A new eventfd.
pub(crate) fn eventfd() -> OwnedFd {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd")
}

/// Adds one to an eventfd.
pub(crate) fn signal(descriptor: impl AsFd) {
    rustix::io::write(descriptor, &1u64.to_ne_bytes()).expect("an eventfd takes a one");
}

/// Waits for a notification and takes it; false when none came in time.
pub(crate) fn wait_for_signal(descriptor: &OwnedFd, patience: Duration) -> bool {
    if !is_readable(descriptor, patience) {
        return false;
    }
    rustix::io::read(descriptor, &mut [0; 8]).is_ok()
}

/// Whether there is something to read, or an end, within `patience`.
pub(crate) fn is_readable(descriptor: impl AsFd, patience: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: i64::try_from(patience.as_secs()).expect("patience is short"),
        tv_nsec: i64::from(patience.subsec_nanos()),
    };
    let mut set = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut set, Some(&timeout)).expect("polled") > 0
}

/// How many descriptors of this process lead to the file of this name.
pub(crate) fn descriptors_named(name: &str) -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").expect("the list of descriptors");
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|link| link.to_string_lossy().contains(name)).count()
}
