//! Nothing outlives a test, not even one that was killed and could tidy nothing up.
//!
//! The test starts itself as a victim that starts a backend, a QEMU and a User-Mode Linux, kills it
//! with a signal that cannot be caught, and watches the processes go.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringfence_lab::{Backend, Machine, Scratch, Uml, root};

const VICTIM: &str = "RINGFENCE_LAB_VICTIM";

pub(crate) fn is_victim() -> bool {
    std::env::var_os(VICTIM).is_some()
}

pub(crate) fn be_victim() -> ExitCode {
    if let Err(error) = start_and_wait() {
        println!("failed: {error:#}");
    }
    ExitCode::FAILURE
}

fn start_and_wait() -> Result<()> {
    let lab = root()?;
    let scratch = Scratch::new()?;
    let image = scratch.join("disk.img");
    std::fs::write(&image, vec![0; 1 << 20])?;
    let backend = Backend::raw_disk(&lab, &image)?;
    let mut uml = Uml::new("victim-uml").script("echo up\nsleep 1000").start(&lab)?;
    let qemu = Machine::new("victim-qemu").script("sleep 1000").start(&lab)?;
    // User-Mode Linux has processes of its own by the time its script runs.
    uml.wait_for("up", Duration::from_secs(60))?;
    println!("{} {} {}", backend.pid(), qemu.pid(), uml.pid());
    std::thread::sleep(Duration::from_secs(1000));
    Ok(())
}

pub(crate) fn nothing_does() -> Result<()> {
    let mut victim = Command::new(std::env::current_exe()?)
        .env(VICTIM, "1")
        .stdout(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()?;
    let mut line = String::new();
    BufReader::new(victim.stdout.take().context("a pipe")?).read_line(&mut line)?;
    let leaders: BTreeSet<i32> =
        line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    let before = in_groups(&leaders)?;
    victim.kill()?;
    victim.wait()?;
    ensure!(leaders.len() == 3, "the victim did not start everything: {line}");
    ensure!(before.len() >= 3, "everything should run before the kill: {before:?}");
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = in_groups(&leaders)?;
        if left.is_empty() {
            return remove_folders(victim.id());
        }
        ensure!(Instant::now() < deadline, "still there of {before:?}: {left:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Folders do stay behind, until the next test that makes one; here is no need to wait for it.
fn remove_folders(process: u32) -> Result<()> {
    let prefix = format!("ringfence-lab-{process}-");
    for entry in std::fs::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Every process whose group one of `leaders` leads, zombies left aside, with its name.
fn in_groups(leaders: &BTreeSet<i32>) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let Ok(stat) = std::fs::read_to_string(entry?.path().join("stat")) else { continue };
        // The name is in parentheses and may hold anything.
        let Some((front, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let group = fields.get(2).and_then(|group| group.parse().ok());
        if fields.first() != Some(&"Z") && group.is_some_and(|group| leaders.contains(&group)) {
            found.push(format!("{front})"));
        }
    }
    Ok(found)
}
