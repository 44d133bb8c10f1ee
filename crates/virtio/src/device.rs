//! One device as one VMM set it up: its memory, window, queues and backend, and what has been
//! negotiated with whom.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringfence_refusal::{Failure, Refusal};
use vhost::vhost_user::message::VhostUserProtocolFeatures;

use crate::backend::Backend;
use crate::bounce::{Progress, Surroundings};
use crate::connection::Connection;
use crate::counters::{Counters, State, add, set};
use crate::features;
use crate::guest_memory::GuestMemory;
use crate::kick::Kicks;
use crate::offences::Peer;
use crate::options::FenceOptions;
use crate::queue::{Queue, RingFeatures, Running, Starting, notify};
use crate::quota::Throttle;
use crate::recovery::{Recovery, connect};
use crate::refusals::BACKEND_REFUSES;
use crate::window::Window;

/// Everything that lasts as long as one VMM's connection.
pub(crate) struct Device {
    pub(crate) options: FenceOptions,
    pub(crate) counters: Arc<Counters>,
    pub(crate) backend: Backend,
    pub(crate) memory: GuestMemory,
    pub(crate) window: Window,
    pub(crate) queues: Vec<Queue>,
    kicks: Kicks,
    /// Virtio features the VMM accepted, once it has.
    pub(crate) acknowledged: Option<u64>,
    /// Protocol features the VMM accepted.
    pub(crate) protocol: u64,
    /// The VMM's channel for requests of the device.
    pub(crate) channel: Option<Connection>,
    /// Whether the backend was handed the window.
    pub(crate) window_given: bool,
    /// Where backends are found, and how it goes with finding one again.
    pub(crate) recovery: Recovery,
}

