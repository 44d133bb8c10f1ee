//! Our memory device in unmodified QEMU: an unmodified kernel plugs blocks of a region that it finds behind a
//! PCI function, and gives them back while a device has them mapped.

use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ringfence_addr::{Alignment, Gpa, Iova, Span};
use ringfence_lab::{Machine, Running, Scratch, root};
use ringfence_refusal::Failure;
use ringfence_vfio_user::{
    Device, DmaMapping, InterruptIndex, Region, RegionIndex, Server, SetInterrupts,
};
use ringfence_virtio::LedgerGate;
use ringfence_virtio::memory_device::{MemoryDevice, MemoryStatus};
use ringfence_virtio::pci::Function;

use rustix::fs::{MemfdFlags, SealFlags};

use crate::gate::World;
use crate::{BLOCK, MIB, PATIENCE};

/// Of the region, most of which is never plugged and costs nothing.
const REGION: u64 = 2048 * MIB;
const PLUGGED: u64 = 256 * MIB;

type Plug = Function<MemoryDevice<LedgerGate<World>>>;

/// What serves devices would do: what the VMM lends is the guest's, and the disk has the region mapped,
/// block by block.
struct Served {
    function: Plug,
    world: World,
    file: (u64, u64),
    region: Option<Span<Gpa>>,
}

fn identity(file: impl AsFd) -> (u64, u64) {
    rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino)).unwrap_or_default()
}

impl Device for Served {
    fn region(&self, index: RegionIndex) -> Region<'_> {
        self.function.region(index)
    }

    fn interrupts(&self, index: InterruptIndex) -> u32 {
        Device::interrupts(&self.function, index)
    }

    fn read(&mut self, region: RegionIndex, offset: u64, data: &mut [u8]) -> Result<(), Failure> {
        self.function.read(region, offset, data)
    }

    fn write(&mut self, region: RegionIndex, offset: u64, data: &[u8]) -> Result<(), Failure> {
        self.function.write(region, offset, data)
    }

    fn reset(&mut self) -> Result<(), Failure> {
        self.function.reset()
    }

    fn set_interrupts(&mut self, set: SetInterrupts) -> Result<(), Failure> {
        self.function.set_interrupts(set)
    }

    fn dma_map(&mut self, mapping: DmaMapping) -> Result<(), Failure> {
        let lent = mapping.memory.as_ref().map(|memory| identity(&memory.descriptor));
        if lent == Some(self.file) {
            let region = guest(mapping.span);
            self.world.add(region);
            let mut at = region.first();
            while let Some(block) = Span::from_parts(at, BLOCK).filter(|it| region.encloses(it)) {
                assert!(self.world.map(0, block), "{block} cannot be mapped");
                let Some(next) = block.last().get().checked_add(1) else { break };
                at = Gpa::new(next);
            }
            self.region = Some(region);
        }
        self.function.dma_map(mapping)
    }

    fn dma_unmap(&mut self, span: Span<Iova>) -> Result<(), Failure> {
        let done = self.function.dma_unmap(span);
        if self.region.take_if(|region| *region == guest(span)).is_some() {
            self.world.remove(guest(span));
        }
        done
    }

    fn disconnected(&mut self) {
        self.function.disconnected();
    }

    fn refused(&mut self, failure: &Failure) {
        self.function.refused(failure);
    }
}

fn guest(span: Span<Iova>) -> Span<Gpa> {
    span.rebase(Gpa::new(span.first().get())).expect("the same addresses")
}

const SCRIPT: &str = "\
mount -t tmpfs -o size=200M none /mnt
while read word; do
  case $word in
    look) echo \"@@ total=$(awk '/MemTotal/ { print $2 }' /proc/meminfo)\"
          echo \"@@ place=$(grep -m 1 '(virtio_mem)' /proc/iomem | tr -d ' ')\"; echo '@@ looked=1';;
    fill) dd if=/dev/zero of=/mnt/fill bs=1M count=96 2>/dev/null; echo '@@ filled=1';;
    empty) rm /mnt/fill; echo '@@ emptied=1';;
    end) break;;
  esac
done
";

struct Scene {
    machine: Running,
    function: Plug,
    world: World,
}

impl Scene {
    fn tell(&mut self, word: &str, answer: &str) -> Result<()> {
        self.machine.send_line(word)?;
        self.machine.wait_for(answer, PATIENCE)?;
        Ok(())
    }

    fn total(&mut self) -> Result<u64> {
        self.tell("look", "@@ looked")?;
        let console = self.machine.console();
        Ok(console.value("total").context("no total")?.trim().parse()?)
    }

    fn status(&self) -> MemoryStatus {
        self.function.with(|device| device.status())
    }

