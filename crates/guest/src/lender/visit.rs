//! A VMM that comes and goes.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::host::{Host, MIB, gpa, told};

/// How long a VMM may take to come, and to go.
const PATIENCE: Duration = Duration::from_secs(1200);
const PAUSE: Duration = Duration::from_millis(50);

/// Serves a function to one VMM, and says what it saw of it.
pub(crate) fn serve(address: &str, socket: &Path, mebibytes: &str) -> Result<(), String> {
    let mebibytes: u64 = mebibytes.parse().map_err(|error| format!("{mebibytes}: {error}"))?;
    let planned = [gpa(0, mebibytes * MIB)?].into_iter().collect();
    let host = Host::serve(address, socket, &planned)?;
    let anybody = Permissions::from_mode(0o666);
    std::fs::set_permissions(socket, anybody).map_err(|error| error.to_string())?;
    println!("serving");
    let until = Instant::now() + PATIENCE;
    let mut most = 0;
    loop {
        let now = host.status.now();
        most = most.max(now.reached);
        if most > 0 && now.is_fenced && now.reached + now.withheld + now.elsewhere == 0 {
            break;
        }
        if Instant::now() > until {
            return Err(format!("{now:?}"));
        }
        std::thread::sleep(PAUSE);
    }
    let now = host.status.now();
    let (frames, locked) = host.counted()?;
    println!("at most {} MiB", most / MIB);
    println!("refused {} {}", now.refused, now.refused_last.unwrap_or_default());
    println!("left {frames} frames, {locked} kB locked, bus {}", host.is_master()?);
    let hold = host.end()?;
    hold.take_back().map_err(told)?;
    println!("all of it is back");
    Ok(())
}
