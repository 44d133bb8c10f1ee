//! How many pages the kernel has pinned for somebody: what devices may reach, and whatever is forgotten.

use std::fs;

/// `nr_foll_pin_acquired` less `nr_foll_pin_released`, of the whole machine.
pub(crate) fn pinned() -> Result<i64, String> {
    // What each processor has counted for itself is added first.
    let fold = fs::write("/proc/sys/vm/stat_refresh", "1");
    fold.map_err(|error| format!("/proc/sys/vm/stat_refresh: {error}"))?;
    let text =
        fs::read_to_string("/proc/vmstat").map_err(|error| format!("/proc/vmstat: {error}"))?;
    let count = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let count = line.and_then(|count| count.trim().parse::<i64>().ok());
        count.ok_or_else(|| format!("/proc/vmstat has no {name}"))
    };
    Ok(count("nr_foll_pin_acquired")? - count("nr_foll_pin_released")?)
}

/// What this process is charged for, in KiB (`VmLck`): type 1 counts what it pins there.
pub(crate) fn locked_kib() -> Result<u64, String> {
    let text = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmLck:"));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    number.ok_or_else(|| "no VmLck in /proc/self/status".to_owned())
}
