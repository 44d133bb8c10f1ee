//! Our balloon in unmodified QEMU, driven by an unmodified kernel, while a device has a part of the guest's
//! memory mapped.

#[path = "../it/devices/gate.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod gate;
mod memory;

use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringfence_addr::{Gpa, Span};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{Machine, Running, Scratch, root};
use ringfence_vfio_user::Server;
use ringfence_virtio::LedgerGate;
use ringfence_virtio::balloon::{Balloon, BalloonOptions, BalloonStatus};
use ringfence_virtio::pci::Function;
use rustix::fs::SeekFrom;

use gate::World;

const PATIENCE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;
/// Bytes of a block that the disk has mapped.
const BLOCK: u64 = 2 * MIB;
const MEMORY: u64 = 512 * MIB;
/// What the disk has mapped of it, block by block.
const MAPPED: std::ops::Range<u32> = 64..192;
const TARGET: u64 = 300 * MIB;

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("a guest gives pages back", &[Need::Lab], gives_back),
        Case::new("a guest plugs memory and unplugs it", &[Need::Lab], memory::plugs_and_unplugs),
    ])
}

/// The guest does what it is told on its console, and never touches the file it keeps.
const SCRIPT: &str = "\
dd if=/dev/urandom of=/tmp/kept bs=1M count=4 2>/dev/null
dd if=/dev/zero of=/tmp/fill bs=1M count=200 2>/dev/null
kept() { md5sum < /tmp/kept | cut -c 1-32; }
echo \"@@ kept=$(kept)\"
echo '@@ filled=1'
while read word; do
  case $word in
    empty) rm /tmp/fill; echo '@@ emptied=1';;
    look) echo \"@@ total=$(awk '/MemTotal/ { print $2 }' /proc/meminfo)\"; echo \"@@ again=$(kept)\"; echo '@@ looked=1';;
    fill) dd if=/dev/urandom of=/tmp/fill bs=1M count=16 2>/dev/null
          a=$(md5sum < /tmp/fill); b=$(md5sum < /tmp/fill)
          if [ \"$a\" = \"$b\" ]; then echo '@@ refill=same'; else echo '@@ refill=other'; fi; echo '@@ refilled=1';;
    end) break;;
  esac
done
";

struct Scene {
    machine: Running,
    function: Function<Balloon<LedgerGate<World>>>,
    world: World,
    file: File,
}

fn block(number: u32) -> Span<Gpa> {
    Span::from_parts(Gpa::new(u64::from(number) * BLOCK), BLOCK).expect("a block")
}

impl Scene {
    fn status(&self) -> BalloonStatus {
        self.function.with(|balloon| balloon.status())
    }

    fn look(&mut self) -> Result<(u64, String)> {
        self.machine.send_line("look")?;
        self.machine.wait_for("@@ looked", PATIENCE)?;
        let console = self.machine.console();
        let total = console.value("total").context("no total")?.trim().parse()?;
        Ok((total, console.value("again").context("no sum")?.to_owned()))
    }

    /// Waits until the balloon stands so.
    fn until(&mut self, so: impl Fn(&BalloonStatus) -> bool) -> Result<BalloonStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if so(&status) {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "{status:#?}\n{:?}", self.machine.console().tail(20));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Bytes of a block that the host has memory for.
    fn allocated(&self, block: Span<Gpa>) -> Result<u64> {
        let (mut at, end) = (block.first().get(), block.last().get() + 1);
        let mut found = 0;
        while at < end {
            let data = match rustix::fs::seek(self.file.as_fd(), SeekFrom::Data(at)) {
                Ok(data) if data < end => data,
                Ok(_) | Err(rustix::io::Errno::NXIO) => break,
                Err(errno) => return Err(errno.into()),
            };
            let hole = rustix::fs::seek(self.file.as_fd(), SeekFrom::Hole(data))?.min(end);
            found += hole - data;
            at = hole;
        }
        Ok(found)
    }

    fn all_allocated(&self) -> Result<Vec<u64>> {
        MAPPED.map(|number| self.allocated(block(number))).collect()
    }
}

/// The guest's memory, as QEMU has it.
fn memory_of(machine: &Running) -> Result<File> {
    let folder = format!("/proc/{}/fd", machine.pid());
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = std::fs::read_link(&path).unwrap_or_default();
        if name.to_string_lossy().contains("memfd:memory-backend") {
            return File::open(&path).with_context(|| path.display().to_string());
        }
    }
    anyhow::bail!("no memory among {folder}")
}

