//! The quickstart: a guest that writes its fenced disk, reads it back and compares.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use ringfence_lab::quickstart::Quickstart;
use ringfence_lab::{Console, LabRoot, Scratch, workspace};

use super::{Outcome, say};

/// Runs it as a reader of README would, then looks at the disk's image from outside.
pub(super) fn scene(root: &LabRoot, files: &Quickstart, ringfence: &Path) -> Result<Outcome> {
    let mut command = Command::new(ringfence);
    let console = watch(command.arg("run").arg(workspace().join("examples/quickstart/vm.toml")))?;
    ensure!(
        console.value("quickstart") == Some("verified"),
        "the guest did not verify its disk; what it said is above"
    );
    let written = console.value("written").context("the guest named no checksum")?;
    let found = sum_on_disk(root, &files.disk)?;
    ensure!(written == found, "the guest wrote {written}, the image holds {found}");
    say("the image holds exactly what the guest wrote through the fence");
    let could_see = reported(&console).context("`ringfence run` ended without its report")?;
    Ok(Outcome { could_see, found: "the disk's contents, which are its job".to_owned() })
}

/// What the report of `ringfence run` says the backend could see, `16 MiB window; 0 of …`.
fn reported(console: &Console) -> Option<String> {
    let line = console.find(" window; ")?;
    let (before, after) = line.split_once(" window; ")?;
    let mut words = before.split_whitespace().rev();
    let (unit, number) = (words.next()?, words.next()?);
    let (of, _) = after.split_once(" guest memory")?;
    Some(format!("{number} {unit} window, {of}"))
}

/// Runs a command to its end, showing what it prints and keeping it.
fn watch(command: &mut Command) -> Result<Console> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start ringfence")?;
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
