//! Closing what a process inherited and was not given.

use std::os::fd::{OwnedFd, RawFd};
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

/// Takes descriptors over that whoever started this process left open for it, by number: for the
/// beginning of `main`. Those that are not open are left out.
///
/// # Errors
///
/// A fault when the kernel does not let a process copy its own.
pub fn take_inherited(numbers: std::ops::Range<RawFd>) -> Result<Vec<(RawFd, OwnedFd)>, Fault> {
    let fault = |errno| Fault::new("take over", "an inherited descriptor", errno);
    let own = rustix::process::getpid();
    let own =
        rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty()).map_err(fault)?;
    let mut taken = Vec::new();
    for number in numbers {
        match rustix::process::pidfd_getfd(&own, number, rustix::process::PidfdGetfdFlags::empty())
        {
            Ok(copy) => taken.push((number, copy)),
            Err(rustix::io::Errno::BADF) => continue,
            Err(errno) => return Err(fault(errno)),
        }
        let _ = nix::unistd::close(number);
    }
    Ok(taken)
}