fn gives_back() -> Result<()> {
    let memory = Span::from_parts(Gpa::new(0), MEMORY).expect("not empty");
    let world = World::new(memory);
    world.be_stubborn(true);
    ensure!(MAPPED.map(block).all(|block| world.map(0, block)), "a block cannot be mapped");
    let balloon = Balloon::new(world.gate(), BalloonOptions::default());
    let function = Function::new(balloon, "balloon");
    let scratch = Scratch::new()?;
    let path = scratch.join("balloon.sock");
    let server = Server::bind(&path)?;
    let stop = server.stopper();
    let mut served = function.clone();
    let thread = std::thread::spawn(move || server.serve(&mut served));
    let device = format!(
        "{{\"driver\":\"vfio-user-pci\",\"addr\":\"05.0\",\
         \"socket\":{{\"type\":\"unix\",\"path\":\"{}\"}}}}",
        path.display()
    );
    let mut machine = Machine::new("balloon")
        .memory_mib(512)
        .module("virtio_balloon")
        .script(SCRIPT)
        .qemu(["-device", &device])
        .start(&root()?)?;
    machine.wait_for("@@ filled", PATIENCE)?;
    let file = memory_of(&machine)?;
    let mut scene = Scene { machine, function, world, file };
    let outcome = play(&mut scene);
    let refusals = scene.function.refusals();
    let last = scene.machine.console();
    scene.machine.send_line("end")?;
    let finished = scene.machine.finish(PATIENCE);
    stop.stop();
    thread.join().ok().context("the server panicked")??;
    outcome.with_context(|| format!("{refusals:?}\n{:?}", last.tail(30)))?;
    finished?;
    ensure!(refusals.count == 0, "{refusals:?}");
    let after = scene.function.with(|balloon| balloon.status());
    ensure!(after.given_back_bytes == 0 && after.waiting_bytes == 0, "{after:#?}");
    Ok(())
}

fn play(scene: &mut Scene) -> Result<()> {
    let blocks = u64::from(MAPPED.end - MAPPED.start);
    let kept = scene.machine.console().value("kept").context("no sum")?.to_owned();
    let full = scene.status().resident_bytes;
    ensure!(full >= 200 * MIB, "the guest has not filled its memory: {full} bytes");
    let before = scene.all_allocated()?;
    ensure!(scene.world.charged() == blocks * BLOCK / 4096);
    let (total, _) = scene.look()?;

    // The guest inflates; what the disk has mapped stays as it is, whether a block is complete or not.
    scene.machine.send_line("empty")?;
    scene.machine.wait_for("@@ emptied", PATIENCE)?;
    scene.function.with(|balloon| balloon.set_target(TARGET));
    let status = scene.until(|status| status.actual_bytes == TARGET)?;
    let (less, again) = scene.look()?;
    ensure!(total - less == TARGET / 1024, "{total} KiB became {less}");
    ensure!(again == kept, "what the guest keeps is another");
    ensure!(status.guest_tells, "{status:?}");
    ensure!(status.given_back_bytes + status.waiting_bytes == TARGET, "{status:?}");
    ensure!(status.waiting_bytes > 0 && status.holders == ["the disk"], "{status:?}");
    ensure!(status.counts.asked > 0, "no block was complete: {status:?}");
    ensure!(status.given_back_bytes > 0, "nothing was free: {status:?}");
    ensure!(status.resident_bytes + status.given_back_bytes <= MEMORY, "{status:?}");
    for (number, before) in MAPPED.zip(&before) {
        let now = scene.allocated(block(number))?;
        ensure!(now >= *before, "{} had {before} bytes and has {now}", block(number));
    }
    ensure!(scene.world.charged() == blocks * BLOCK / 4096, "a mapping is gone");

    // The disk lets go of what it was asked for; nothing of it is left on the host.
    let asked = status.counts.asked;
    let wanted = scene.world.wanted();
    ensure!(wanted.length() == u128::from(asked * BLOCK), "{wanted:?} of {asked}");
    let released = scene.world.give_in();
    scene.function.with(|balloon| balloon.gate().released(&released));
    scene.function.settle()?;
    for run in wanted.iter() {
        ensure!(scene.allocated(run)? == 0, "{run} is not gone");
    }
    let status = scene.status();
    ensure!(scene.world.charged() == (blocks - asked) * BLOCK / 4096);
    ensure!(status.resident_bytes + status.given_back_bytes <= MEMORY, "{status:?}");
    ensure!(scene.look()?.1 == kept, "what the guest keeps is another");

    // The guest takes all of it back, mapped as it was, and of use.
    scene.world.be_stubborn(false);
    scene.function.with(|balloon| balloon.set_target(0));
    let status = scene.until(|status| status.actual_bytes == 0)?;
    ensure!(scene.world.charged() == blocks * BLOCK / 4096, "a mapping is missing");
    ensure!(status.given_back_bytes + status.waiting_bytes == 0, "{status:?}");
    ensure!(status.counts.strangers == 0 && status.discards_failed == 0, "{status:?}");
    ensure!(status.counts.returned >= asked, "{status:?}");
    let (after, again) = scene.look()?;
    ensure!(after == total && again == kept, "{after} KiB of {total}, {again} of {kept}");
    // Free pages are reported after a while; those that the disk has mapped are kept as they are.
    let is_reported = |it: &BalloonStatus| it.counts.passed > 0 && it.counts.kept > 0;
    scene.until(is_reported)?;
    scene.machine.send_line("fill")?;
    scene.machine.wait_for("@@ refilled", PATIENCE)?;
    let console = scene.machine.console();
    ensure!(console.value("refill") == Some("same"), "what the guest writes is another");
    ensure!(scene.look()?.1 == kept, "what the guest keeps is another");
    Ok(())
}
