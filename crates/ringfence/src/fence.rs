//! The fence of `ringfence_virtio` as the verbs use it. The only file that knows its interface.

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use ringfence_jail::Report;
use ringfence_refusal::Failure;
use ringfence_virtio::{FenceOptions, Offence as Refused, Quota, Snapshot, State};

use crate::cli::FenceVhostUser;
use crate::status::{
    BACKEND_DISTRUSTED, BACKEND_GONE, FenceStatus, MaskedFeature, Offence, SCHEMA, WAITING,
};

/// A fence that has its sockets and does not serve yet.
pub(crate) struct Fence {
    broker: ringfence_virtio::Fence,
    identity: Identity,
}

/// What a fence is, apart from what it does.
#[derive(Clone)]
struct Identity {
    name: String,
    listen: PathBuf,
    backend: PathBuf,
    jail: Option<Report>,
}

impl Fence {
    pub(crate) fn new(listener: UnixListener, arguments: &FenceVhostUser) -> Result<Self, Failure> {
        let options = FenceOptions {
            name: arguments.name.clone(),
            window_bytes: arguments.window,
            sealed_memory: arguments.require_sealed_memory,
            quota: Quota {
                requests_per_second: arguments.requests_per_second,
                bytes_per_second: arguments.bytes_per_second,
            },
            ..FenceOptions::default()
        };
        let broker = ringfence_virtio::Fence::new(listener, arguments.backend.clone(), options)?;
        let identity = Identity {
            name: arguments.name.clone(),
            listen: whole(&arguments.listen),
            backend: whole(&arguments.backend),
            jail: None,
        };
        Ok(Self { broker, identity })
    }

    /// Notes what jail it is in.
    pub(crate) fn note_jail(&mut self, report: Report) {
        self.identity.jail = Some(report);
    }

    /// Says at any time, from any thread, how the fence is.
    pub(crate) fn observer(&self) -> impl Fn() -> FenceStatus + Send + 'static {
        let counters = self.broker.counters();
        let identity = self.identity.clone();
        move || describe(&identity, counters.snapshot())
    }

    /// What was refused so far, once there is another kind of it than the `known` or `patience` is
    /// over.
    pub(crate) fn refusals(
        &self,
    ) -> impl Fn(usize, Duration) -> Vec<Refused> + Send + Sync + 'static {
        let counters = self.broker.counters();
        move |known, patience| counters.wait_for_kind(known, patience)
    }

    /// Makes [`Fence::run`] return.
    pub(crate) fn stopper(&self) -> impl FnOnce() + Send + 'static {
        let stopper = self.broker.stopper();
        move || stopper.stop()
    }

    /// Serves one VMM after another until stopped.
    pub(crate) fn run(self) -> Result<(), Failure> {
        self.broker.run()
    }
}

fn describe(identity: &Identity, snapshot: Snapshot) -> FenceStatus {
    let masked = |masked: &&ringfence_virtio::features::Masked| MaskedFeature {
        name: masked.name.to_owned(),
        reason: masked.reason.to_owned(),
    };
    let offence = |offence: &Refused| Offence {
        peer: offence.peer.name().to_owned(),
        code: offence.code.to_string(),
        name: offence.code.name.to_owned(),
        count: offence.count,
        first: offence.first.clone(),
        last: offence.last.clone(),
    };
    FenceStatus {
        schema: SCHEMA.to_owned(),
        name: identity.name.clone(),
        pid: std::process::id(),
        listen: identity.listen.clone(),
        backend: identity.backend.clone(),
        state: state(snapshot.state).to_owned(),
        window_bytes: snapshot.window_bytes,
        window_used_bytes: snapshot.window_used_bytes,
        guest_memory_bytes: snapshot.guest_memory_bytes,
        unsealed_memory_bytes: snapshot.unsealed_memory_bytes,
        queues: snapshot.queues,
        requests: snapshot.requests,
        in_flight: snapshot.in_flight,
        bytes_to_device: snapshot.bytes_to_device,
        bytes_to_guest: snapshot.bytes_to_guest,
        refusals: snapshot.refusals,
        last_refusal: snapshot.last_refusal.map(|refusal| refusal.to_string()),
        sessions: snapshot.sessions,
        reconnects: snapshot.reconnects,
        replayed: snapshot.replayed,
        throttled: snapshot.throttled,
        queues_throttled: snapshot.queues_throttled,
        offences: snapshot.offences.iter().map(offence).collect(),
        masked_features: snapshot.masked.iter().map(masked).collect(),
        jail: identity.jail.clone(),
    }
}

fn state(state: State) -> &'static str {
    match state {
        State::Waiting => WAITING,
        State::Connected => "connected",
        State::Running => "running",
        State::Stopped => "stopped",
        State::BackendGone => BACKEND_GONE,
        State::BackendDistrusted => BACKEND_DISTRUSTED,
    }
}

fn whole(path: &std::path::Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
