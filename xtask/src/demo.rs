//! `cargo xtask demo`: the main job, on a machine that has nothing but Rust and a C compiler.

mod disk;
mod spy;

use std::process::ExitCode;

use anyhow::{Result, bail};
use ringfence_lab::{binary, fetch, quickstart};

/// Fetches what is needed, builds Ringfence, runs the quickstart on a new disk, and lets a spy try
/// its luck with and without a fence.
pub(crate) fn run() -> Result<ExitCode> {
    say("1/5  the lab: QEMU, a kernel and a disk backend, unpacked and not installed");
    let (root, _) = fetch::fill()?;
    let files = quickstart::prepare(&root)?;
    quickstart::renew_disk(&root, &files)?;
    say("2/5  building Ringfence, and a spy");
    let packages = ["--package", "ringfence", "--package", "ringfence-spy"];
    if !crate::cargo().arg("build").args(packages).status()?.success() {
        bail!("Ringfence does not build; what the compiler says is above");
    }
    let ringfence = binary("ringfence", "ringfence")?;
    say("3/5  ringfence run examples/quickstart/vm.toml");
    let disk = disk::scene(&root, &files, &ringfence)?;
    say("4/5  a spy poses as the guest's random-number device, connected directly");
    let direct = spy::directly(&root)?;
    say("5/5  the same spy behind a fence");
    let fenced = spy::fenced(&root, &ringfence)?;
    println!();
    println!("  who                                could see                      found");
    println!("  ---------------------------------  -----------------------------  -----");
    println!("  the disk's backend, fenced         {}", disk);
    println!("  a spy, connected directly          {}", direct);
    println!("  the same spy, fenced               {}", fenced);
    println!();
    println!("  The guest, QEMU and the backends were what Debian ships, and none was told.");
    Ok(ExitCode::SUCCESS)
}

/// A line of the summary.
struct Outcome {
    could_see: String,
    found: String,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:29}  {}", self.could_see, self.found)
    }
}

fn say(what: &str) {
    eprintln!("demo: {what}");
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}
