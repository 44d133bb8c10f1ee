//! Closing what a process inherited and was not given.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use ringfence_refusal::Fault;

/// Whether that was done in this process.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// Closes every descriptor but standard input, output and error.
///
/// For the beginning of `main`, while no descriptor is anybody's: what is open then was inherited.
///
/// # Errors
///
/// A fault when the open descriptors cannot be listed.
pub fn close_inherited() -> Result<(), Fault> {
    let fault = |error| Fault::new("list", "the open descriptors", error);
    let mut inherited: Vec<RawFd> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").map_err(fault)? {
        let name = entry.map_err(fault)?.file_name();
        inherited.extend(name.to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for descriptor in inherited.into_iter().filter(|descriptor| *descriptor > 2) {
        // The listing's own descriptor is among them and closed already.
        let _ = nix::unistd::close(descriptor);
    }
    CLOSED.store(true, Ordering::Relaxed);
    Ok(())
}

pub(crate) fn were_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}