impl Device {
    /// Connects to the backend and makes a window.
    pub(crate) fn new(
        options: FenceOptions,
        backend: &Path,
        counters: Arc<Counters>,
    ) -> Result<Self, Failure> {
        let recovery = Recovery::new(backend, options.patience);
        #[cfg_attr(
            not(feature = "unguarded"),
            expect(unused_mut, reason = "a guard to switch off")
        )]
        let mut backend = connect(backend, &options)?;
        #[cfg(feature = "unguarded")]
        {
            backend.guards = options.guards;
        }
        let queues = backend.queues();
        let window = Window::new(options.window_bytes, queues, options.guards)?;
        let mut memory = GuestMemory::new(&options.name, window.identity()?, options.guards);
        memory.require_sealed(options.sealed_memory);
        let throttle = || Throttle::new(options.quota, options.clock.clone());
        let new_queues =
            (0..queues).map(|_| Queue { throttle: throttle(), ..Queue::default() }).collect();
        counters.set_masked(features::masked(backend.offered()).collect());
        Ok(Self {
            options,
            counters,
            backend,
            memory,
            window,
            kicks: Kicks::new()?,
            queues: new_queues,
            acknowledged: None,
            protocol: 0,
            channel: None,
            window_given: false,
            recovery,
        })
    }

    /// Whether the VMM and the broker use a protocol feature with each other.
    pub(crate) fn has(&self, feature: VhostUserProtocolFeatures) -> bool {
        features::protocol_has(self.protocol, feature)
    }

    /// Starts queue `index` if everything it needs is there.
    pub(crate) fn start_if_ready(&mut self, index: usize) -> Result<bool, Failure> {
        let Some(acknowledged) = self.acknowledged else {
            return Ok(false);
        };
        if !self.queues[index].is_ready() {
            return Ok(false);
        }
        if !self.window_given {
            self.backend.set_window(&self.window)?;
            self.window_given = true;
        }
        let features = self.ring_features(acknowledged);
        let (queues, mut with) = self.split_to_start();
        queues[index].start(index, features, &mut with)?;
        Ok(true)
    }

    /// What was negotiated that matters to rings.
    pub(crate) fn ring_features(&self, acknowledged: u64) -> RingFeatures {
        let backend = features::acknowledged_to_backend(self.backend.offered(), acknowledged);
        RingFeatures {
            event_index_guest: acknowledged & features::EVENT_INDEX != 0,
            event_index_backend: backend & features::EVENT_INDEX != 0,
            indirect: backend & features::INDIRECT != 0,
        }
    }

    /// The queues, and what they need to start.
    pub(crate) fn split_to_start(&mut self) -> (&mut Vec<Queue>, Starting<'_>) {
        let with = Starting {
            memory: &self.memory,
            window: &mut self.window,
            backend: &mut self.backend,
            kicks: &self.kicks,
            guards: self.options.guards,
        };
        (&mut self.queues, with)
    }

    /// Stops queue `index` and drains it; `base` is then where the guest goes on.
    pub(crate) fn stop(&mut self, index: usize) -> Result<(), Failure> {
        let mut around = Surroundings {
            memory: &self.memory,
            window: &mut self.window,
            counters: &self.counters,
        };
        let deadline = self.options.drain_deadline;
        self.queues[index].stop(index, &mut self.backend, &self.kicks, &mut around, deadline)
    }

    /// Finds the rings of running queues again after the guest's memory was named anew; those
    /// that are gone with it are stopped.
    pub(crate) fn remap_rings(&mut self) {
        for index in 0..self.queues.len() {
            let Some(running) = self.queues[index].running.as_mut() else {
                continue;
            };
            if let Err(refusal) = running.bounce.remap(&self.memory) {
                self.stop_for(index, Peer::Vmm, refusal);
            }
        }
    }

    /// Serves queue `index`: moves what can be moved and notifies whom it concerns.
    pub(crate) fn serve(&mut self, index: usize) -> bool {
        if self.backend.is_gone() {
            // What the guest publishes meanwhile waits in its ring.
            return false;
        }
        let queue = &mut self.queues[index];
        let Some(running) = queue.running.as_mut().filter(|_| !queue.stopped) else {
            return false;
        };
        let mut around = Surroundings {
            memory: &self.memory,
            window: &mut self.window,
            counters: &self.counters,
        };
        match running.bounce.serve(&mut around) {
            Ok(Progress { moved, call_guest, kick_backend }) => {
                let held_up = kick_backend && self.kicks.kick(&running.kick);
                if let Some(call) = queue.call.as_ref().filter(|_| call_guest) {
                    notify(call);
                }
                if held_up {
                    let detail = format!("queue {index}: it made its own kick wait");
                    self.counters.refuse(Peer::Backend, Refusal::new(&BACKEND_REFUSES, detail));
                }
                moved
            }
            Err(refusal) => {
                self.stop_for(index, Peer::Guest, refusal);
                false
            }
        }
    }

    /// Says to both sides of every queue that nobody looks any more; true when something came in
    /// before they could know.
    pub(crate) fn want_notifications(&mut self) -> bool {
        let mut missed = false;
        if self.backend.is_gone() {
            return missed;
        }
        for index in 0..self.queues.len() {
            let queue = &mut self.queues[index];
            let Some(running) = queue.running.as_mut().filter(|_| !queue.stopped) else {
                continue;
            };
            match running.bounce.want_notifications() {
                Ok(more) => missed |= more,
                Err(refusal) => self.stop_for(index, Peer::Guest, refusal),
            }
        }
        missed
    }

    /// Says to both sides of every queue that it is looked at anyway.
    pub(crate) fn suppress_notifications(&mut self) {
        for queue in &mut self.queues {
            if let Some(running) = queue.running.as_mut().filter(|_| !queue.stopped) {
                running.bounce.suppress_notifications();
            }
        }
    }

    /// Ends the service of a queue for what `peer` did: its guest may reset the device, the VMM and
    /// the other queues live on.
    pub(crate) fn stop_for(&mut self, index: usize, peer: Peer, refusal: Refusal) {
        self.counters.refuse(peer, refusal);
        let queue = &mut self.queues[index];
        queue.stopped = true;
        if let Some(error) = queue.error.as_ref() {
            notify(error.as_fd());
        }
        self.show_state();
    }

    /// Requests given to the backend and not completed.
    pub(crate) fn in_flight(&self) -> u64 {
        let running = self.queues.iter().filter_map(|queue| queue.running.as_ref());
        running.map(|running| u64::from(running.bounce.backend().outstanding())).sum()
    }

    /// Brings the gauges up to date.
    pub(crate) fn show_state(&self) {
        let running = self.queues.iter().filter(|queue| queue.running.is_some()).count();
        let state = if self.backend.is_distrusted() {
            State::BackendDistrusted
        } else if self.backend.is_gone() {
            State::BackendGone
        } else if self.queues.iter().any(|queue| queue.stopped) {
            State::Stopped
        } else if running > 0 {
            State::Running
        } else {
            State::Connected
        };
        self.counters.set_state(state);
        set(&self.counters.queues, running as u64);
        set(&self.counters.guest_memory_bytes, self.memory.bytes());
        set(&self.counters.unsealed_memory_bytes, self.memory.unsealed_bytes());
        set(&self.counters.window_bytes, self.window.bytes());
        self.show_use();
    }

    /// How long until a queue that used up its quota may go on, if there is one.
    pub(crate) fn quota_wait(&self) -> Option<Duration> {
        if self.backend.is_gone() {
            return None;
        }
        self.served().filter_map(|running| running.bounce.quota_wait()).min()
    }

    /// The queues that are served.
    fn served(&self) -> impl Iterator<Item = &Running> {
        let served = self.queues.iter().filter(|queue| !queue.stopped);
        served.filter_map(|queue| queue.running.as_ref())
    }

    /// Brings the gauges up to date that change with every request.
    pub(crate) fn show_use(&self) {
        let throttled = self.served().filter(|running| running.bounce.is_throttled()).count();
        set(&self.counters.queues_throttled, throttled as u64);
        set(&self.counters.window_used_bytes, self.window.used_bytes());
        set(&self.counters.in_flight, self.in_flight());
    }

    /// Counts a notification that woke us.
    pub(crate) fn count_wakeup(&self) {
        add(&self.counters.wakeups, 1);
    }
}
