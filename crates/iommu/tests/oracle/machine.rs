//! A machine with an IOMMU and two devices, and what stands where in its memory.

use anyhow::Result;
use ringfence_addr::{Gpa, Hpa, Iova, Span};
use ringfence_iommu::pages::Level;
use ringfence_lab::{Batch, Qtest, root};

/// Memory of the machine. What it calls guest-physical is host-physical to its IOMMU.
const MEMORY: &str = "1G";
/// What the IOMMU reads beside our tables.
pub(crate) const STRUCTURES: u64 = 0x0100_0000;
/// Where our first and our second tables are, and how many there may be of each.
pub(crate) const TABLES: [Hpa; 2] = [Hpa::new(0x3000_0000), Hpa::new(0x3800_0000)];
pub(crate) const TABLES_MOST: usize = 0x800_0000 >> 12;
/// The frames that devices are let at, by number.
pub(crate) const FRAMES: (u64, u64) = (0x0200_0000 >> 12, 0x3000_0000 >> 12);

/// The two devices' places on the bus, and their registers.
pub(crate) const WRITER: (u8, u32) = (4, 0xe000_0000);
pub(crate) const READER: (u8, u32) = (5, 0xe010_0000);
/// The IOMMU's name for both.
pub(crate) const DOMAIN: u16 = 5;

/// What is host-physical to the IOMMU is guest-physical to whoever writes the machine's memory.
pub(crate) fn memory(frame: Hpa) -> Gpa {
    Gpa::new(frame.get())
}

/// An emulated IOMMU: how it is told of tables, and made to forget.
pub(crate) trait Iommu {
    /// What QEMU is asked for.
    const DEVICE: &'static str;

    /// Has both devices translated by the tables at `root`, from now on.
    fn attach(&mut self, batch: &mut Batch, root: Hpa, levels: Level);

    /// Has it forget what it remembers of `span`, and no more than it must.
    fn invalidate(&mut self, batch: &mut Batch, span: Span<Iova>);

    /// Whether it did everything it was asked to; the answers to what `invalidate` asked.
    fn has_done(&self, answers: &[u64]) -> bool;
}

/// In which order QEMU makes the IOMMU and the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    IommuFirst,
    /// The device that only writes then keeps the address space there was before the IOMMU.
    DevicesFirst,
}

/// Starts a machine whose devices can be used, and where nothing is translated yet.
pub(crate) fn start<I: Iommu>(order: Order) -> Result<Qtest> {
    let lab = root()?;
    let writer = format!("iommu-testdev,addr={:02x}.0", WRITER.0);
    let reader = format!("edu,addr={:02x}.0,dma_mask={}", READER.0, u64::MAX);
    let mut devices = [I::DEVICE, &writer, &reader];
    if order == Order::DevicesFirst {
        devices.rotate_left(1);
    }
    let mut arguments = vec!["-machine", "q35", "-m", MEMORY];
    arguments.extend(devices.into_iter().flat_map(|device| ["-device", device]));
    let mut qemu = Qtest::start(&lab, arguments)?;
    let mut batch = Batch::new();
    for (device, registers) in [WRITER, READER] {
        batch.write_config(device, 0x10, registers);
        // Memory and bus master.
        batch.write_config(device, 0x04, 6);
    }
    qemu.run(&mut batch)?;
    Ok(qemu)
}
