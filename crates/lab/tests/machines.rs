//! The lab's own machines: they boot, their consoles are data, their failures say enough, and
//! nothing outlives a test.

mod outliving;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{Backend, Console, LabError, Machine, Scratch, Uml, root};

const MINUTE: Duration = Duration::from_secs(60);

const DISK: &[Need] =
    &[Need::Lab, Need::Program("qemu-system-x86_64"), Need::Program("qemu-storage-daemon")];

const RANDOM: &[Need] = &[Need::Lab, Need::Program("vhost-device-rng")];

fn main() -> ExitCode {
    ringfence_vmm::become_child_if_asked();
    if outliving::is_victim() {
        return outliving::be_victim();
    }
    harness::main(vec![
        Case::new("qemu boots linux and its console is data", &[Need::Lab], qemu_boots),
        Case::new("a machine that fails shows its end and how to repeat it", &[Need::Lab], fails),
        Case::new("a machine that hangs is given up on", &[Need::Lab], hangs),
        Case::new("a kernel that panics is noticed at once", &[Need::Lab], panics),
        Case::new("user-mode linux boots and can be talked to", &[Need::Lab], uml_boots),
        Case::new("qemu reads and writes a disk served by another process", DISK, qemu_disk),
        Case::new("user-mode linux reads and writes such a disk too", DISK, uml_disk),
        Case::new("qemu takes random numbers from another process", RANDOM, qemu_rng),
        Case::new("nothing outlives a killed test", DISK, outliving::nothing_does),
        Case::new("a module that is nowhere is named", &[Need::Lab], unknown_module),
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

fn fails() -> Result<()> {
    let lab = root()?;
    let disk = Disk::new()?;
    let backend = Backend::raw_disk(&lab, &disk.image())?;
    let outcome = Uml::new("fails")
        .vhost_user(backend.socket(), 2)
        .module("virtio_blk")
        .script(DISK_SCRIPT)
        .script("echo it was here\nexit 3")
        .run(&lab, MINUTE);
    let report = outcome.err().context("a failing script must fail the machine")?;
    let kept = report.kept.clone().context("its files must be kept")?;
    let text = report.to_string();
    ensure!(text.contains("failed with status 3"), "{text}");
    ensure!(text.contains("| it was here"), "{text}");
    ensure!(text.contains(&report.command), "{text}");
    ensure!(report.backends.len() == 1 && text.contains(&report.backends[0]), "{text}");
    // The commands must repeat it when what they came from is gone: run them as a person would.
    let sum = disk.sum.clone();
    drop((backend, disk));
    let script =
        format!("{} & sleep 1; timeout 30 env {}; kill $!", report.backends[0], report.command);
    let shell = std::process::Command::new("sh")
        .args(["-c", &script])
        .stdin(std::process::Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&shell.stdout);
    ensure!(said.contains("it was here") && said.contains(&sum), "not repeated: {said}\n{text}");
    std::fs::remove_dir_all(kept)?;
    Ok(())
}

/// What a failure said. What was kept for people is removed: this one was wanted.
fn report(outcome: Result<Console, LabError>) -> Option<String> {
    let report = outcome.err()?;
    if let Some(kept) = &report.kept {
        std::fs::remove_dir_all(kept).ok()?;
    }
    Some(report.to_string())
}

fn hangs() -> Result<()> {
    let lab = root()?;
    let mut machine = Uml::new("hangs").script("sleep 1000").start(&lab)?;
    machine.wait_for("@@ lab-ready=", MINUTE)?;
    let outcome = machine.finish(Duration::from_millis(100));
    let text = report(outcome).context("a hanging machine must be given up on")?;
    ensure!(text.contains("did not finish within 100ms"), "{text}");
    ensure!(text.contains("@@ lab-ready="), "{text}");
    Ok(())
}

fn panics() -> Result<()> {
    let lab = root()?;
    let script = "echo 1 > /proc/sys/kernel/sysrq\necho c > /proc/sysrq-trigger\nsleep 1000";
    let outcome = Machine::new("panics").script(script).run(&lab, MINUTE);
    let text = report(outcome).context("a panic must fail the machine")?;
    ensure!(text.contains("its kernel gave up: "), "{text}");
    Ok(())
}

fn unknown_module() -> Result<()> {
    let lab = root()?;
    let outcome = Uml::new("unknown").module("no-such-module").run(&lab, MINUTE);
    let text = report(outcome).context("a module that is nowhere must be refused")?;
    ensure!(text.contains("the module `no-such-module`"), "{text}");
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

/// Reads what the host put on the disk, and writes something for the host to find.
const DISK_SCRIPT: &str = "
echo \"@@ sum=$(dd if=/dev/vda bs=64k count=64 iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1)\"
echo 'written by the guest' > /tmp/words
dd if=/tmp/words of=/dev/vda bs=512 seek=16384 conv=sync,fsync 2>/dev/null
";

struct Disk {
    scratch: Scratch,
    sum: String,
}

impl Disk {
    /// 16 MiB, of which the first 4 MiB hold random data.
    fn new() -> Result<Self> {
        let scratch = Scratch::new()?;
        let script = "head -c 4M /dev/urandom > disk.img && sha256sum < disk.img | cut -d' ' -f1 && truncate -s 16M disk.img";
        let output = std::process::Command::new("sh")
            .args(["-c", script])
            .current_dir(scratch.path())
            .output()?;
        ensure!(output.status.success(), "cannot make a disk image");
        let sum = String::from_utf8(output.stdout)?.trim().to_owned();
        Ok(Self { scratch, sum })
    }

    fn image(&self) -> std::path::PathBuf {
        self.scratch.join("disk.img")
    }

    fn check(&self, console: &Console) -> Result<()> {
        ensure!(console.value("sum") == Some(self.sum.as_str()), "{console}");
        let bytes = std::fs::read(self.image())?;
        let written = &bytes[16384 * 512..];
        ensure!(written.starts_with(b"written by the guest\n"), "the guest's words are missing");
        Ok(())
    }
}

fn qemu_disk() -> Result<()> {
    let lab = root()?;
    let disk = Disk::new()?;
    let backend = Backend::raw_disk(&lab, &disk.image())?;
    let console = Machine::new("qemu-disk")
        .vhost_user("vhost-user-blk-pci,num-queues=1", backend.socket())
        .module("virtio_blk")
        .script(DISK_SCRIPT)
        .run(&lab, MINUTE)?;
    disk.check(&console)
}

fn uml_disk() -> Result<()> {
    let lab = root()?;
    let disk = Disk::new()?;
    let backend = Backend::raw_disk(&lab, &disk.image())?;
    let console = Uml::new("uml-disk")
        .vhost_user(backend.socket(), 2)
        .module("virtio_blk")
        .script(DISK_SCRIPT)
        .run(&lab, MINUTE)?;
    disk.check(&console)
}

fn qemu_rng() -> Result<()> {
    let lab = root()?;
    let backend = Backend::vhost_device_rng(&lab)?;
    let console = Machine::new("qemu-rng")
        .vhost_user("vhost-user-rng-pci", backend.socket())
        .module("virtio-rng")
        .script(
            "echo \"@@ source=$(cat /sys/class/misc/hw_random/rng_current)\"
             echo \"@@ bytes=$(dd if=/dev/hwrng bs=64 count=4 2>/dev/null | wc -c)\"
             echo \"@@ kinds=$(dd if=/dev/hwrng bs=64 count=4 2>/dev/null | hexdump -v -e '1/1 \"%02x\\n\"' | sort -u | wc -l)\"",
        )
        .run(&lab, MINUTE)?;
    ensure!(
        console.value("source").is_some_and(|name| name.starts_with("virtio_rng")),
        "{console}"
    );
    ensure!(console.value("bytes") == Some("256"), "{console}");
    let kinds: u32 = console.value("kinds").unwrap_or_default().parse()?;
    ensure!(kinds > 64, "256 random bytes had {kinds} values only\n{console}");
    Ok(())
}
