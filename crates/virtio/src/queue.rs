//! What the VMM said of one queue, and the queue itself while it runs.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use ringfence_refusal::{Failure, Fault, Refusal};
use rustix::event::EventfdFlags;
use rustix::io::Errno;

use crate::backend::Backend;
use crate::backend_queue::{BackendQueue, ring_pages};
use crate::bounce::{Bounce, Surroundings};
use crate::guards::Guards;
use crate::guest_memory::GuestMemory;
use crate::guest_queue::{GuestQueue, RingAddresses};
use crate::kick::Kicks;
use crate::quota::Throttle;
use crate::refusals::{BACKEND_REFUSES, PEER_SILENT};
use crate::window::Window;

/// One queue of the device.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Entries, from `SET_VRING_NUM`.
    pub(crate) size: u16,
    /// Next entry of the available ring, from `SET_VRING_BASE`.
    pub(crate) base: u16,
    /// From `SET_VRING_ADDR`.
    pub(crate) addresses: Option<RingAddresses>,
    /// The guest's kick.
    pub(crate) kick: Option<OwnedFd>,
    /// The guest's interrupt.
    pub(crate) call: Option<OwnedFd>,
    /// Told when the queue stops for a refusal.
    pub(crate) error: Option<OwnedFd>,
    /// From `SET_VRING_ENABLE`; without protocol features a queue is always enabled.
    pub(crate) enabled: bool,
    /// What it may still use, while it does not run.
    pub(crate) throttle: Throttle,
    /// The rings, while they run.
    pub(crate) running: Option<Running>,
    /// Whether a refusal stopped the queue. It takes nothing more until it is set up again.
    pub(crate) stopped: bool,
}

/// A queue that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) bounce: Bounce,
    /// Kicks the backend; see [`Kicks`].
    pub(crate) kick: OwnedFd,
    /// The backend's call.
    pub(crate) call: OwnedFd,
}

/// What a queue needs of its device to start.
pub(crate) struct Starting<'a> {
    pub(crate) memory: &'a GuestMemory,
    pub(crate) window: &'a mut Window,
    pub(crate) backend: &'a mut Backend,
    pub(crate) kicks: &'a Kicks,
    pub(crate) guards: Guards,
}

/// A ring in the window, and what goes with it.
struct StandIn {
    ring: BackendQueue,
    kick: OwnedFd,
    call: OwnedFd,
}

impl StandIn {
    fn new(
        index: usize,
        size: u16,
        features: RingFeatures,
        with: &mut Starting<'_>,
    ) -> Result<Self, Failure> {
        let kick = with.kicks.make(index)?;
        let call = eventfd()?;
        let run = with.window.open_queue(index, ring_pages(size))?;
        let (area, first) = (with.window.area_of(run), with.window.address_of(run));
        let ring = BackendQueue::new(size, run, &area, first, features.event_index_backend);
        Ok(Self { ring, kick, call })
    }

    fn start(&self, index: usize, size: u16, with: &mut Starting<'_>) -> Result<(), Failure> {
        let number = u32::try_from(index).expect("queues are few");
        let location = self.ring.location();
        with.backend.start_queue(number, size, location, with.window, &self.kick, &self.call)
    }
}

/// Features that matter to a ring, per side.
#[derive(Clone, Copy)]
pub(crate) struct RingFeatures {
    pub(crate) event_index_guest: bool,
    pub(crate) event_index_backend: bool,
    pub(crate) indirect: bool,
}

impl Queue {
    /// Whether everything is there that a queue needs to run.
    pub(crate) fn is_ready(&self) -> bool {
        self.running.is_none()
            && !self.stopped
            && self.size != 0
            && self.addresses.is_some()
            && self.kick.is_some()
            && self.enabled
    }

    /// Takes the guest's ring up and starts its stand-in with the backend.
    pub(crate) fn start(
        &mut self,
        index: usize,
        features: RingFeatures,
        with: &mut Starting<'_>,
    ) -> Result<(), Failure> {
        let addresses = self.addresses.expect("a queue that is ready has its addresses");
        let guest = GuestQueue::new(
            with.memory,
            addresses,
            self.size,
            self.base,
            features.event_index_guest,
            features.indirect,
        )
        .map_err(|refusal| refusal.within(format_args!("queue {index}")))?;
        let stand_in = StandIn::new(index, self.size, features, with)?;
        if let Err(failure) = stand_in.start(index, self.size, with) {
            with.window.close_queue(index, stand_in.ring.run());
            return Err(failure);
        }
        let StandIn { ring, kick, call } = stand_in;
        // A queue that is set up again goes on with what it had left.
        let throttle = std::mem::take(&mut self.throttle);
        let bounce = Bounce::new(index, guest, ring, throttle, with.guards);
        self.running = Some(Running { bounce, kick, call });
        Ok(())
    }

    /// Puts a ring in the new window in place of one whose backend died. What that backend had and
    /// did not complete waits to be given to the next. Returns how many requests that are.
    pub(crate) fn begin_again(
        &mut self,
        index: usize,
        features: RingFeatures,
        with: &mut Starting<'_>,
    ) -> Result<usize, Failure> {
        let Some(running) = self.running.as_mut() else {
            return Ok(0);
        };
        let StandIn { ring, kick, call } = StandIn::new(index, self.size, features, with)?;
        running.kick = kick;
        running.call = call;
        Ok(running.bounce.begin_again(ring))
    }

