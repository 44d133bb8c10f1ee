//! A fence on a thread of its own and the backend behind it.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringfence_refusal::{Code, Failure, Refusal};
use ringfence_virtio::{Counters, Fence, FenceOptions, Guards, Peer, Snapshot, Stopper};

use super::PATIENCE;
use super::backend::{Conduct, Offer, TestBackend, honest};

/// How a fence and its backend are set up; start from the default.
pub(crate) struct Setup {
    pub(crate) options: FenceOptions,
    pub(crate) offer: Offer,
    pub(crate) conduct: Conduct,
}

impl Default for Setup {
    fn default() -> Self {
        // Backends that end have no successor here, unless a test says so.
        let options = FenceOptions {
            window_bytes: 1 << 20,
            patience: Duration::ZERO,
            ..FenceOptions::default()
        };
        Self { options, offer: Offer::default(), conduct: honest() }
    }
}

impl Setup {
    pub(crate) fn guarded(guards: Guards) -> Self {
        let mut setup = Self::default();
        setup.options.guards = guards;
        setup
    }

    /// A backend that does something wrong, and a fence that does not wait long for requests it
    /// never completes.
    pub(crate) fn with_conduct(conduct: Conduct) -> Self {
        let mut setup = Self { conduct, ..Self::default() };
        setup.options.drain_deadline = Duration::from_millis(300);
        setup
    }
}

/// A running fence.
pub(crate) struct Stand {
    pub(crate) backend: TestBackend,
    counters: Arc<Counters>,
    stopper: Stopper,
    thread: Option<JoinHandle<Result<(), Failure>>>,
    folder: PathBuf,
}

impl Stand {
    pub(crate) fn new(setup: Setup) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringfence-virtio-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).expect("a folder of our own");
        let backend = TestBackend::new(&folder.join("backend"), setup.offer, setup.conduct);
        let listener = UnixListener::bind(folder.join("fence")).expect("a socket");
        let fence = Fence::new(listener, folder.join("backend"), setup.options).expect("a fence");
        let (counters, stopper) = (fence.counters(), fence.stopper());
        let thread = Some(std::thread::spawn(move || fence.run()));
        Self { backend, counters, stopper, thread, folder }
    }

    /// Where VMMs connect.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("fence")
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn counters(&self) -> Snapshot {
        self.counters.snapshot()
    }

    /// Waits for a refusal and says which it was; panics when it is another than `code`.
    pub(crate) fn refused(&self, code: &'static Code) -> Refusal {
        self.refused_since(0, code)
    }

    /// Waits for a refusal, and sees that `peer` is said to be whose it is.
    pub(crate) fn blames(&self, peer: Peer, code: &'static Code) -> Refusal {
        let refusal = self.refused(code);
        let offences = self.counters().offences;
        let found = offences.iter().find(|offence| offence.code == code && offence.peer == peer);
        let offence = found.unwrap_or_else(|| panic!("{code} is not the {peer}'s: {offences:?}"));
        assert_eq!(offence.last, refusal.detail());
        assert!(offences.iter().all(|offence| offence.peer == peer), "{offences:?}");
        refusal
    }

    /// The same for the refusals after the first `before`.
    pub(crate) fn refused_since(&self, before: u64, code: &'static Code) -> Refusal {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.counters();
            let last = now.last_refusal.filter(|_| now.refusals > before);
            match last {
                Some(refusal) if refusal.code() == code => return refusal,
                Some(refusal) => panic!("{code} was expected, but there was: {refusal}"),
                None => assert!(Instant::now() < deadline, "nothing was refused, not even {code}"),
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.stopper.stop();
        let deadline = Instant::now() + PATIENCE;
        let thread = self.thread.take().expect("joined only here");
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(100));
        }
        let removed = std::fs::remove_dir_all(&self.folder);
        if std::thread::panicking() {
            return;
        }
        assert!(thread.is_finished(), "the fence hangs");
        thread.join().expect("the fence did not panic").expect("the fence ended well");
        removed.expect("the folder was ours");
    }
}
