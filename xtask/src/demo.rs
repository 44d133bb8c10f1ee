//! `cargo xtask demo`: the main job, on a machine that has nothing but Rust and a C compiler.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use ringfence_lab::{Console, LabRoot, Scratch, fetch, quickstart, workspace};

/// Fetches what is needed, builds Ringfence, runs the quickstart on a new disk, and looks at the
/// disk from outside.
pub(crate) fn run() -> Result<ExitCode> {
    say("1/4  the lab: QEMU, a kernel and a disk backend, unpacked and not installed");
    let (root, _) = fetch::fill()?;
    let files = quickstart::prepare(&root)?;
    quickstart::renew_disk(&root, &files)?;
    say("2/4  building Ringfence");
    if !crate::cargo().args(["build", "--package", "ringfence"]).status()?.success() {
        bail!("Ringfence does not build; what the compiler says is above");
    }
    say("3/4  ringfence run examples/quickstart/vm.toml");
    let mut command = crate::cargo();
    command.args(["run", "--quiet", "--package", "ringfence", "--", "run"]);
    let console = watch(command.arg(workspace().join("examples/quickstart/vm.toml")))?;
    ensure!(
        console.value("quickstart") == Some("verified"),
        "the guest did not verify its disk; what it said is above"
    );
    say("4/4  looking into the disk's image from outside");
    let written = console.value("written").context("the guest named no checksum")?;
    let found = sum_on_disk(&root, &files.disk)?;
    ensure!(written == found, "the guest wrote {written}, the image holds {found}");
    say("the image holds exactly what the guest wrote through the fence");
    Ok(ExitCode::SUCCESS)
}

fn say(what: &str) {
    eprintln!("demo: {what}");
}

/// Runs a command to its end, showing what it prints and keeping it.
fn watch(command: &mut Command) -> Result<Console> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
    let mut from = child.stdout.take().context("a pipe was asked for")?;
    let mut output = std::io::stdout().lock();
    let mut all = Vec::new();
    let mut portion = [0; 4096];
    while let count @ 1.. = from.read(&mut portion)? {
        output.write_all(&portion[..count])?;
        output.flush()?;
        all.extend(&portion[..count]);
    }
    let status = child.wait()?;
    ensure!(status.success(), "`ringfence run` failed: {status}");
    Ok(Console::parse(&all))
}

/// The SHA-256 of the file the guest wrote, read by e2fsprogs with no guest and no mount.
fn sum_on_disk(root: &LabRoot, disk: &Path) -> Result<String> {
    let scratch = Scratch::new()?;
    let copy = scratch.join("data");
    let status = Command::new(root.program("debugfs")?)
        .arg("-R")
        .arg(format!("dump /data {}", copy.display()))
        .arg(disk)
        .stderr(Stdio::null())
        .status()
        .context("cannot start debugfs")?;
    ensure!(status.success() && copy.is_file(), "debugfs finds no /data in {}", disk.display());
    let output = Command::new("sha256sum").arg(&copy).output().context("cannot start sha256sum")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split_whitespace().next().context("sha256sum printed nothing")?.to_owned())
}
