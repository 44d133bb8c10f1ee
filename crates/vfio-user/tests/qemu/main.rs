//! Unmodified QEMU and an unmodified kernel with a device of ours.

mod toy;

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ringfence_lab::harness::{self, Case, Need};
use ringfence_lab::{Console, Machine, Scratch, root};
use ringfence_vfio_user::Server;

use toy::{GREETING, MAGIC, Seen, Toy};

const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    harness::main(vec![
        Case::new("a device of ours in qemu", &[Need::Lab], shared),
        Case::new("memory that qemu does not share", &[Need::Lab], not_shared),
        Case::new("behind an iommu of the guest's", &[Need::Lab], behind_iommu),
    ])
}

/// Where the guest leaves memory alone.
const APART: &str = "memmap=64K$0x8000000";

const FIND: &str = "\
D=/sys/bus/pci/devices/0000:00:05.0
echo \"@@ id=$(cat $D/vendor) $(cat $D/device) $(cat $D/class)\"
echo 1 > $D/enable
echo \"@@ sizes=$(awk 'NR < 4 && $2 != 0 { print $2 - $1 + 1 }' $D/resource | tr '\\n' ' ')\"
bar() { awk \"NR == $1 { print \\$1 }\" $D/resource; }
A=$(bar 1); M=$(bar 3)
put() { printf \"\\\\x$2\" | dd of=$D/config bs=1 seek=$1 conv=notrunc 2>/dev/null; }
reg() { devmem $((A + $1)) 32 $2; }
";

/// A word apart has one added to it by the device, once the bus is its own.
const DMA: &str = "\
put 4 6
devmem 0x8000040 32 41
reg 0x10 0x8000040
reg 0x18 1
while [ $(reg 0x1c) = 0x00000000 ]; do sleep 0.1; done
echo \"@@ dma=$(reg 0x1c) $(devmem 0x8000040 32)\"
";

const REGISTERS: &str = "\
echo \"@@ magic=$(reg 0)\"
reg 4 0xcafe0001
echo \"@@ scratch=$(reg 4)\"
echo \"@@ greeting=$(devmem $M 32)\"
devmem $((M + 0x3ffc)) 32 0xfeedface
";

/// A driver that takes any function hears of its interrupt, which it turns off at each, twice.
const INTERRUPT: &str = "\
echo '1234 5fee' > /sys/bus/pci/drivers/uio_pci_generic/new_id
exec 3</dev/uio0
for turn in 1 2; do
  put 5 0
  reg 8 1
  echo \"@@ interrupts=$(dd bs=4 count=1 <&3 2>/dev/null | od -A n -t d4 | tr -d ' ')\"
  reg 8 0
done
";

struct Run {
    console: Console,
    seen: Seen,
    memory: OwnedFd,
}

/// Serves a toy to a machine until it powers off.
fn run(change: impl FnOnce(Machine) -> Machine) -> Result<Run> {
    let scratch = Scratch::new()?;
    let path = scratch.join("toy.sock");
    let server = Server::bind(&path)?;
    let stop = server.stopper();
    let mut toy = Toy::new()?;
    let (seen, memory) = (Arc::clone(&toy.seen), toy.memory()?);
    let thread = std::thread::spawn(move || server.serve(&mut toy));
    let device = format!(
        "{{\"driver\":\"vfio-user-pci\",\"addr\":\"05.0\",\
         \"socket\":{{\"type\":\"unix\",\"path\":\"{}\"}}}}",
        path.display()
    );
    let machine = Machine::new("vfio-user").command_line(APART).script(FIND);
    let machine = change(machine).qemu(["-device", &device]);
    let console = machine.run(&root()?, PATIENCE);
    stop.stop();
    thread.join().ok().context("the server panicked")??;
    let seen = Arc::try_unwrap(seen).ok().context("somebody has the toy")?.into_inner()?;
    Ok(Run { console: console?, seen, memory })
}

impl Run {
    fn says(&self, key: &str, value: &str) -> Result<()> {
        let said = self.console.value(key);
        ensure!(said.map(str::trim) == Some(value), "{key} is {said:?}, not {value}: {self:?}");
        Ok(())
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:#?}\n{:#?}", self.seen, self.console.tail(20))
    }
}

fn shared() -> Result<()> {
    let run = run(|machine| {
        let machine = machine.module("uio_pci_generic");
        machine.script(REGISTERS).script(DMA).script(INTERRUPT)
    })?;
    run.says("id", "0x1234 0x5fee 0xff0000")?;
    run.says("sizes", "4096 16384")?;
    run.says("magic", &format!("{MAGIC:#010X}"))?;
    run.says("scratch", "0xCAFE0001")?;
    run.says("greeting", &format!("{GREETING:#010X}"))?;
    run.says("dma", "0x00000001 0x0000002A")?;
    run.says("interrupts", "2")?;
    let mut word = [0; 4];
    rustix::io::pread(&run.memory, &mut word, 0x1000 + 0x3ffc)?;
    ensure!(u32::from_le_bytes(word) == 0xfeed_face, "BAR 2 holds {word:x?}");
    let seen = &run.seen;
    ensure!(seen.scratch == 0xcafe_0001 && seen.resets > 0, "{run:?}");
    ensure!(seen.trapped == 0, "BAR 2 was not mapped: {run:?}");
    ensure!(seen.refused.is_empty(), "{run:?}");
    ensure!(seen.with_memory > 0 && seen.mapped == seen.unmapped, "{run:?}");
    ensure!(seen.disconnected == 1, "{run:?}");
    Ok(())
}

fn not_shared() -> Result<()> {
    let run = run(|machine| machine.memory_by(["-m", "512M", "-machine", "q35"]).script(DMA))?;
    run.says("dma", "0x00000001 0x0000002A")?;
    ensure!(run.seen.refused.is_empty() && run.seen.with_memory == 0, "{run:?}");
    Ok(())
}

/// What the guest's kernel maps for the device is all the device reaches: nothing, as it has no driver.
fn behind_iommu() -> Result<()> {
    let run = run(|machine| {
        let unit = ["-device", "intel-iommu,caching-mode=on"];
        machine.qemu(unit).command_line("intel_iommu=on iommu.passthrough=0").script(DMA)
    })?;
    run.says("dma", "0x00000002 0x00000029")?;
    let seen = &run.seen;
    // Before the kernel turned its IOMMU on, all of its memory was there.
    ensure!(seen.with_memory > 0 && seen.mapped == seen.unmapped, "{run:?}");
    ensure!(seen.refused.is_empty(), "{run:?}");
    Ok(())
}
