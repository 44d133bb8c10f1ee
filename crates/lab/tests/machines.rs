//! The lab's own machines: they boot, their consoles are data, their failures say enough.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{Machine, Uml, root};

const MINUTE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("qemu boots linux and its console is data", &[Need::Lab], qemu_boots),
        Case::new("user-mode linux boots and can be talked to", &[Need::Lab], uml_boots),
    ])
}

fn qemu_boots() -> Result<()> {
    let lab = root()?;
    let console = Machine::new("boots")
        .module("virtio_blk")
        .file("/etc/deep/er/greeting", "hello")
        .script("echo \"@@ greeting=$(cat /etc/deep/er/greeting)\"\nlsmod\n")
        .run(&lab, MINUTE)?;
    ensure!(console.value("greeting") == Some("hello"), "{console}");
    let release = console.value("lab-ready").unwrap_or_default();
    ensure!(release.starts_with("6.12."), "{console}");
    ensure!(console.find("virtio_blk").is_some(), "{console}");
    Ok(())
}

fn uml_boots() -> Result<()> {
    let lab = root()?;
    let mut running = Uml::new("talks")
        .script("echo '@@ listening=yes'\nread line\necho \"@@ heard=$line\"")
        .start(&lab)?;
    running.wait_for("@@ listening=yes", MINUTE)?;
    running.send_line("over here")?;
    let console = running.finish(MINUTE)?;
    ensure!(console.value("heard") == Some("over here"), "{console}");
    Ok(())
}
