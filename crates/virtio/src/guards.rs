//! The checks that keep peers in, each of which a test can switch off to show what it is for.
//!
//! In the released program there is nothing to switch: without the `unguarded` feature a
//! [`Guards`] is empty and every guard stands.

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Every address a guest submits lies in memory its VM has.
    Memory,
    /// A completion names a request that is outstanding, and only once.
    Outstanding,
    /// A completion copies back no more than the guest offered as writable.
    UsedLength,
    /// A guest's descriptors are copied once, and the copy is what is checked and used.
    ReadOnce,
    /// The window cannot be shrunk under the broker, nor grown, nor its seals changed.
    Seals,
    /// What the backend may read of a request is what the guest published as readable.
    Published,
    /// Every backend of every device has a window of its own, made new.
    OwnWindow,
    /// No peer is waited for past a deadline.
    Deadlines,
    /// What the backend asks of the VMM is not passed on, nor are its descriptors.
    BackendRequests,
    /// The backend is told made-up addresses.
    Addresses,
}

/// Stands in every program in which guards can be switched off, so that a test can look into the
/// released one and find that it is not there.
#[cfg(feature = "unguarded")]
#[used]
static MARK: &str = "ringfence: compiled with guards that can be switched off, for tests";

/// Which guards stand. All of them, unless compiled for tests.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guards {
    #[cfg(feature = "unguarded")]
    off: Option<Guard>,
}

impl Guards {
    /// All guards but one, for tests that show the attack it stops.
    #[cfg(feature = "unguarded")]
    pub fn without(guard: Guard) -> Self {
        Self { off: Some(guard) }
    }

    /// Whether every guard stands.
    #[cfg(feature = "unguarded")]
    pub fn is_whole(self) -> bool {
        self.off.is_none()
    }

    /// Whether `guard` stands.
    #[cfg(feature = "unguarded")]
    pub(crate) fn stands(self, guard: Guard) -> bool {
        self.off != Some(guard)
    }

    /// Whether `guard` stands: always.
    #[cfg(not(feature = "unguarded"))]
    #[expect(clippy::unused_self, reason = "the same call compiles with and without the feature")]
    pub(crate) const fn stands(self, _guard: Guard) -> bool {
        true
    }
}