    fn until(&self, so: impl Fn(&MemoryStatus) -> bool) -> Result<MemoryStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if so(&status) {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "{status:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) fn plugs_and_unplugs() -> Result<()> {
    let scratch = Scratch::new()?;
    let path = scratch.join("memory.sock");
    // A file of ours that nobody can shrink, which QEMU opens by its name in our process.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create("plug", flags)?;
    rustix::fs::ftruncate(&file, REGION)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
    let plug = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let world = World::new(Span::from_parts(Gpa::new(0), 256 * MIB).expect("not empty"));
    let device = MemoryDevice::new(world.gate(), file.as_fd(), REGION, Alignment::PAGE_2M)?;
    let function = Function::new(device, "memory device");
    let mut served = Served {
        function: function.clone(),
        world: world.clone(),
        file: identity(&file),
        region: None,
    };
    let server = Server::bind(&path)?;
    let stop = server.stopper();
    let thread = std::thread::spawn(move || server.serve(&mut served));
    let device = format!(
        "{{\"driver\":\"vfio-user-pci\",\"addr\":\"05.0\",\
         \"socket\":{{\"type\":\"unix\",\"path\":\"{}\"}}}}",
        path.display()
    );
    let object =
        format!("memory-backend-file,id=plug,size={}M,share=on,mem-path={}", REGION / MIB, plug);
    let machine = Machine::new("memory")
        .memory_mib(256)
        .module("virtio_mem")
        .command_line("memhp_default_state=online_movable")
        .script(SCRIPT)
        .qemu(["-object", &object, "-device", "ivshmem-plain,memdev=plug,addr=06.0"])
        .qemu(["-device", &device])
        .start(&root()?)?;
    let mut scene = Scene { machine, function, world };
    let outcome = play(&mut scene);
    let (refusals, status) = (scene.function.refusals(), scene.status());
    let said = scene.machine.console();
    scene.machine.send_line("end")?;
    let finished = scene.machine.finish(PATIENCE);
    stop.stop();
    thread.join().ok().context("the server panicked")??;
    outcome.with_context(|| format!("{refusals:?}\n{status:?}\n{:?}", said.tail(30)))?;
    finished?;
    ensure!(refusals.count == 0, "{refusals:?}");
    Ok(())
}

fn play(scene: &mut Scene) -> Result<()> {
    scene.machine.wait_for("@@ lab-ready", PATIENCE)?;
    let total = scene.total()?;
    let region = scene.status().region.context("no region")?;
    ensure!(scene.world.charged() == 0, "what is not plugged is mapped");

    // Plugged blocks are the guest's and mapped again; what the guest fills is in them.
    scene.function.with(|device| device.set_requested(PLUGGED));
    scene.until(|status| status.plugged_bytes == PLUGGED)?;
    ensure!(scene.world.charged() == PLUGGED / 4096, "plugged memory is not mapped");
    scene.tell("fill", "@@ filled")?;
    let more = scene.total()?;
    ensure!(more - total == PLUGGED / 1024, "{total} KiB became {more}");
    let status = scene.status();
    ensure!((64 * MIB..=PLUGGED).contains(&status.resident_bytes), "{status:?}");
    let place = scene.machine.console().value("place").unwrap_or_default().to_owned();
    let first = format!("{:x}-", region.first().get());
    ensure!(place.starts_with(&first), "the guest has it at {place}, and it is at {region}");

    // The guest gives all of it back. It waits for a disk that does not let go, and nothing is discarded.
    scene.tell("empty", "@@ emptied")?;
    let before = scene.status();
    scene.world.be_stubborn(true);
    scene.function.with(|device| device.set_requested(0));
    let until = Instant::now() + PATIENCE;
    while scene.world.wanted().is_empty() {
        ensure!(Instant::now() < until, "nothing is unplugged: {:?}", scene.status());
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = scene.status();
    ensure!(status.plugged_bytes == PLUGGED, "{status:?}");
    ensure!(status.discarded_bytes == before.discarded_bytes, "{status:?}");
    ensure!(scene.world.charged() == PLUGGED / 4096, "a mapping is gone");
    scene.world.be_stubborn(false);
    let released = scene.world.give_in();
    scene.function.with(|device| device.gate().released(&released));
    scene.function.settle_memory();
    let status = scene.until(|status| status.plugged_bytes == 0)?;
    ensure!(status.resident_bytes == 0 && status.discards_failed == 0, "{status:?}");
    ensure!(scene.world.charged() == 0, "what is not plugged is mapped");
    let last = scene.total()?;
    ensure!(last == total, "{total} KiB became {last}");
    Ok(())
}
