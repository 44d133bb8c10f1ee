//! DMA by two devices: `iommu-testdev` writes, `edu` reads.
//!
//! QEMU: `docs/specs/iommu-testdev.rst`, `docs/specs/edu.rst`.

use std::time::{Duration, Instant};

use ringfence_addr::Iova;
use ringfence_device::{Access, Opened};
use ringfence_refusal::Fault;

/// What the first device writes, and what it answers when it could not.
pub(crate) const WRITTEN: [u8; 4] = 0x1234_5678_u32.to_le_bytes();
const NOT_WRITTEN: u32 = 0xdead_0002;
/// What it answers before it has tried.
const NOT_TRIED: [u32; 2] = [0xffff_ffff, 0xffff_fffe];

/// Where the second keeps what it read.
const BUFFER: u64 = 0x4_0000;
/// It takes a tenth of a second for each.
const PATIENCE: Duration = Duration::from_secs(20);

/// Lets a device start transactions, and answer at its BARs.
pub(crate) fn wake(device: &mut Opened<'_>) -> Result<(), Fault> {
    device.write_config(4, &6_u16.to_le_bytes())
}

/// Has the first device write four bytes at `iova`; whether its IOMMU let it.
pub(crate) fn write(device: &mut Opened<'_>, iova: Iova) -> Result<bool, String> {
    let fault = |fault: Fault| format!("{fault}: {}", fault.io_error());
    let [low @ .., _, _, _, _] = iova.get().to_le_bytes();
    let [_, _, _, _, high @ ..] = iova.get().to_le_bytes();
    for (offset, word) in [(0x04, low), (0x08, high), (0x0c, 4_u32.to_le_bytes())] {
        device.write(0, offset, &word).map_err(fault)?;
    }
    // It looks by itself whether its bytes arrived, at an address of the host's that is not known here.
    // What it finds there does not matter: the first page has other bytes.
    for offset in [0x1c, 0x20] {
        device.write(0, offset, &[0; 4]).map_err(fault)?;
    }
    device.write(0, 0x14, &1_u32.to_le_bytes()).map_err(fault)?;
    let mut answer = [0; 4];
    // Reading the first register is what starts it.
    device.read(0, 0x00, &mut answer).map_err(fault)?;
    device.read(0, 0x10, &mut answer).map_err(fault)?;
    match u32::from_le_bytes(answer) {
        NOT_WRITTEN => Ok(false),
        result if NOT_TRIED.contains(&result) => Err(format!("the device answered {result:#x}")),
        _ => Ok(true),
    }
}

/// Has the second device read eight bytes at `iova`, and write what it has then at `outbox`.
pub(crate) fn read(device: &mut Opened<'_>, iova: Iova, outbox: Iova) -> Result<(), String> {
    transfer(device, iova.get(), BUFFER, 1)?;
    transfer(device, BUFFER, outbox.get(), 3)?;
    Ok(())
}

/// Has the second device forget what it read.
pub(crate) fn forget(device: &mut Opened<'_>, zeroes: Iova) -> Result<(), String> {
    transfer(device, zeroes.get(), BUFFER, 1)
}

fn transfer(device: &mut Opened<'_>, from: u64, to: u64, command: u64) -> Result<(), String> {
    let fault = |fault: Fault| format!("{fault}: {}", fault.io_error());
    for (offset, value) in [(0x80, from), (0x88, to), (0x90, 8), (0x98, command)] {
        device.write(0, offset, &value.to_le_bytes()).map_err(fault)?;
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut busy = [0; 8];
        device.read(0, 0x98, &mut busy).map_err(fault)?;
        if busy[0] & 1 == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("the device goes on for too long".to_owned());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
