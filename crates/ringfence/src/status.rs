//! What a fence says about itself: one JSON object to whoever connects to its status socket.
//!
//! The reader trusts nothing: the object is bounded, and silence ends at a deadline.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ringfence_jail::Report;
use serde::{Deserialize, Serialize};

/// The name of the shape below, in every object of it.
pub(crate) const SCHEMA: &str = "ringfence.fence/1";

/// How the file name of a status socket ends.
pub(crate) const SUFFIX: &str = ".status";

/// States that others act upon: no VMM is connected; the backend ended; it lied or fell silent.
pub(crate) const WAITING: &str = "waiting";
pub(crate) const BACKEND_GONE: &str = "backend gone";
pub(crate) const BACKEND_DISTRUSTED: &str = "backend distrusted";

/// More than any fence has to say.
const BYTES_MAX: u64 = 256 << 10;

/// What a fence says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FenceStatus {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) listen: PathBuf,
    pub(crate) backend: PathBuf,
    pub(crate) state: String,
    pub(crate) window_bytes: u64,
    pub(crate) window_used_bytes: u64,
    pub(crate) guest_memory_bytes: u64,
    /// Of those, bytes in files that the VMM could shrink while they are in use.
    #[serde(default)]
    pub(crate) unsealed_memory_bytes: u64,
    pub(crate) queues: u64,
    pub(crate) requests: u64,
    pub(crate) in_flight: u64,
    pub(crate) bytes_to_device: u64,
    pub(crate) bytes_to_guest: u64,
    pub(crate) refusals: u64,
    pub(crate) last_refusal: Option<String>,
    /// Who was refused what, one entry per peer and code.
    #[serde(default)]
    pub(crate) offences: Vec<Offence>,
    pub(crate) sessions: u64,
    pub(crate) reconnects: u64,
    pub(crate) replayed: u64,
    /// Times a queue was made to wait for its quota.
    #[serde(default)]
    pub(crate) throttled: u64,
    /// Queues that wait for their quota now.
    #[serde(default)]
    pub(crate) queues_throttled: u64,
    pub(crate) masked_features: Vec<MaskedFeature>,
    /// What its jail holds; none if it has no jail.
    #[serde(default)]
    pub(crate) jail: Option<Report>,
}

/// A feature the fence kept from one side or the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MaskedFeature {
    pub(crate) name: String,
    pub(crate) reason: String,
}

/// One kind of wrong that one peer did, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offence {
    pub(crate) peer: String,
    pub(crate) code: String,
    pub(crate) name: String,
    pub(crate) count: u64,
    pub(crate) first: String,
    pub(crate) last: String,
}

/// Asks the fence that serves its status at `socket`.
pub(crate) fn ask(socket: &Path, patience: Duration) -> std::io::Result<FenceStatus> {
    let deadline = Instant::now() + patience;
    let mut stream = UnixStream::connect(socket)?;
    let status: FenceStatus = serde_json::from_slice(&hear(&mut stream, deadline, BYTES_MAX)?)?;
    if status.schema != SCHEMA {
        let message = format!("its shape is `{}`, not `{SCHEMA}`", status.schema);
        return Err(std::io::Error::new(ErrorKind::InvalidData, message));
    }
    Ok(status)
}

/// All that the other side says until it is done; no more than so many bytes, and no longer than
/// until the deadline.
pub(crate) fn hear(
    stream: &mut UnixStream,
    deadline: Instant,
    bytes_max: u64,
) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(text),
            Ok(length) => text.extend_from_slice(&piece[..length]),
            Err(error)
                if [ErrorKind::Interrupted, ErrorKind::WouldBlock].contains(&error.kind()) => {}
            Err(error) => return Err(error),
        }
        if text.len() as u64 > bytes_max {
            let message = format!("it says more than {} KiB", bytes_max >> 10);
            return Err(std::io::Error::new(ErrorKind::InvalidData, message));
        }
    }
}

/// Tells everybody who connects to `listener`, until the process ends.
pub(crate) fn serve(listener: UnixListener, status: impl Fn() -> FenceStatus + Send + 'static) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // One visitor that does not read holds up the next for a second, not the fence.
            let Ok(mut stream) = stream else {
                std::thread::sleep(Duration::from_millis(100));
                continue;
            };
            let _ = stream.set_write_timeout(Some(Duration::from_secs(1)));
            if let Ok(text) = serde_json::to_vec(&status()) {
                let _ = stream.write_all(&text);
            }
        }
    });
}
