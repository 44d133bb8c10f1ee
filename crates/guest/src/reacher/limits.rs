//! What the kernel counts for this process, and becoming somebody who is held to it.

use rustix::process::{Resource, Rlimit, setrlimit};

/// An ordinary user.
const SOMEBODY: u32 = 1000;

/// Bytes of this process's memory that are pinned for devices (`VmPin`).
pub(crate) fn pinned() -> Result<u64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPin:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| "the kernel does not say VmPin".to_owned())
}

/// Becomes an ordinary user who may lock so many bytes.
pub(crate) fn become_somebody(bytes: u64) -> Result<(), String> {
    let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
    setrlimit(Resource::Memlock, limit).map_err(|errno| format!("setrlimit: {errno}"))?;
    let somebody = rustix::process::Uid::from_raw(SOMEBODY);
    rustix::thread::set_thread_res_uid(somebody, somebody, somebody)
        .map_err(|errno| format!("setresuid: {errno}"))
}
