//! `cargo xtask demo`: the main job, on a machine that has nothing but Rust and a C compiler.

use std::process::ExitCode;

use anyhow::{Result, bail};
use ringfence_lab::{fetch, quickstart, workspace};

/// Fetches what is needed, builds Ringfence, and runs the quickstart on a new disk.
pub(crate) fn run() -> Result<ExitCode> {
    say("1/3  the lab: QEMU, a kernel and a disk backend, unpacked and not installed");
    let (root, _) = fetch::fill()?;
    let files = quickstart::prepare(&root)?;
    quickstart::renew_disk(&root, &files)?;
    say("2/3  building Ringfence");
    if !crate::cargo().args(["build", "--package", "ringfence"]).status()?.success() {
        bail!("Ringfence does not build; what the compiler says is above");
    }
    say("3/3  ringfence run examples/quickstart/vm.toml");
    let mut command = crate::cargo();
    command.args(["run", "--quiet", "--package", "ringfence", "--", "run"]);
    command.arg(workspace().join("examples/quickstart/vm.toml"));
    crate::hand_over(&mut command)
}

fn say(what: &str) {
    eprintln!("demo: {what}");
}