    /// Starts, with a new backend, a queue that has begun again.
    pub(crate) fn resume(&self, index: usize, with: &mut Starting<'_>) -> Result<(), Failure> {
        let Some(running) = self.running.as_ref().filter(|_| !self.stopped) else {
            return Ok(());
        };
        let number = u32::try_from(index).expect("queues are few");
        let location = running.bounce.backend().location();
        let (kick, call) = (&running.kick, &running.call);
        with.backend.start_queue(number, self.size, location, with.window, kick, call)
    }

    /// Stops the queue: no more requests are taken, those the backend has begun are waited for
    /// until the deadline, and the next entry of the guest's available ring is kept in `base`.
    pub(crate) fn stop(
        &mut self,
        index: usize,
        backend: &mut Backend,
        kicks: &Kicks,
        around: &mut Surroundings<'_>,
        deadline: Duration,
    ) -> Result<(), Failure> {
        let Some(mut running) = self.running.take() else {
            return Ok(());
        };
        let mut unbegun = 0;
        let mut result = Ok(());
        // A queue that a refusal stopped is stopped at the backend too: what it works on it may
        // still write to the window.
        if !backend.is_gone() {
            let by = Instant::now() + deadline;
            let finished = if self.stopped {
                Ok(())
            } else {
                finish_what_cannot_be_left(&mut running, kicks, around, by)
            };
            // Whatever came of that, the backend must stop: the ring's pages are used again.
            let number = u32::try_from(index).expect("queues are few");
            let stopped = backend
                .stop_queue(number)
                .and_then(|begun| check_begun(&running.bounce, begun, index))
                .map(|claimed| unbegun = claimed)
                .and_then(|()| drain(&mut running, around, unbegun, Instant::now() + deadline))
                .and_then(|()| check_unbegun(&running.bounce, &mut unbegun, index));
            result = finished.and(stopped);
            if self.stopped {
                // What stopped it was said when it did.
                result = Ok(());
            }
        }
        if let Some(call) = self.call.as_ref() {
            // Whatever was completed while draining is the guest's to see.
            notify(call);
        }
        self.throttle = running.bounce.take_throttle();
        self.base = running.bounce.close(around.window, unbegun);
        self.stopped = false;
        result
    }
}

/// How many requests were not begun, of which a backend says how many were: that cannot be less
/// than it completed, nor more than it was given.
fn check_begun(bounce: &Bounce, begun: u16, index: usize) -> Result<u16, Failure> {
    let queue = bounce.backend();
    let unbegun = queue.given().wrapping_sub(begun);
    if unbegun <= queue.outstanding() {
        return Ok(unbegun);
    }
    let detail = format!(
        "queue {index}: it says {begun} requests were begun, of {} given and {} outstanding",
        queue.given(),
        queue.outstanding()
    );
    Err(Refusal::new(&BACKEND_REFUSES, detail).into())
}

/// What was not begun is what was given last, and none of it can have been completed: the guest
/// would be given back a request that it knows to be done, and whose memory it uses otherwise.
fn check_unbegun(bounce: &Bounce, unbegun: &mut u16, index: usize) -> Result<(), Failure> {
    let claimed = std::mem::replace(unbegun, bounce.backend().outstanding_last(*unbegun));
    if *unbegun == claimed {
        return Ok(());
    }
    let detail =
        format!("queue {index}: it completed one of the {claimed} requests it never began");
    Err(Refusal::new(&BACKEND_REFUSES, detail).into())
}

/// Serves on while what is not completed is not what the guest published last: only that can be
/// left in the guest's ring.
fn finish_what_cannot_be_left(
    running: &mut Running,
    kicks: &Kicks,
    around: &mut Surroundings<'_>,
    deadline: Instant,
) -> Result<(), Failure> {
    while !running.bounce.is_last_of_all() && Instant::now() < deadline {
        let progress = running.bounce.give_again(around)?;
        if progress.kick_backend {
            kicks.kick(&running.kick);
        }
        if !progress.moved {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Takes completions until only `unbegun` requests are left.
fn drain(
    running: &mut Running,
    around: &mut Surroundings<'_>,
    unbegun: u16,
    deadline: Instant,
) -> Result<(), Failure> {
    loop {
        running.bounce.reap_all(around)?;
        let left = running.bounce.backend().outstanding();
        if left <= unbegun {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let detail = format!("{} requests are not completed", left - unbegun);
            return Err(Refusal::new(&PEER_SILENT, detail).into());
        }
        // Backends close the call descriptor when they stop a ring, so there is nothing to wait on.
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn eventfd() -> Result<OwnedFd, Fault> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| Fault::new("make", "an eventfd", errno))
}

/// Adds one to an eventfd, or writes the same eight bytes to whatever stands in for one.
pub(crate) fn notify(descriptor: impl AsFd) {
    // An eventfd that is full has been notified; a pipe whose reader is gone no longer matters.
    // Neither is an error of ours, and there is nobody to tell.
    let _: Result<usize, Errno> = rustix::io::write(descriptor, &1u64.to_ne_bytes());
}
